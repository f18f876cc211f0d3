"""The baseline that stands beside every score: what a list of the training entities would find."""

from collections import Counter, defaultdict
from typing import DefaultDict, Iterable, List

from spacy.language import Language
from spacy.pipeline import EntityRuler
from spacy.training import Example


def lookup_baseline(nlp: Language, train: Iterable[Example]) -> EntityRuler:
    """Make an entity ruler that tags whatever was an entity in the training data, with its most frequent label there.

    Where phrases overlap, the longest is taken.

    nlp (Language): Gives tokenizer and vocabulary.
    train (Iterable[Example]): Training data.
    RETURNS (EntityRuler): Callable on a Doc.
    """
    labels: DefaultDict[str, Counter] = defaultdict(Counter)
    for example in train:
        for ent in example.reference.ents:
            labels[ent.text][ent.label_] += 1
    ruler = EntityRuler(nlp)
    patterns: List[dict] = [
        {"label": sorted(counts.items(), key=lambda item: (-item[1], item[0]))[0][0], "pattern": text}
        for text, counts in sorted(labels.items())
    ]
    ruler.add_patterns(patterns)
    return ruler
