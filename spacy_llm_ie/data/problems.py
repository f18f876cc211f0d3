"""Collects what did not fit while data was read: counted by kind, with the first examples of each.

Nothing is lost in silence: what a reader or converter drops, repairs or skips goes in here. A problem says
that the data and the result differ in a way that nobody asked for; a note only tells what was done.
"""

from collections import Counter
from typing import Dict, List, NamedTuple


class Kind(NamedTuple):
    """A kind of problem.

    title (str): What was found.
    effect (str): What was done about it.
    problem (bool): Whether it is a problem (`convert --strict` fails) or a note.
    """

    title: str
    effect: str
    problem: bool = True


KINDS: Dict[str, Kind] = {
    # Spans
    "misaligned": Kind("span not on token borders", "left out; the tokens it touches are marked as missing"),
    "trimmed": Kind("span with whitespace at its edges", "whitespace taken off"),
    "overlap": Kind("overlapping entities", "the longest is in doc.ents, all are in doc.spans['ie_entities']"),
    "duplicate": Kind("the same fact twice", "kept once"),
    "moved": Kind("offsets that count UTF-16 units", "counted again in characters"),
    "mismatch": Kind("offsets that do not belong to the text", "left out"),
    "unlabelled": Kind("span or relation without a label", "left out"),
    "discontinuous": Kind("discontinuous span", "left out; the tokens of an entity are marked as missing"),
    "pieces": Kind("discontinuous argument", "each piece is an argument of its own"),
    "grown": Kind("span inside a token", "grown to the whole token"),
    "outside": Kind("span outside of the text that is read", "left out"),
    "sentence": Kind("sentence that does not begin at a token", "border left out"),
    # Facts that lost a span
    "relation": Kind("relation with an end that was left out", "left out"),
    "event": Kind("event with a trigger that was left out", "left out, with its arguments"),
    "argument": Kind("argument with a span that was left out", "left out"),
    "ambiguous": Kind("fact whose span has several entity labels", "the first label is used"),
    "nested_event": Kind("event that takes part in a relation or an event", "its trigger stands for it"),
    # Tags
    "repaired": Kind("tag that does not follow the scheme", "repaired"),
    # Records
    "unknown_key": Kind("key that the format does not have", "ignored"),
    "no_text": Kind("record without a text", "skipped"),
    "extra": Kind("further annotation of the same text", "ignored, the first is used"),
    "unsupported": Kind("annotation of a type that is no span and no relation", "ignored"),
    "not_written": Kind("annotation that JSONL does not hold", "not written"),
    "not_in_brat": Kind("annotation that brat does not hold", "not written"),
    "as_entity": Kind("span that is no entity", "written like one, since brat has no others"),
    "renamed": Kind("label with a space or colon, which brat does not allow", "written with '_'"),
    # Pieces of long documents
    "cut_entity": Kind("entity that crosses a cut", "left out; its tokens are marked as missing"),
    "cut_relation": Kind("relation between two pieces", "left out"),
    "cut_event": Kind("event whose trigger crosses a cut", "left out, with its arguments"),
    "cut_argument": Kind("argument in another piece than its trigger", "left out"),
    "cut_span": Kind("span of another group that crosses a cut", "left out"),
    "cut_cats": Kind("categories of a document that was split", "left out"),
    "augmented": Kind("augmentation that loses relations or events", "not annotated with them any more"),
    "given": Kind("gold span that does not fall on the predicted tokens", "not given"),
    # Notes
    "scheme": Kind("scheme of the tags", "detected", False),
    "not_accepted": Kind("record that was not accepted", "skipped", False),
    "other_file": Kind("file with another ending", "not read", False),
    "beyond": Kind("annotation that is no entity, relation or event", "ignored", False),
    "untyped": Kind("mention without a type (UNK)", "no entity, but facts may refer to it", False),
    "empty": Kind("document without tokens", "skipped", False),
}


class Problems:
    """Counts what did not fit, by kind, and keeps the first examples.

    max_examples (int): Examples to keep for each kind.
    """

    def __init__(self, max_examples: int = 3) -> None:
        self.max_examples = max_examples
        self.counts: Counter = Counter()
        self.examples: Dict[str, List[str]] = {}

    def add(self, kind: str, where: str, message: str = "", *, count: int = 1) -> None:
        """Count a finding.

        kind (str): One of KINDS, or a phrase of your own, which counts as a problem.
        where (str): File and line.
        message (str): What was found there.
        count (int): How many of this kind were found at once.
        """
        self.counts[kind] += count
        examples = self.examples.setdefault(kind, [])
        if len(examples) < self.max_examples:
            examples.append(f"{where}: {message}" if message else where)

    def merge(self, other: "Problems") -> None:
        """Take in what another collector has found.

        other (Problems): Not modified.
        """
        self.counts.update(other.counts)
        for kind, examples in other.examples.items():
            mine = self.examples.setdefault(kind, [])
            mine.extend(examples[: max(0, self.max_examples - len(mine))])

    @property
    def total(self) -> int:
        """RETURNS (int): How many problems were found; notes do not count."""
        return sum(count for kind, count in self.counts.items() if _kind(kind).problem)

    def kinds(self, *, notes: bool = False) -> List[str]:
        """The kinds that were found, the most frequent first.

        notes (bool): The notes instead of the problems.
        RETURNS (List[str]): Keys of `counts`.
        """
        return [kind for kind, _ in self.counts.most_common() if _kind(kind).problem is not notes]

    def render(self, *, notes: bool = False) -> str:
        """A summary to show: a line for each kind with its count, then the examples, indented.

        notes (bool): The notes instead of the problems.
        RETURNS (str): Empty if there is nothing to tell.
        """
        lines = []
        for kind in self.kinds(notes=notes):
            title, effect, _ = _kind(kind)
            lines.append(f"{self.counts[kind]} x {title}" + (f" ({effect})" if effect else ""))
            lines.extend(f"    {example}" for example in self.examples[kind])
            if 1 < len(self.examples[kind]) < self.counts[kind]:
                lines.append("    ...")
        return "\n".join(lines)


def _kind(name: str) -> Kind:
    return KINDS.get(name, Kind(name, ""))
