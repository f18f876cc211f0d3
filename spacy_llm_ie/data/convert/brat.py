"""brat: standoff annotation, a text and an .ann file of the same name beside it."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Tuple

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..build import record_to_doc
from ..problems import Problems
from .common import PlaceT, compare_words, read_text

SPAN = re.compile(r"(T\S*)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?", re.DOTALL)
RELATION = re.compile(r"(R\S*)\t(\S+) ([^\s:]+):(\S+) ([^\s:]+):(\S+)\s*")
EVENT = re.compile(r"(E\S*)\t([^\s:]+):(\S+)((?: +[^\s:]+:\S+)*)\s*")
EXPECTED = {
    "T": "T1, a tab, label, start and end, a tab and the words",
    "R": "R1, a tab, label, Arg1:T1 and Arg2:T2",
    "E": "E1, a tab, label:T1 and role:T2 for each argument",
}
BESIDE = {"A": "attribute", "M": "attribute", "N": "normalization", "#": "note", "*": "equivalence"}


class Line(NamedTuple):
    """A line of an .ann file: where it is, for messages, and what its pattern found."""

    where: str
    match: "re.Match[str]"


def read_brat(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read one text with T, R and E lines. Attributes, notes and equivalences are counted, not read.

    Triggers of events are no entities. A role that is numbered (Theme2) is the role without its number. An
    event that takes part in another one is replaced with its trigger. Discontinuous spans are left out and
    counted, with the facts that need them. A text counts as annotated with relations, or events, if any .ann
    file of its folder has one.

    path (Path): The .ann file or the .txt file; the other one must be beside it.
    nlp (Language): Tokenizer and vocabulary.
    problems (Problems): Takes in what does not fit.
    YIELDS (Doc): One document. Raises ValueError (E156, E160, E161) with file and line for what does not
        follow the format.
    """
    files = [path.with_suffix(ending) for ending in (".txt", ".ann")]
    for file_ in files:
        if not file_.is_file():
            problem = f"expected {file_.name} beside it, with the {'text' if file_.suffix == '.txt' else 'annotation'}"
            raise ValueError(Errors.E156.format(where=path.name, problem=problem))
    reader = _Document(files[1], read_text(files[0]), problems)
    record = reader.record()
    for key, letter in (("relations", "R"), ("events", "E")):
        if not record[key] and not reader.lines[letter] and not _has(files[1], letter):
            del record[key]
    record["meta"] = {"id": path.stem}
    yield record_to_doc(record, nlp, where=path.name, problems=problems)


def _has(path: Path, letter: str) -> bool:
    """Whether any .ann file in the folder has a line of this kind."""
    for other in sorted(path.parent.glob("*.ann")):
        stat = other.stat()
        if letter in _letters(other, stat.st_mtime_ns, stat.st_size):
            return True
    return False


@lru_cache(maxsize=100_000)
def _letters(path: Path, changed: int, size: int) -> FrozenSet[str]:
    """RETURNS (FrozenSet[str]): The first characters of the lines; read again once time or size has changed."""
    return frozenset(line[:1] for line in read_text(path).split("\n"))


class _Document:
    """Makes a record of a text and its .ann file.

    path (Path): The .ann file.
    text (str): The text.
    problems (Problems): Takes in what does not fit.
    """

    def __init__(self, path: Path, text: str, problems: Problems) -> None:
        self.text = text
        self.problems = problems
        self.lines: Dict[str, List[Line]] = {"T": [], "R": [], "E": []}
        self.labels: Dict[str, str] = {}
        self.spans: Dict[str, List[PlaceT]] = {}
        self.missing: List[PlaceT] = []
        patterns = {"T": SPAN, "R": RELATION, "E": EVENT}
        for number, line in enumerate(read_text(path).split("\n"), 1):
            line, where = line.rstrip("\r"), f"{path.name}:{number}"
            kind = line[:1]
            if kind in BESIDE:
                problems.add("beyond", where, f"{BESIDE[kind]} {line.replace(chr(9), ' ')}")
            elif line.strip():
                match = patterns[kind].fullmatch(line) if kind in patterns else None
                if match is None:
                    expected = EXPECTED.get(kind, "a line that begins with T, R, E, A, M, N, * or #")
                    raise ValueError(Errors.E156.format(where=where, problem=f"expected {expected}, found {line!r}"))
                self.lines[kind].append(Line(where, match))

    def record(self) -> Dict[str, Any]:
        """Put the document together. RETURNS (Dict[str, Any]): A record of our JSONL format."""
        for line in self.lines["T"]:
            self._add(line)
        self.triggers = {line.match[1]: line.match[3] for line in self.lines["E"]}
        hidden = set(self.triggers.values())
        names = [line.match[1] for line in self.lines["T"] if line.match[1] not in hidden]
        entities = [{**self.spans[n][0], "label": self.labels[n]} for n in names if len(self.spans[n]) == 1]
        self.missing += [piece for n in names if len(self.spans[n]) > 1 for piece in self.spans[n]]
        relations = [self._relation(line) for line in self.lines["R"]]
        events = [self._event(line) for line in self.lines["E"]]
        return {
            "text": self.text,
            "entities": entities,
            "missing": self.missing,
            "relations": [relation for relation in relations if relation is not None],
            "events": [event for event in events if event is not None],
        }

    def _add(self, line: Line) -> None:
        """Take in a T line: its label and its pieces, none if its words do not fit."""
        name, label, places, words = line.match.groups()
        if name in self.spans:
            raise ValueError(Errors.E160.format(where=line.where, id=name, first=self.labels[name]))
        pieces = [dict(zip(("start", "end"), map(int, piece.split()))) for piece in places.split(";")]
        for start, end in ((piece["start"], piece["end"]) for piece in pieces):
            if not start < end <= len(self.text):
                raise ValueError(Errors.E159.format(where=line.where, start=start, end=end, length=len(self.text)))
        pieces = _joined(pieces, self.text)
        if len(pieces) > 1:
            self.problems.add("discontinuous", line.where, f"{label} {words!r}")
        else:
            found = compare_words(self.text, pieces[0], words, where=line.where, problems=self.problems)
            pieces = [] if found is None else [found]
        self.labels[name], self.spans[name] = label, pieces

    def _end(self, name: str, where: str) -> Optional[PlaceT]:
        """The place of what a fact refers to, with its label; None if it was left out."""
        label = self.labels.get(name)
        if name in self.triggers:
            self.problems.add("nested_event", where, name)
            event = next(line.match for line in self.lines["E"] if line.match[1] == name)
            name, label = event[3], event[2]
        if name not in self.spans:
            known = ", ".join([*self.spans, *self.triggers][:20]) or "none"
            raise ValueError(Errors.E161.format(where=where, id=name, known=known))
        return {**self.spans[name][0], "label": label} if len(self.spans[name]) == 1 else None

    def _relation(self, line: Line) -> Optional[Dict[str, Any]]:
        _, label, _, first, _, second = line.match.groups()
        head, tail = self._end(first, line.where), self._end(second, line.where)
        if head is None or tail is None:
            self.problems.add("relation", line.where, label)
            return None
        return {"head": head, "tail": tail, "label": label}

    def _event(self, line: Line) -> Optional[Dict[str, Any]]:
        _, label, name, rest = line.match.groups()
        if name in self.triggers:
            raise ValueError(Errors.E161.format(where=line.where, id=name, known=", ".join(list(self.spans)[:20])))
        trigger = self._end(name, line.where)
        arguments = []
        for role, target in _roles(rest):
            place = self._end(target, line.where)
            if place is None:
                self.problems.add("argument", line.where, role)
            else:
                arguments.append({"role": role, **place})
        if trigger is None:
            self.problems.add("event", line.where, label)
            return None
        return {"trigger": {**trigger, "label": label}, "label": label, "arguments": arguments}


def _roles(rest: str) -> Iterator[Tuple[str, str]]:
    for part in rest.split():
        role, _, target = part.partition(":")
        yield role.rstrip("0123456789") or role, target


def _joined(pieces: List[PlaceT], text: str) -> List[PlaceT]:
    """Put pieces together between which there is only whitespace: brat splits spans where a line ends."""
    joined = [dict(pieces[0])]
    for piece in pieces[1:]:
        if joined[-1]["end"] <= piece["start"] and not text[joined[-1]["end"] : piece["start"]].strip():
            joined[-1]["end"] = piece["end"]
        else:
            joined.append(dict(piece))
    return joined
