"""ACE 2005 as the LDC ships it: a text in .sgm and its annotation in .apf.xml."""

import html
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple
from xml.etree import ElementTree

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..build import record_to_doc
from ..problems import Problems
from .common import PlaceT, compare_words, read_text

APF, SGM = ".apf.xml", ".sgm"
TAG = re.compile(r"<[^>]*>")
ESCAPE = re.compile(r"&(?:amp|lt|gt|quot|apos|#\d+);", re.IGNORECASE)
BODY = "TEXT"


def read_ace(path: Path, nlp: Language, problems: Problems, *, only_entities: bool = False) -> Iterator[Doc]:
    """Read one text. Entities are the heads of the mentions, with their type; values and times count as
    entities too, by their extents, with their type or TIME.

    The text is that between <TEXT> and </TEXT>, without tags, &amp; as one character, and single line breaks
    as spaces; spans outside of it are counted. Relations have their type, events type and subtype
    (Life:Die). Times of relations and coreference are counted, not read.

    path (Path): The .apf.xml file or the .sgm file; the other one must be beside it.
    nlp (Language): Tokenizer and vocabulary.
    problems (Problems): Takes in what does not fit.
    only_entities (bool): Leave out values and times, and the arguments that are one.
    YIELDS (Doc): One document. Raises ValueError (E156, E161, E174) if the files do not follow the format.
    """
    stem = path.name.removesuffix(APF).removesuffix(SGM)
    files = [path.with_name(stem + ending) for ending in (SGM, APF)]
    for file_ in files:
        if not file_.is_file():
            raise ValueError(Errors.E156.format(where=path.name, problem=f"expected {file_.name} beside it"))
    try:
        root = ElementTree.fromstring(files[1].read_bytes())
    except ElementTree.ParseError as error:
        raise ValueError(Errors.E174.format(path=files[1], expected="APF of ACE 2005", problem=error)) from None
    record = _Document(root, read_text(files[0]), files[1].name, problems, only_entities).record()
    record["meta"] = {"id": stem}
    yield record_to_doc(record, nlp, where=files[1].name, problems=problems)


def _body(sgm: str) -> Tuple[str, int, List[int]]:
    """The text to read, and how offsets of ACE, which count all characters but those of tags, become its own.

    sgm (str): The file.
    RETURNS (Tuple[str, int, List[int]]): The text, the offset at which it begins, and for each character from
        there on, and the end, the offset in the text.
    """
    sgm = sgm.replace("\r\n", "\n")
    begin = sgm.find(f"<{BODY}>")
    end = sgm.find(f"</{BODY}>")
    raw = TAG.sub("", sgm)
    first = len(TAG.sub("", sgm[:begin])) if begin >= 0 else 0
    raw = raw[first : len(TAG.sub("", sgm[:end])) if end >= 0 else len(raw)]
    stripped = raw.strip()
    first += len(raw) - len(raw.lstrip())
    text: List[str] = []
    offsets: List[int] = []
    position = 0
    while position < len(stripped):
        escape = ESCAPE.match(stripped, position)
        length = escape.end() - position if escape else 1
        offsets += [len(text)] * length
        text.append(html.unescape(escape[0].lower()) if escape else stripped[position])
        position += length
    offsets.append(len(text))
    return re.sub(r"(?<!\n)\n(?!\n)", " ", "".join(text)), first, offsets


class _Document:
    """Makes a record of a text and its annotation.

    root (Element): Of the .apf.xml file.
    sgm (str): The .sgm file.
    where (str): Name of the .apf.xml file, for messages.
    problems (Problems): Takes in what does not fit.
    only_entities (bool): Leave out values and times.
    """

    def __init__(self, root: ElementTree.Element, sgm: str, where: str, problems: Problems, only_entities: bool) -> None:
        self.root = root
        self.where = where
        self.problems = problems
        self.only_entities = only_entities
        self.text, self.first, self.offsets = _body(sgm)
        self.mentions: Dict[str, Optional[PlaceT]] = {}
        self.asked: Dict[str, str] = {}

    def record(self) -> Dict[str, Any]:
        """Put the document together. RETURNS (Dict[str, Any]): A record of our JSONL format."""
        self._add("entity", "")
        self._add("value", "")
        self._add("timex2", "TIME")
        relations = [self._relation(kind.get("TYPE", ""), item) for kind, item in self._pairs("relation")]
        events = [self._event(_event_label(kind), item) for kind, item in self._pairs("event")]
        return {
            "text": self.text,
            "entities": [place for place in self.mentions.values() if place is not None],
            "relations": [relation for relation in relations if relation is not None],
            "events": [event for event in events if event is not None],
        }

    def _pairs(self, name: str) -> Iterator[Tuple[ElementTree.Element, ElementTree.Element]]:
        for kind in self.root.iter(name):
            for mention in kind.iter(f"{name}_mention"):
                yield kind, mention

    def _add(self, name: str, label: str) -> None:
        """Take in the mentions of all entities, values or times."""
        for kind, mention in self._pairs(name):
            where, reference = self._where(mention), mention.get("ID", "")
            if not reference or reference in self.mentions:
                known = self.mentions.get(reference)
                raise ValueError(Errors.E160.format(where=where, id=reference, first=known))
            if self.only_entities and name != "entity":
                self.asked[reference] = name
                continue
            element = mention.find("head/charseq")
            element = mention.find("extent/charseq") if element is None else element
            place = self._place(element, where)
            own = label or kind.get("TYPE", "")
            self.mentions[reference] = None if place is None else {**place, "label": own}

    def _where(self, mention: ElementTree.Element) -> str:
        return f"{self.where}, {mention.get('ID')}"

    def _place(self, element: Optional[ElementTree.Element], where: str) -> Optional[PlaceT]:
        """The place of a charseq, of which START and END (inclusive) count in the file without tags."""
        if element is None:
            raise ValueError(Errors.E156.format(where=where, problem="expected a charseq with START and END"))
        words = html.unescape(element.text or "")
        try:
            start, end = int(element.get("START", "")) - self.first, int(element.get("END", "")) - self.first + 1
        except ValueError:
            problem = f"START and END must be numbers, and are {element.get('START')!r} and {element.get('END')!r}"
            raise ValueError(Errors.E156.format(where=where, problem=problem)) from None
        if not 0 <= start < end < len(self.offsets):
            self.problems.add("outside", where, repr(words))
            return None
        place = {"start": self.offsets[start], "end": self.offsets[end]}
        return compare_words(self.text, place, words, where=where, problems=self.problems)

    def _arguments(self, mention: ElementTree.Element, name: str) -> Iterator[Tuple[str, Optional[PlaceT]]]:
        """YIELDS (Tuple[str, Optional[PlaceT]]): Role and place of each argument; None was left out."""
        for argument in mention.findall(name):
            role, reference = argument.get("ROLE", ""), argument.get("REFID", "")
            if reference in self.asked:
                self.problems.add("beyond", self._where(mention), f"{role}: a {self.asked[reference]}")
                continue
            if reference not in self.mentions:
                known = ", ".join(list(self.mentions)[:20]) or "none"
                raise ValueError(Errors.E161.format(where=self._where(mention), id=reference, known=known))
            yield role, self.mentions[reference]

    def _relation(self, label: str, mention: ElementTree.Element) -> Optional[Dict[str, Any]]:
        ends: Dict[str, Optional[PlaceT]] = {"Arg-1": None, "Arg-2": None}
        for role, place in self._arguments(mention, "relation_mention_argument"):
            if role in ends:
                ends[role] = place
            else:
                self.problems.add("beyond", self._where(mention), f"{role} of a relation")
        if None in ends.values():
            self.problems.add("relation", self._where(mention), label)
            return None
        return {"head": ends["Arg-1"], "tail": ends["Arg-2"], "label": label}

    def _event(self, label: str, mention: ElementTree.Element) -> Optional[Dict[str, Any]]:
        trigger = self._place(mention.find("anchor/charseq"), self._where(mention))
        if trigger is None:
            self.problems.add("event", self._where(mention), label)
            return None
        arguments = []
        for role, place in self._arguments(mention, "event_mention_argument"):
            if place is None:
                self.problems.add("argument", self._where(mention), role)
            else:
                arguments.append({"role": role, **place})
        return {"trigger": trigger, "label": label, "arguments": arguments}


def _event_label(event: ElementTree.Element) -> str:
    return ":".join(filter(None, (event.get("TYPE"), event.get("SUBTYPE"))))
