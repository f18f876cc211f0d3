"""Writes documents in brat's standoff format: for each a .txt and an .ann file of one name."""

import re
from pathlib import Path
from typing import Dict, Iterable, List, Tuple

from spacy.tokens import Doc, Span

from ..annotations import get_events, get_relations
from .build import META
from .jsonl import entities_of
from .problems import Problems

UNSAFE = re.compile(r"[^\w.-]+")
NO_LABEL = re.compile(r"[\s:]+")
KeyT = Tuple[int, int, str]


def write_brat(folder: Path, docs: Iterable[Doc], problems: Problems) -> int:
    """Write documents for brat.

    The files are named after "id" or "doc_key" in doc.user_data["meta"], or after the number of the document.
    A span that is no entity becomes a T line like one, with the role of the argument, or SPAN, as its label.
    Characters that brat has no place for in a label become "_". Both is counted, and so are scores, ids of a
    knowledge base and tokens of which it is not known whether they are entities, which are not written.

    folder (Path): Where to write; it must be there.
    docs (Iterable[Doc]): The documents, not modified.
    problems (Problems): Takes in what brat does not hold.
    RETURNS (int): How many were written.
    """
    names: Dict[str, int] = {}
    count = 0
    for count, doc in enumerate(docs, 1):
        name = _name(doc, count)
        while name.casefold() in names:
            name += f"_{count}"
        names[name.casefold()] = count
        lines = _Writer(doc, f"document {count}", problems).lines()
        for ending, content in ((".txt", doc.text), (".ann", "".join(f"{line}\n" for line in lines))):
            (folder / (name + ending)).write_bytes(content.encode("utf8"))
    return count


def _name(doc: Doc, number: int) -> str:
    meta = doc.user_data.get(META)
    own = meta.get("id", meta.get("doc_key")) if isinstance(meta, dict) else None
    name = UNSAFE.sub("_", str(own)).strip("._")[:100] if own is not None else ""
    return name or f"doc{number:06}"


class _Writer:
    """Makes the lines of one .ann file.

    doc (Doc): The document.
    where (str): Which one it is, for messages.
    problems (Problems): Takes in what brat does not hold.
    """

    def __init__(self, doc: Doc, where: str, problems: Problems) -> None:
        self.doc = doc
        self.where = where
        self.problems = problems
        self.spans: List[str] = []
        self.ids: Dict[KeyT, str] = {}
        self.entities = 0

    def lines(self) -> List[str]:
        """Write the annotation. RETURNS (List[str]): The lines of the .ann file: T, then R, then E."""
        entities = entities_of(self.doc)
        self.entities = len(entities)
        for span, _, _ in entities:
            self._end(span, span.label_)
        relations = [
            f"{self._label(r.label)} Arg1:{self._end(r.head, 'SPAN')} Arg2:{self._end(r.tail, 'SPAN')}\t"
            for r in get_relations(self.doc)
        ]
        events = self._events()
        self._count_lost(sum(bool(span.kb_id_) or score is not None for span, _, score in entities))
        numbered = [f"R{n}\t{line}" for n, line in enumerate(relations, 1)]
        return [*self.spans, *numbered, *(f"E{n}\t{line}" for n, line in enumerate(events, 1))]

    def _count_lost(self, details: int) -> None:
        facts = [*get_relations(self.doc), *get_events(self.doc)]
        scores = details + sum(fact.score != 1.0 for fact in facts)
        if scores:
            self.problems.add("not_in_brat", self.where, f"{scores} score(s) or id(s)", count=scores)
        missing = sum(token.ent_iob == 0 for token in self.doc)
        if missing:
            self.problems.add("not_in_brat", self.where, f"{missing} token(s) not known", count=missing)

    def _label(self, label: str) -> str:
        name = NO_LABEL.sub("_", label)
        if name != label:
            self.problems.add("renamed", self.where, f"{label!r} is {name!r}")
        return name

    def _end(self, span: Span, label: str) -> str:
        """The T of a span, written down if it is new."""
        key = (span.start_char, span.end_char, span.label_)
        if key not in self.ids:
            if len(self.spans) >= self.entities:
                self.problems.add("as_entity", self.where, f"{span.text!r} {span.label_ or label}")
            self.ids[key] = self._write(span, span.label_ or label)
        return self.ids[key]

    def _write(self, span: Span, label: str) -> str:
        name = f"T{len(self.spans) + 1}"
        pieces, position = [], span.start_char
        for part in re.split(r"(\s*[\r\n]\s*)", span.text):
            if part.strip():
                pieces.append(f"{position} {position + len(part)}")
            position += len(part)
        words = re.sub(r"\s*[\r\n]\s*", " ", span.text).replace("\t", " ")
        self.spans.append(f"{name}\t{self._label(label)} {';'.join(pieces)}\t{words}")
        return name

    def _events(self) -> List[str]:
        lines = []
        for event in get_events(self.doc):
            label = self._label(event.label)
            line = f"{label}:{self._write(event.trigger, label)}"
            seen: Dict[str, int] = {}
            for argument in event.arguments:
                role = self._label(argument.role)
                if role[-1].isdecimal():
                    self.problems.add("not_in_brat", self.where, f"role {role!r}: brat takes the number for a count")
                seen[role] = seen.get(role, 0) + 1
                number = str(seen[role]) if seen[role] > 1 else ""
                line += f" {role}{number}:{self._end(argument.span, role)}"
            lines.append(line)
        return lines
