"""Search for the thresholds of a pair classifier that give the best micro F1 on held-out data."""

from typing import Any, Callable, Dict, Hashable, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy
from numpy import ndarray
from spacy.tokens import Doc
from spacy.util import minibatch

from .candidates import Candidates
from .pipe import FoundPair, PairPipe

# Steps of 0.01, and finer ones near 0 and 1, where the probabilities of a pipeline that is too sure of itself lie.
GRID = numpy.round([0.002, 0.005, *numpy.arange(0.01, 0.995, 0.01), 0.995, 0.998], 4)
# What a threshold must gain: F1, and that many standard errors of the gain: one is general, and many are label-wise.
LEAST_GAIN = 0.002
GENERAL_ERRORS = 1.0
LABEL_ERRORS = 2.0
LEAST_GOLD = 10
ROUNDS = 3
BATCH = 128


class Option(NamedTuple):
    """A label that a candidate pair may get.

    pair (Hashable): Options of one pair exclude each other, unless pairs may have several labels.
    label (str): The label.
    score (float): Its probability.
    rest (float): What the probability must exceed if the label has no threshold.
    fact (Optional[Tuple]): What the document then says, as the scorer compares it, the label last. None: nothing that counts.
    """

    pair: Hashable
    label: str
    score: float
    rest: float
    fact: Optional[Tuple[Any, ...]]


class Pool(NamedTuple):
    """The options and the facts of all documents as columns. Make it with `make_pool`.

    labels (List[str]): Those of the component, then those that only gold facts have.
    several (bool): Whether a pair may have several labels.
    pair, label, score, rest, fact (ndarray): Of each option, by pair and falling probability; fact -1 is none. Shape: (N,)
    fact_label, fact_gold (ndarray): Of each fact: its label, and whether it is right. Shape: (F,)
    """

    labels: List[str]
    several: bool
    pair: ndarray
    label: ndarray
    score: ndarray
    rest: ndarray
    fact: ndarray
    fact_label: ndarray
    fact_gold: ndarray


class Counts(NamedTuple):
    """Facts that were found and are right, that were found, and that should be."""

    right: int
    found: int
    gold: int

    def prf(self) -> Tuple[float, float, float]:
        """RETURNS (Tuple[float, float, float]): Precision, recall and F1; 0 where there is nothing."""
        return (
            self.right / max(self.found, 1),
            self.right / max(self.gold, 1),
            2 * self.right / max(self.found + self.gold, 1),
        )


class Thresholds(NamedTuple):
    """The settings of a pair classifier: the general threshold, and those of single labels, which go before it."""

    threshold: Optional[float]
    thresholds: Dict[str, float]


def search_thresholds(pool: Pool, start: Thresholds, *, per_label: bool = False, least_gold: int = LEAST_GOLD) -> Thresholds:
    """Find thresholds with a better micro F1 over all facts.

    First the general threshold: every value of GRID is tried (the middle one, if several next to each other are best). Then, with
    `per_label`, the thresholds of single labels, the most frequent first, each for the micro F1 of all while the others stay as
    they are, and again from the general one until nothing changes, three times at most.

    The best of a hundred values looks better than what was there also by chance. So a new value is kept only if it gains more than
    0.002 F1, and more than one standard error of the gain (two for label-wise ones: there are many of them to be wrong about). The
    gain is a sum with one term for each fact that comes or goes, and the error is the root of the sum of their squares. A value
    that does nothing but find k more facts, all right, is kept from k = 2 on, and for a single label from k = 5 on.

    pool (Pool): Probabilities and gold facts.
    start (Thresholds): The settings so far. Label-wise ones stay in force without `per_label`, too.
    per_label (bool): Also search label-wise thresholds.
    least_gold (int): Only for labels with at least as many gold facts.
    RETURNS (Thresholds): New ones; equal to `start` if nothing is gained.
    """
    counts = count_facts(pool, start)
    frequent = [label for label in pool.labels if counts[label].gold >= max(least_gold, 1)] if per_label else []
    known = set(pool.label.tolist())
    frequent = [label for label in frequent if pool.labels.index(label) in known]  # the component has never heard of others
    frequent.sort(key=lambda label: (-counts[label].gold, label))
    best = start
    for _ in range(ROUNDS):
        before = best
        for label in [None, *frequent]:
            best = _try_all(pool, best, label)
        if best == before:
            break
    return best


def count_facts(pool: Pool, settings: Thresholds) -> Dict[Optional[str], Counts]:
    """What the component finds with some settings.

    pool (Pool): Probabilities and gold facts.
    settings (Thresholds): The settings.
    RETURNS (Dict[Optional[str], Counts]): By label; None: of all labels together.
    """
    found = _found(pool, settings)
    size = len(pool.labels)
    columns = [
        numpy.bincount(pool.fact_label[flags], minlength=size) for flags in (found & pool.fact_gold, found, pool.fact_gold)
    ]
    result: Dict[Optional[str], Counts] = {None: Counts(*(int(column.sum()) for column in columns))}
    for label, row in zip(pool.labels, zip(*(column.tolist() for column in columns))):
        result[label] = Counts(*row)
    return result


def _try_all(pool: Pool, settings: Thresholds, label: Optional[str]) -> Thresholds:
    """Change one threshold to the best value, if that is clearly better. label None: the general one."""
    old = _found(pool, settings)
    tried = [_changed(settings, label, float(value)) for value in GRID]
    scores = numpy.array([_f1(pool, _found(pool, new)) for new in tried])
    first = int(scores.argmax())
    worse = numpy.flatnonzero(scores[first:] < scores[first])
    last = first + int(worse[0]) - 1 if len(worse) else len(tried) - 1
    new = tried[(first + last) // 2]
    gain, error = _gain(pool, old, _found(pool, new))
    errors = GENERAL_ERRORS if label is None else LABEL_ERRORS
    return new if gain > max(LEAST_GAIN, errors * error + 1e-9) else settings


def _changed(settings: Thresholds, label: Optional[str], value: float) -> Thresholds:
    if label is None:
        return settings._replace(threshold=value)
    return settings._replace(thresholds={**settings.thresholds, label: value})


def _found(pool: Pool, settings: Thresholds) -> ndarray:
    """Which facts the component finds, as `PairPipe.decode` chooses labels. RETURNS (ndarray): True or False. Shape: (F,)"""
    general = numpy.nan if settings.threshold is None else settings.threshold
    limits = numpy.array([settings.thresholds.get(label, general) for label in pool.labels], dtype="float32")
    limit = limits[pool.label]
    chosen = numpy.flatnonzero(numpy.where(numpy.isnan(limit), pool.score > pool.rest, pool.score >= limit))
    if not pool.several and len(chosen):
        pair = pool.pair[chosen]
        chosen = chosen[numpy.append(True, pair[1:] != pair[:-1])]  # the first of a pair is the most probable
    facts = pool.fact[chosen]
    result = numpy.zeros(len(pool.fact_gold), dtype=bool)
    result[facts[facts >= 0]] = True
    return result


def _f1(pool: Pool, found: ndarray) -> float:
    return 2 * float((found & pool.fact_gold).sum()) / max(int(found.sum() + pool.fact_gold.sum()), 1)


def _gain(pool: Pool, old: ndarray, new: ndarray) -> Tuple[float, float]:
    """How much F1 rises, and the standard error of that.

    With r right facts, and s found and gold ones: F' - F = (2r' - Fs') / s', and 2r - Fs = 0, so that F' - F is the sum of what
    the facts that come or go change in 2r - Fs, over s'.
    """
    change = new.astype(float) - old
    terms = change * (2 * pool.fact_gold - _f1(pool, old)) / max(int(new.sum() + pool.fact_gold.sum()), 1)
    return float(terms.sum()), float(numpy.sqrt((terms**2).sum()))


# From documents to a pool.


def make_pool(docs: Iterable[Tuple[Sequence[Option], Set[Any]]], labels: Sequence[str], several: bool) -> Pool:
    """Put the options and the gold facts of documents into columns.

    docs (Iterable[Tuple[Sequence[Option], Set[Any]]]): Of each document, the options and the gold facts, the label last.
    labels (Sequence[str]): The labels of the component, in their order: of equally probable ones the first is chosen.
    several (bool): Whether a pair may have several labels.
    RETURNS (Pool): The columns.
    """
    outputs = {label: i for i, label in enumerate(labels)}
    pairs: Dict[Hashable, int] = {}
    facts: Dict[Hashable, int] = {}
    rows, gold_facts = [], []
    for number, (options, gold) in enumerate(docs):
        gold_facts += [facts.setdefault((number, fact), len(facts)) for fact in sorted(gold)]
        for option in options:
            pair = pairs.setdefault((number, option.pair), len(pairs))
            fact = -1 if option.fact is None else facts.setdefault((number, option.fact), len(facts))
            rows.append((pair, -option.score, outputs[option.label], option.rest, fact))
    rows.sort()
    for _, fact in facts:
        outputs.setdefault(fact[-1], len(outputs))
    columns = numpy.array(rows, dtype="float64").reshape(-1, 5).T
    pair, label, fact = (columns[i].astype("int64") for i in (0, 2, 4))
    score, rest = (-columns[1]).astype("float32"), columns[3].astype("float32")
    fact_label = numpy.array([outputs[fact[-1]] for _, fact in facts], dtype="int64")
    fact_gold = numpy.zeros(len(facts), dtype=bool)
    fact_gold[gold_facts] = True
    return Pool(list(outputs), several, pair, label, score, rest, fact, fact_label, fact_gold)


def score_pairs(pipe: PairPipe, docs: Iterable[Doc]) -> List[Tuple[Candidates, ndarray]]:
    """The probabilities of all candidate pairs of many documents, a batch at a time.

    pipe (PairPipe): A trained component.
    docs (Iterable[Doc]): Documents that have passed the components before it.
    RETURNS (List[Tuple[Candidates, ndarray]]): What `pipe.decode` takes, one a document.
    """
    return [found for batch in minibatch(docs, BATCH) for found in pipe.probabilities(batch)]


def list_options(
    pipe: PairPipe, candidates: Candidates, probabilities: ndarray, fact: Callable[[FoundPair], Tuple[Any, ...]]
) -> List[Option]:
    """The labels that the pairs of one document get if thresholds are low.

    pipe (PairPipe): The component.
    candidates, probabilities: As `score_pairs` returns them. What is less probable than any threshold is left out.
    fact (Callable[[FoundPair], Tuple]): What a labelled pair says, as the scorer compares it, the label last.
    RETURNS (List[Option]): In any order. A label without direction is told by one of its two pairs; it stands among the options of
        the other one as well, without a fact.
    """
    saved = dict(pipe.cfg)
    limits = [limit for limit in (saved["threshold"], *saved["thresholds"].values()) if limit is not None]
    try:
        pipe.cfg.update(threshold=min([float(GRID[0]), *limits]), thresholds={}, several=True)
        found = pipe.decode(candidates, probabilities)
    finally:
        pipe.cfg.clear()
        pipe.cfg.update(saved)
    place = {(candidates.spans[i], candidates.spans[j]): row for row, (i, j) in enumerate(candidates.pairs.tolist())}
    rest = [0.5] * len(place) if saved["several"] else probabilities[:, 0].tolist()
    options = []
    for pair in found:
        row, reverse = place.get((pair.head, pair.tail)), place.get((pair.tail, pair.head))
        rows = [reverse if row is None else row]
        if pair.label in saved.get("symmetric", ()) and row is not None and reverse is not None and row != reverse:
            rows.append(reverse)
        for number, says in zip(rows, (fact(pair), None)):
            options.append(Option(number, pair.label, pair.score, rest[number], says))
    return options
