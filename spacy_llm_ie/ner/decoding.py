"""Emissions -> entities: the best path, or all entities above a threshold, each with its exact probability."""

from functools import lru_cache
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from numpy import ndarray
from spacy.attrs import IS_SPACE
from spacy.tokens import Doc

from ..errors import Errors
from ..layers import loops
from ..layers.chain import Potentials, ScaledMessages, scaled_messages
from ..layers.crf import LinearChainCRF
from ..layers.padding import buckets, pad
from ..layers.spans import likely_spans, span_probabilities
from ..schemes import Scheme, SpanTags

# Lower thresholds would list nearly every stretch of a document.
LOWEST_THRESHOLD = 0.01
# Positions times tags of a padded batch: about 16 MB for each array of float64 that is computed of it.
MAX_CELLS = 2_000_000
ScoredT = Tuple[int, int, str, float]  # start, end, label, probability


class DocSpans(NamedTuple):
    """What `ie_ner` finds in one document: entities in the order of the text, and candidates by start, end and label."""

    ents: List[ScoredT]
    candidates: List[ScoredT]


class Thresholds(NamedTuple):
    """How probable a span must be: `general` (None: on the best path instead), by label, and as a candidate (None: none kept)."""

    general: Optional[float]
    by_label: Dict[str, float]
    candidate: Optional[float]

    def of(self, label: str) -> Optional[float]:
        """The threshold for a label; None if the best path decides."""
        return self.by_label.get(label, self.general)

    def lowest(self, labels: Sequence[str]) -> Optional[float]:
        """The lowest threshold that anything has to pass; None if only the best path is wanted."""
        known = [self.candidate, self.general, *(self.of(label) for label in (labels if self.by_label else ()))]
        numbers = [max(x, LOWEST_THRESHOLD) for x in known if x is not None]
        return min(numbers) if numbers else None


class _Tables(NamedTuple):
    """A scheme as arrays over its tags: does it begin a span, continue one, and which label is it (-1: none)."""

    begins: ndarray
    continues: ndarray
    label: ndarray
    closing: ndarray
    span_tags: List[SpanTags]


@lru_cache(maxsize=32)
def _tables(scheme: Scheme) -> _Tables:
    label = [-1 if tag == "O" else scheme.labels.index(tag[2:]) for tag in scheme.tags]
    return _Tables(
        numpy.array([tag[0] in "BU" for tag in scheme.tags]),
        numpy.array([tag[0] in "IL" for tag in scheme.tags]),
        numpy.array(label),
        numpy.array(scheme.closing()),
        [scheme.span_tags(name) for name in scheme.labels],
    )


def check_thresholds(name: str, general: Optional[float], by_label: Dict[str, float], candidate: float) -> None:
    """Refuse thresholds outside [0, 1] with a ValueError that names the setting."""
    given = {"threshold": general, "candidate_threshold": candidate}
    given.update({f"thresholds.{label}": value for label, value in by_label.items()})
    for setting, value in given.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(Errors.E207.format(name=name, setting=setting, found=value))


def decode(
    crf: LinearChainCRF,
    scheme: Scheme,
    emissions: Sequence[ndarray],
    thresholds: Thresholds,
    temperature: float = 1.0,
) -> List[DocSpans]:
    """Find the entities of documents.

    emissions (Sequence[ndarray]): Scores of each tag at each token, a document each. Shape: (tokens, tags).
    thresholds (Thresholds): What to keep.
    temperature (float): Above 1, probabilities are less extreme.
    RETURNS (List[DocSpans]): One a document, in order; empty for an empty document.
    """
    results = [DocSpans([], []) for _ in emissions]
    for group in buckets([len(array) for array in emissions], MAX_CELLS // len(scheme.tags)):
        batch, lengths = pad([emissions[i] for i in group])
        for i, spans in zip(group, _decode_batch(crf, scheme, batch, lengths, thresholds, temperature)):
            results[i] = spans
    return results


def _decode_batch(
    crf: LinearChainCRF,
    scheme: Scheme,
    emissions: ndarray,
    lengths: ndarray,
    thresholds: Thresholds,
    temperature: float,
) -> Iterator[DocSpans]:
    tables = _tables(scheme)
    p = crf.potentials(emissions, lengths, temperature)
    chosen: List[List[ScoredT]] = [[] for _ in lengths]
    candidates: List[List[ScoredT]] = [[] for _ in lengths]
    lowest = thresholds.lowest(scheme.labels)
    messages = None if lowest is None else scaled_messages(p)
    if thresholds.general is None:
        for row, span in _best_path(crf, scheme, p, messages):
            if thresholds.of(span[2]) is None:
                chosen[row].append(span)
    if messages is not None:
        found = likely_spans(p, messages.whole(), tables.closing, tables.span_tags, lowest)
        for row, start, end, label, score in zip(*(column.tolist() for column in found)):
            span = (start, end, scheme.labels[label], score)
            limit = thresholds.of(span[2])
            if limit is not None and score >= limit:
                chosen[row].append(span)
            if thresholds.candidate is not None and score >= thresholds.candidate:
                candidates[row].append(span)
    for ents, others in zip(chosen, candidates):
        yield DocSpans(ents if lowest is None else keep_surest(ents), others)


def _best_path(
    crf: LinearChainCRF, scheme: Scheme, p: Potentials, messages: Optional[ScaledMessages]
) -> Iterator[Tuple[int, ScoredT]]:
    """The spans of the best path of each sequence. YIELDS: Row and span, in the order of the text.

    messages (Optional[ScaledMessages]): None: not needed for anything else, so those of the sequences with spans are enough.
    """
    tables = _tables(scheme)
    tags, _ = crf.best_paths(p)
    found = path_spans(tags, tables.begins, tables.continues, tables.label)
    if not len(found):
        return
    rows = numpy.arange(len(p.lengths))
    if messages is None:
        if len(rows) > 1:
            rows, found[:, 0] = numpy.unique(found[:, 0], return_inverse=True)
            p = p._replace(emissions=p.emissions[rows], lengths=p.lengths[rows])
        messages = scaled_messages(p)
    scores = span_probabilities(p, messages, tables.closing, tables.span_tags, found)
    found[:, 0] = rows[found[:, 0]]
    for (row, start, end, label), score in zip(found.tolist(), scores.tolist()):
        yield row, (start, end, scheme.labels[label], score)


def path_spans(tags: ndarray, begins: ndarray, continues: ndarray, label: ndarray) -> ndarray:
    """Read spans from legal paths.

    tags (ndarray): Tag ids, -1 on padding. Shape: (B, T).
    begins, continues, label (ndarray): Of each tag, as in the tables of a scheme. Shape of each: (K,).
    RETURNS (ndarray): Rows of (sequence, start, end, label), in reading order. Shape: (N, 4).
    """
    loop = loops.compiled(loops.path_spans)
    if loop is not None:
        spans = numpy.empty((tags.size, 4), dtype="int64")
        return spans[: loop(tags, begins, continues, label, spans)]
    real = tags >= 0
    begin, going = begins[tags] & real, continues[tags] & real
    next_going = numpy.zeros_like(going)
    next_going[:, :-1] = going[:, 1:]
    rows, starts = numpy.nonzero(begin)
    _, lasts = numpy.nonzero((begin | going) & ~next_going)
    return numpy.stack([rows, starts, lasts + 1, label[tags[rows, starts]]], axis=1)


def read_path(tags: ndarray, scheme: Scheme) -> List[Tuple[int, int, str]]:
    """The spans of one path, -1 on padding. RETURNS: (start, end, label), in the order of the text."""
    tables = _tables(scheme)
    found = path_spans(tags[None, :], tables.begins, tables.continues, tables.label)
    return [(start, end, scheme.labels[label]) for _, start, end, label in found.tolist()]


def keep_surest(spans: List[ScoredT]) -> List[ScoredT]:
    """Of spans that overlap keep the more probable one (the earlier one of equals). RETURNS: In the order of the text."""
    kept: List[ScoredT] = []
    taken = set()
    for span in sorted(spans, key=lambda s: (-s[3], s[0], s[1])):
        tokens = range(span[0], span[1])
        if taken.isdisjoint(tokens):
            taken.update(tokens)
            kept.append(span)
    return sorted(kept)


def constrain(emissions: ndarray, doc: Doc, scheme: Scheme, keep_entities: bool) -> ndarray:
    """Forbid what cannot be: entities that begin or end with white space, and, if asked, readings without given entities.

    emissions (ndarray): Shape (tokens, tags).
    keep_entities (bool): Forbid all paths that do not contain the entities that the document has. Those with labels that the
        scheme lacks stand outside of all spans.
    RETURNS (ndarray): A copy with -inf where a tag is forbidden; the same array if nothing is.
    """
    space = doc.to_array(IS_SPACE)
    if space.any():
        edges = [tag[0] in ("BLU" if scheme.name == "BILUO" else "BI") for tag in scheme.tags]  # BIO does not mark the end
        emissions = numpy.where((space[:, None] > 0) & numpy.array(edges), -numpy.inf, emissions)
    return _clamp_to_entities(emissions, doc, scheme) if keep_entities and doc.ents else emissions


def _clamp_to_entities(emissions: ndarray, doc: Doc, scheme: Scheme) -> ndarray:
    known = [(ent.start, ent.end, ent.label_) for ent in doc.ents if ent.label_ in scheme.labels]
    ids = numpy.array([scheme.index[tag] for tag in scheme.encode(known, len(doc))])
    inside = numpy.zeros(len(doc), dtype=bool)
    for ent in doc.ents:
        inside[ent.start : ent.end] = True
    clamped = numpy.where(inside[:, None], -numpy.inf, emissions)
    clamped[inside, ids[inside]] = 0.0
    if scheme.name == "BIO":
        for _, end, label in known:
            if end < len(doc):
                clamped[end, scheme.index[f"I-{label}"]] = -numpy.inf
    return clamped
