"""How many triggers and arguments one tag sequence cannot hold: spans of different labels that overlap, by corpus.

python benchmarks/overlaps.py --data PATH     # the folder that holds phee/ and fewfc-zh/
"""

import argparse
import tempfile
from pathlib import Path

import spacy

from spacy_llm_ie.cli.convert import convert
from spacy_llm_ie.data.corpus import create_corpus_v1
from spacy_llm_ie.events.spans import argument_spans, flatten, trigger_spans

FILES = (
    ("newswire", "jsonl", Path(__file__).parents[1] / "assets" / "newswire" / "train.jsonl", "en", {}),
    ("PHEE, main arguments", "phee", "phee/train.json", "en", {"main_arguments": True}),
    ("PHEE, with parts", "phee", "phee/train.json", "en", {}),
    ("FewFC", "fewfc", "fewfc-zh/train_base.json", "zh", {}),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    print(f"{'corpus':<22} {'spans':<10} {'all':>6} {'overlap':>8} {'off tokens':>11}")
    for name, form, path, lang, options in FILES:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "corpus.spacy"
            convert(form, args.data / path, target, lang=lang, **options)
            examples = list(create_corpus_v1(target)(spacy.blank(lang)))
        for kind, find in (("triggers", trigger_spans), ("arguments", argument_spans)):
            found = [flat for eg in examples if (flat := flatten(eg, find(eg.reference)))]
            kept, dropped, lost = (sum(len(getattr(f, key)) for f in found) for key in ("spans", "dropped", "lost"))
            print(f"{name:<22} {kind:<10} {kept + dropped + lost:>6} {dropped:>8} {lost:>11}")


if __name__ == "__main__":
    main()
