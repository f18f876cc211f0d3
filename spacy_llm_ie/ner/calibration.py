"""Temperature scaling: one number, fitted on held-out documents, that makes probabilities mean what they say."""

import warnings
from typing import List, NamedTuple, Sequence, Tuple

import numpy
from spacy.training import Example

from ..errors import Errors, Warnings
from .pipe import CrfEntityRecognizer
from .scorer import expected_calibration_error, score_pairs

# 0.25 to 16 in steps of 5%: finer steps change no probability by as much as 0.01.
TEMPERATURES = numpy.exp(numpy.arange(numpy.log(0.25), numpy.log(16), 0.05))


class Calibration(NamedTuple):
    """A fitted temperature, and the expected calibration error with 1.0 and with it, on the data that it was fitted on."""

    temperature: float
    ece_before: float
    ece_after: float


def fit_temperature(pipe: CrfEntityRecognizer, examples: Sequence[Example]) -> Calibration:
    """Find the temperature whose entity probabilities predict best which entities are right (Guo et al., 2017, section 4.2).

    The measure is the log loss over the predicted entities. Which entities are predicted does not depend on the temperature
    unless thresholds are set; those are left aside here.

    pipe (CrfEntityRecognizer): A trained component; `pipe.cfg` is not changed.
    examples (Sequence[Example]): Held-out documents with gold entities, whose predicted documents have passed the components
        before this one. Their entities are set anew.
    RETURNS (Calibration): ValueError if no predicted entity can be judged.
    """
    docs = [example.predicted for example in examples]
    saved = dict(pipe.cfg)
    results: List[Tuple[float, float, float]] = []
    try:
        pipe.cfg.update(threshold=None, thresholds={}, spans_key=None, overwrite=True)
        emissions = pipe.emissions(docs)
        for temperature in [1.0, *TEMPERATURES]:
            pipe.cfg["temperature"] = float(temperature)
            pipe.set_annotations(docs, pipe.decode(emissions))
            pairs = score_pairs(examples)
            if not pairs:
                raise ValueError(Errors.E213.format(name=pipe.name, count=sum(len(doc.ents) for doc in docs)))
            results.append((_log_loss(pairs), float(temperature), expected_calibration_error(pairs) or 0.0))
    finally:
        pipe.cfg.clear()
        pipe.cfg.update(saved)
    _, temperature, after = min(results)
    if temperature in (TEMPERATURES[0], TEMPERATURES[-1]):
        low, high = (round(float(x), 2) for x in TEMPERATURES[[0, -1]])
        warnings.warn(Warnings.W203.format(name=pipe.name, low=low, high=high), stacklevel=2)
        return Calibration(1.0, results[0][2], results[0][2])
    return Calibration(temperature, results[0][2], after)


def _log_loss(pairs: Sequence[Tuple[float, bool]]) -> float:
    scores = numpy.clip([score for score, _ in pairs], 1e-6, 1 - 1e-6)
    right = numpy.array([good for _, good in pairs])
    return float(-numpy.where(right, numpy.log(scores), numpy.log(1 - scores)).mean())
