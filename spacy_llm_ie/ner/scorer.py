"""Scores of `ie_ner`: spaCy's entity scores, and how far the entities' probabilities can be believed."""

from typing import Any, Dict, Iterable, List, Optional, Tuple

import numpy
from spacy.scorer import get_ner_prf
from spacy.training import Example

from ..types import ScorerT
from .scores import get_score

BINS = 10


def make_ner_scorer() -> ScorerT:
    """Make the default scorer of `ie_ner`. RETURNS (Callable): See `score_ner`."""
    return score_ner


def score_ner(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Score entities by exact span and label.

    examples (Iterable[Example]): Documents whose reference has no entity annotation are left out.
    RETURNS (Dict[str, Any]): `ents_p`, `ents_r`, `ents_f`, `ents_per_type` as spaCy computes them, and `ents_ece` (see
        `expected_calibration_error`); None where nothing could be scored.
    """
    examples = list(examples)
    scores = get_ner_prf(examples)
    scores["ents_ece"] = expected_calibration_error(score_pairs(examples))
    return scores


def score_pairs(examples: Iterable[Example]) -> List[Tuple[float, bool]]:
    """Pair each predicted entity's probability with whether the entity is right.

    examples (Iterable[Example]): Entities without a probability (set by another component) and documents without entity
        annotation are left out. Tokens that the reference marks as missing make an entity uncertain: it is left out too.
    RETURNS (List[Tuple[float, bool]]): In the order of the documents.
    """
    pairs = []
    for example in examples:
        reference = example.reference
        if not reference.has_annotation("ENT_IOB"):
            continue
        gold = {(ent.start_char, ent.end_char, ent.label_) for ent in reference.ents}
        missing = {i for token in reference if token.ent_iob == 0 for i in range(token.idx, token.idx + len(token))}
        for ent in example.predicted.ents:
            score = get_score(ent)
            if score is None or not missing.isdisjoint(range(ent.start_char, ent.end_char)):
                continue
            pairs.append((score, (ent.start_char, ent.end_char, ent.label_) in gold))
    return pairs


def reliability(pairs: Iterable[Tuple[float, bool]], bins: int = BINS) -> List[Tuple[float, float, int]]:
    """Group predictions by probability into bins of equal width: (0, 0.1], ..., (0.9, 1] for ten; 0 joins the first.

    pairs (Iterable[Tuple[float, bool]]): Probability in [0, 1], and whether the prediction is right.
    RETURNS (List[Tuple[float, float, int]]): Mean probability, share that is right, and count, for each bin that is not empty.
    """
    pairs = list(pairs)
    if not pairs:
        return []
    scores = numpy.array([score for score, _ in pairs], dtype=float)
    right = numpy.array([good for _, good in pairs], dtype=float)
    index = numpy.clip(numpy.ceil(scores * bins).astype(int) - 1, 0, bins - 1)
    return [
        (float(scores[index == i].mean()), float(right[index == i].mean()), int((index == i).sum()))
        for i in range(bins)
        if (index == i).any()
    ]


def expected_calibration_error(pairs: Iterable[Tuple[float, bool]], bins: int = BINS) -> Optional[float]:
    """The mean gap between probability and share of right predictions (Guo et al., "On Calibration of Modern Neural Networks",
    2017, equation 3): the sum over bins of count / total * |share right - mean probability|, ten bins of equal width.

    Only predicted entities count: what was missed has no probability. Read it beside the recall.

    pairs (Iterable[Tuple[float, bool]]): As `score_pairs` gives them.
    RETURNS (Optional[float]): In [0, 1], 0 is best; None without predictions.
    """
    table = reliability(pairs, bins)
    total = sum(count for _, _, count in table)
    return sum(count * abs(right - mean) for mean, right, count in table) / total if total else None
