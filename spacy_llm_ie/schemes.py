"""Labelling schemes: how flat, labelled spans become one tag a token, and back. Pure Python.

A tag is "O" or a prefix and a label: "B-ORG". Prefixes: B begins a span of several tokens, I is inside, L is its last token,
U is a span of one token (BILUO); in BIO, B begins any span and I continues it. Spans are (start, end, label) in tokens, end
exclusive.
"""

from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

from .errors import Errors

SpanT = Tuple[int, int, str]
OUTSIDE = "O"


class SpanTags(NamedTuple):
    """The tag ids that spell a span of one label: `unit` alone, or `begin inside* last`."""

    unit: int
    begin: int
    inside: int
    last: int


class Scheme:
    """The tags of a scheme over some labels, and which of them may follow which.

    name (str): "BILUO" or "BIO".
    labels (Sequence[str]): Entity labels, in the order of their tags. May be empty.
    """

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        if name not in SCHEMES:
            raise ValueError(Errors.E101.format(scheme=name, known=", ".join(SCHEMES)))
        _check_labels(labels)
        self.name = name
        self.labels: Tuple[str, ...] = tuple(labels)
        prefixes = SCHEMES[name]
        self.tags: Tuple[str, ...] = (OUTSIDE, *(f"{p}-{label}" for label in labels for p in prefixes))
        self.index: Dict[str, int] = {tag: i for i, tag in enumerate(self.tags)}

    def span_tags(self, label: str) -> SpanTags:
        """The ids of the tags that spell a span with this label.

        label (str): One of the labels; KeyError otherwise.
        RETURNS (SpanTags): Ids into `tags`.
        """
        last, unit = ("L", "U") if self.name == "BILUO" else ("I", "B")
        return SpanTags(*(self.index[f"{prefix}-{label}"] for prefix in (unit, "B", "I", last)))

    def legal(self) -> List[List[bool]]:
        """Which tag may follow which. RETURNS: Shape (K, K), [previous][next]."""
        return [[self._follows(a, b) for b in self.tags] for a in self.tags]

    def closing(self) -> List[List[bool]]:
        """Which steps end the span that the previous tag is part of. RETURNS: Shape (K, K), [previous][next].

        False where the previous tag cannot be the last of a span. In BILUO that is all that `legal` says of L and U; in BIO the
        step from B-x or I-x to I-x is legal but does not close.
        """
        ends = self.legal_end()
        return [
            [
                ok and ends[i] and a != OUTSIDE and not (self.name == "BIO" and b.startswith("I-"))
                for b, ok in zip(self.tags, row)
            ]
            for i, (a, row) in enumerate(zip(self.tags, self.legal()))
        ]

    def legal_start(self) -> List[bool]:
        """Which tags may stand on the first token. RETURNS: Shape (K,)."""
        return [tag[0] not in "IL" for tag in self.tags]

    def legal_end(self) -> List[bool]:
        """Which tags may stand on the last token. RETURNS: Shape (K,)."""
        return [self.name == "BIO" or tag[0] not in "BI" for tag in self.tags]

    def _follows(self, previous: str, following: str) -> bool:
        continues = following[0] in "IL"
        opened = previous[0] in "BI"
        if continues:
            return opened and previous[2:] == following[2:]
        return self.name == "BIO" or not opened

    def encode(self, spans: Iterable[SpanT], length: int) -> List[str]:
        """Write spans as tags.

        spans (Iterable[SpanT]): Flat spans in any order; ValueError if they overlap, are empty or leave the sequence.
        length (int): Number of tokens.
        RETURNS (List[str]): One tag a token.
        """
        tags = [OUTSIDE] * length
        owner: Dict[int, SpanT] = {}
        for start, end, label in spans:
            if not 0 <= start < end <= length:
                raise ValueError(Errors.E104.format(span=(start, end, label), length=length))
            for i in range(start, end):
                if i in owner:
                    raise ValueError(Errors.E103.format(first=owner[i], second=(start, end, label)))
                owner[i] = (start, end, label)
            unit, begin, inside, last = (self.tags[i] for i in self.span_tags(label))
            tags[start:end] = [unit] if end - start == 1 else [begin, *[inside] * (end - start - 2), last]
        return tags

    def decode(self, tags: Sequence[str]) -> List[SpanT]:
        """Read spans from tags; the inverse of `encode`.

        tags (Sequence[str]): A legal path; ValueError otherwise. Repair of tags that people wrote belongs to the converters.
        RETURNS (List[SpanT]): In the order of the text.
        """
        spans: List[SpanT] = []
        previous = OUTSIDE
        for i, tag in enumerate(tags):
            known = tag in self.index and (self._follows(previous, tag) if i else tag[0] not in "IL")
            if not known or (i == len(tags) - 1 and not self.legal_end()[self.index[tag]]):
                raise ValueError(Errors.E105.format(tag=tag, position=i, scheme=self.name, labels=self.labels))
            if tag[0] in "BU":
                spans.append((i, i + 1, tag[2:]))
            elif tag[0] in "IL":
                spans[-1] = (spans[-1][0], i + 1, tag[2:])
            previous = tag
        return spans

    def from_biluo(self, tags: Sequence[str]) -> List[str]:
        """Translate BILUO tags, as spaCy keeps them, into this scheme. RETURNS (List[str]): One tag a token."""
        if self.name == "BILUO":
            return list(tags)
        swap = {"L": "I", "U": "B"}
        return [swap.get(tag[0], tag[0]) + tag[1:] for tag in tags]


SCHEMES = {"BILUO": "BILU", "BIO": "BI"}


def _check_labels(labels: Sequence[str]) -> None:
    seen = set()
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise ValueError(Errors.E102.format(label=label, reason="a label is a string that is not empty"))
        if label in seen:
            raise ValueError(Errors.E102.format(label=label, reason="it is given twice"))
        seen.add(label)
