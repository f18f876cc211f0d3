"""Gives predicted documents a part of the gold: to train a component alone, or to score it without the errors of others."""

from typing import Callable, Dict, List, Sequence, Tuple

from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from ..aligned import predicted_places
from ..annotations import ENTITIES, Event, get_events, is_annotated, set_events
from ..errors import Errors
from .problems import Problems


def give_sentences(example: Example) -> List[str]:
    """Set the sentence borders of the reference, where it has some. RETURNS (List[str]): Nothing is ever lost."""
    if example.reference.has_annotation("SENT_START"):
        for token, start in zip(example.predicted, example.get_aligned("SENT_START")):
            token.is_sent_start = start == 1
    return []


def give_entities(example: Example) -> List[str]:
    """Set the entities of the reference, and the group of those that overlap. RETURNS (List[str]): Those off the tokens."""
    reference, predicted = example.reference, example.predicted
    found, lost = _moved(example, reference.ents)
    if reference.has_annotation("ENT_IOB"):
        predicted.set_ents(found)
    if ENTITIES in reference.spans:
        spans, missing = _moved(example, reference.spans[ENTITIES])
        predicted.spans[ENTITIES] = SpanGroup(predicted, name=ENTITIES, spans=spans)
        lost += missing
    return lost


def give_triggers(example: Example) -> List[str]:
    """Set the events of the reference without their arguments. RETURNS (List[str]): Triggers off the tokens."""
    if not is_annotated(example.reference, "events"):
        return []
    events = get_events(example.reference)
    places = predicted_places(example, [event.trigger for event in events])
    labels: Dict[Tuple[int, int, str], None] = {
        (*place, event.label): None for place, event in zip(places, events) if place is not None
    }
    set_events(example.predicted, [Event(Span(example.predicted, s, e, label=label), label) for s, e, label in labels])
    return [event.trigger.text for event, place in zip(events, places) if place is None]


LAYERS_TO_GIVE: Dict[str, Callable[[Example], List[str]]] = {
    "sentences": give_sentences,
    "entities": give_entities,
    "triggers": give_triggers,
}


def check_layers(layers: Sequence[str]) -> List[str]:
    """Refuse what cannot be given with a ValueError (E167). RETURNS (List[str]): The layers."""
    for layer in layers:
        if layer not in LAYERS_TO_GIVE:
            raise ValueError(Errors.E167.format(name="given", expected=f"a list of {', '.join(LAYERS_TO_GIVE)}", found=layer))
    return list(layers)


def give(example: Example, layers: Sequence[str], where: str, problems: Problems) -> None:
    """Copy layers of the reference onto the predicted document.

    example (Example): Its predicted document is modified.
    layers (Sequence[str]): Any of "sentences", "entities" and "triggers".
    where (str): Which document it is, for messages.
    problems (Problems): Takes in spans that do not fall on the predicted tokens.
    """
    for layer in layers:
        for text in LAYERS_TO_GIVE[layer](example):
            problems.add("given", where, f"{layer}: {text!r}")


def _moved(example: Example, spans: Sequence[Span]) -> Tuple[List[Span], List[str]]:
    """The spans on the predicted tokens, and the texts of those that do not fall on them."""
    doc: Doc = example.predicted
    places = predicted_places(example, spans)
    found = [Span(doc, *place, label=span.label) for span, place in zip(spans, places) if place is not None]
    return found, [span.text for span, place in zip(spans, places) if place is None]
