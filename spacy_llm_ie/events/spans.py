"""Which spans of an annotated document are triggers, and which are arguments."""

from typing import Iterable, List, NamedTuple, Optional, Tuple

from spacy.tokens import Doc, Span
from spacy.training import Example

from ..aligned import predicted_places
from ..annotations import get_events, is_annotated
from ..ner.decoding import keep_surest

TRIGGERS = "ie_triggers"
ARGUMENT_SPANS = "ie_argument_spans"
PlaceT = Tuple[int, int, str]  # start, end, label


class FlatSpans(NamedTuple):
    """Spans of one document that one tag sequence can hold.

    spans (List[PlaceT]): In the order of the text, without overlaps, on the tokens of the predicted document.
    dropped (List[str]): Those that overlap a longer one (an equal one of another label), as text.
    lost (List[Span]): Those that do not fall on the predicted tokens.
    """

    spans: List[PlaceT]
    dropped: List[str]
    lost: List[Span]


def trigger_spans(doc: Doc) -> List[Tuple[Span, str]]:
    """The triggers of a document with their event types, each once."""
    found = {(e.trigger.start, e.trigger.end, e.label): (e.trigger, e.label) for e in get_events(doc)}
    return [found[key] for key in sorted(found)]


def argument_spans(doc: Doc) -> List[Tuple[Span, str]]:
    """The arguments of all events of a document with their roles, each once."""
    arguments = [a for e in get_events(doc) for a in e.arguments]
    found = {(a.span.start, a.span.end, a.role): (a.span, a.role) for a in arguments}
    return [found[key] for key in sorted(found)]


def flatten(example: Example, spans: Iterable[Tuple[Span, str]]) -> Optional[FlatSpans]:
    """Bring spans of the reference onto the predicted tokens, and make them flat: of spans that overlap the longest stays.

    example (Example): The example.
    spans (Iterable[Tuple[Span, str]]): Spans of its reference, with their labels.
    RETURNS (Optional[FlatSpans]): None if the reference is not annotated with events.
    """
    if not is_annotated(example.reference, "events"):
        return None
    spans = list(spans)
    places = predicted_places(example, [span for span, _ in spans])
    lost = [span for (span, _), place in zip(spans, places) if place is None]
    found = [(*place, label) for (_, label), place in zip(spans, places) if place is not None]
    kept = [span[:3] for span in keep_surest([(*span, span[1] - span[0]) for span in found])]
    dropped = [f"'{example.predicted[s:e].text}' ({label})" for s, e, label in sorted(set(found).difference(kept))]
    return FlatSpans(kept, dropped, lost)
