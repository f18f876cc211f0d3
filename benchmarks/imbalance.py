"""How many of the pairs that `ie_relations` looks at have a relation, before and after the ontology: the class imbalance.

python benchmarks/imbalance.py [--data assets/newswire/train.jsonl] [--max-distance 100]
"""

import argparse
from pathlib import Path

import spacy

from spacy_llm_ie.data.corpus import create_corpus_v1

NEWSWIRE = Path(__file__).parents[1] / "assets" / "newswire" / "train.jsonl"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=NEWSWIRE)
    parser.add_argument("--max-distance", type=int, default=100)
    args = parser.parse_args()
    candidates = {"@misc": "spacy-llm-ie.near_pairs.v1", "max_distance": args.max_distance}
    for label_filter in (False, True):
        nlp = spacy.blank("en")
        pipe = nlp.add_pipe("ie_relations", config={"label_filter": label_filter, "candidates": candidates})
        examples = list(create_corpus_v1(args.data, given=["entities"])(nlp))
        nlp.initialize(lambda examples=examples: examples)
        pairs = related = 0
        for example in examples:
            found, _ = pipe.pick(example.predicted, pipe.spans(example.predicted))
            gold = pipe.gold(example)
            pairs += len(found.pairs)
            related += sum((found.spans[i], found.spans[j]) in gold.labels for i, j in found.pairs.tolist())
        kind = "with the ontology of the training data" if label_filter else "all"
        print(f"{kind}: {pairs:,} pairs, {related:,} of them ({related / pairs:.0%}) with a relation")


if __name__ == "__main__":
    main()
