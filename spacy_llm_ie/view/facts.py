"""What is to be drawn: the facts of a document after the filters, with the spans that they need."""

from dataclasses import dataclass, field
from typing import Any, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Set, Tuple, Union

from spacy.tokens import Doc, Span

from ..annotations import Event, get_events, get_relations
from ..data.jsonl import entities_of
from ..errors import Errors
from .colors import NEUTRAL, entity_colors, fill_color, line_colors
from .words import is_rtl

ChoiceT = Union[bool, str, Collection[str]]
PaletteT = Dict[str, Dict[str, str]]


@dataclass(frozen=True)
class Options:
    """What to show, as in `render`."""

    entities: ChoiceT = True
    relations: ChoiceT = True
    events: ChoiceT = True
    spans: ChoiceT = False
    min_score: float = 0.0
    width: int = 900
    style: str = "arcs"
    event_arcs: bool = False
    colors: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Mark:
    """A span that is drawn: an entity, the trigger of an event, or a span that a fact refers to.

    `start` and `end` count tokens; `color` is that of a box for entities, of a line otherwise.
    """

    start: int
    end: int
    kind: str
    label: str
    text: str
    color: str
    score: Optional[float] = None
    number: int = 0


@dataclass
class Link:
    """An arc between two marks, given by their indices."""

    head: int
    tail: int
    kind: str
    label: str
    score: float
    color: str


@dataclass
class Frame:
    """An event for its card: the mark of its trigger, and role, mark and score of each argument."""

    mark: int
    label: str
    score: float
    number: int
    color: str
    arguments: List[Tuple[str, int, float]]


@dataclass
class Scene:
    """All that a picture of one document shows. `words` are tokens, each with the whitespace behind it."""

    words: List[Tuple[str, str]]
    title: str
    lang: str
    rtl: bool
    marks: List[Mark] = field(default_factory=list)
    links: List[Link] = field(default_factory=list)
    frames: List[Frame] = field(default_factory=list)

    @property
    def scored(self) -> bool:
        """RETURNS (bool): Whether scores say anything."""
        scores = [fact.score for facts in (self.links, self.frames) for fact in facts]
        return any(score != 1.0 for score in scores)


def wanted(choice: ChoiceT, label: str) -> bool:
    """Whether a filter lets a label through.

    choice (ChoiceT): True for all, False for none, else one label or several.
    label (str): The label.
    RETURNS (bool): The answer.
    """
    if isinstance(choice, bool):
        return choice
    return label == choice if isinstance(choice, str) else label in choice


def line_palette(docs: Iterable[Doc], options: Options) -> PaletteT:
    """The colours of relations and events, the same in all documents of a page.

    docs (Iterable[Doc]): The documents.
    options (Options): The filters, and colours that the caller gave.
    RETURNS (PaletteT): For "relation" and for "event", colours by label.
    """
    labels: Dict[str, Set[str]] = {"relation": set(), "event": set()}
    for doc in docs:
        labels["relation"].update(fact.label for fact in get_relations(doc) if wanted(options.relations, fact.label))
        labels["event"].update(fact.label for fact in get_events(doc) if wanted(options.events, fact.label))
    return {kind: line_colors(found, options.colors) for kind, found in labels.items()}


def collect(doc: Doc, options: Options, palette: Optional[PaletteT] = None) -> Scene:
    """Gather what is drawn of a document.

    doc (Doc): The document, not modified.
    options (Options): The filters. A fact whose score is below `min_score` is left out; an entity that no component
        scored counts as certain. A span that a shown fact needs is drawn in any case, without its label if the filter
        for entities does not let it through.
    palette (Optional[PaletteT]): As `line_palette` makes it; None: that of this document.
    RETURNS (Scene): Each fact once. Raises ValueError (E154, E179) if the document's facts are broken, E614 for a
        span group that is not there.
    """
    rtl = is_rtl(doc.text, doc.vocab.writing_system.get("direction") == "rtl")
    title = str(doc.user_data.get("title") or "")
    words = [(token.text, token.whitespace_) for token in doc]
    return _Collector(doc, options, palette or line_palette([doc], options), Scene(words, title, doc.lang_, rtl)).scene


class _Collector:
    """Fills a scene."""

    def __init__(self, doc: Doc, options: Options, palette: PaletteT, scene: Scene) -> None:
        self.options = options
        self.palette = palette
        self.scene = scene
        self.fills = entity_colors(options.colors)
        self.places: Dict[Tuple[int, int], List[int]] = {}
        relations = list(self._shown(get_relations(doc), options.relations))
        events = list(self._shown(get_events(doc), options.events))
        for span, score in self._entities(doc):
            self._mark(span, "entity", span.label_, score)
        triggers = [self._trigger(event) for event in events]
        for number, (event, trigger) in enumerate(zip(events, triggers), 1):
            self._add_event(event, trigger, number if len(events) > 1 else 0)
        for relation in relations:
            head, tail = self._end(relation.head), self._end(relation.tail)
            color = palette["relation"][relation.label]
            scene.links.append(Link(head, tail, "relation", relation.label, relation.score, color))

    def _shown(self, facts: Iterable[Any], choice: ChoiceT) -> Iterator[Any]:
        return (fact for fact in facts if wanted(choice, fact.label) and fact.score >= self.options.min_score)

    def _entities(self, doc: Doc) -> Iterator[Tuple[Span, Optional[float]]]:
        """The entities, and the spans of the groups that are asked for, each place and label once."""
        choice = self.options.entities
        found = [(span, score) for span, _, score in entities_of(doc) if wanted(choice, span.label_)]
        for key in _keys(self.options.spans, doc):
            group = doc.spans[key]
            scores = group.attrs.get("scores", ())
            known = len(scores) == len(group)
            found += [
                (span, float(scores[i]) if known else None)
                for i, span in enumerate(group)
                if isinstance(choice, bool) or wanted(choice, span.label_)
            ]
        seen = set()
        for span, score in found:
            key = (span.start, span.end, span.label_)
            sure = score is None or score >= self.options.min_score
            if span.end > span.start and sure and key not in seen:
                seen.add(key)
                yield span, score

    def _mark(self, span: Span, kind: str, label: str, score: Optional[float]) -> int:
        color = {"entity": fill_color(label, self.fills), "event": self.palette["event"].get(label)}.get(kind) or NEUTRAL
        self.scene.marks.append(Mark(span.start, span.end, kind, label, span.text, color, score))
        number = len(self.scene.marks) - 1
        self.places.setdefault((span.start, span.end), []).append(number)
        return number

    def _trigger(self, event: Event) -> int:
        """The mark of a trigger: one for all events of the same type that it names."""
        for number in self.places.get((event.trigger.start, event.trigger.end), ()):
            mark = self.scene.marks[number]
            if mark.kind == "event" and mark.label == event.label:
                return number
        return self._mark(event.trigger, "event", event.label, event.score)

    def _end(self, span: Span) -> int:
        """The mark of a span that a fact refers to: the entity with its label, any that is drawn there, or a new one."""
        found = self.places.get((span.start, span.end), [])
        marks = self.scene.marks
        ranks = {"entity": 1, "span": 2, "event": 3}
        best = sorted(found, key=lambda i: (marks[i].label != span.label_, ranks[marks[i].kind]))
        if best:
            return best[0]
        return self._mark(span, "span", span.label_ if wanted(self.options.entities, span.label_) else "", None)

    def _add_event(self, event: Event, trigger: int, number: int) -> None:
        color = self.palette["event"][event.label]
        mark = self.scene.marks[trigger]
        mark.number = mark.number or number
        arguments = [(a.role, self._end(a.span), a.score) for a in event.arguments if a.score >= self.options.min_score]
        self.scene.frames.append(Frame(trigger, event.label, event.score, number, color, arguments))
        for role, span, score in arguments:
            self.scene.links.append(Link(trigger, span, "argument", role, score, color))


def _keys(choice: ChoiceT, doc: Doc) -> List[str]:
    """The span groups to draw. Raises ValueError (E614) for one that the document does not have."""
    if choice is True:
        return [key for key in doc.spans if not key.startswith("ie_")]
    keys = [choice] if isinstance(choice, str) else list(choice or ())
    for key in keys:
        if key not in doc.spans:
            raise ValueError(Errors.E614.format(key=key, found=", ".join(doc.spans) or "none"))
    return keys


def score_text(score: Optional[float]) -> str:
    """A score as it is written in a picture.

    score (Optional[float]): The score.
    RETURNS (str): Two digits behind the point; "" if there is none.
    """
    return "" if score is None else f"{score:.2f}"
