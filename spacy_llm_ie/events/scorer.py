"""Scores of events, by the definitions of the ACE literature (Li et al., "Joint Event Extraction via Structured Prediction", 2013,
section 4.1; Lin et al., "A Joint Neural Model for Information Extraction with Global Features", 2020, section 4.2)."""

from typing import Any, Callable, Dict, Iterable, List, Set, Tuple

from spacy.tokens import Doc
from spacy.training import Example

from ..annotations import get_events, is_annotated
from ..facts import FactScore
from ..types import ScorerT
from .spans import ARGUMENT_SPANS, argument_spans


def make_trigger_scorer() -> ScorerT:
    """Make the default scorer of `ie_triggers`. RETURNS (Callable): See `score_triggers`."""
    return score_triggers


def make_argument_span_scorer() -> ScorerT:
    """Make the default scorer of `ie_argument_spans`. RETURNS (Callable): See `score_argument_spans`."""
    return score_argument_spans


def make_argument_scorer() -> ScorerT:
    """Make the default scorer of `ie_arguments`. RETURNS (Callable): See `score_arguments`."""
    return score_arguments


def score_triggers(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Compare sets of triggers.

    examples (Iterable[Example]): Documents whose reference is not annotated with events are left out.
    RETURNS (Dict[str, Any]): None where there is nothing to score.
        `triggers_p`, `triggers_r`, `triggers_f`: classification: borders and event type are those of a gold trigger.
        `triggers_per_type`: the same by event type.
        `triggers_id_p`, `_r`, `_f`: identification: the borders are those of a gold trigger, whatever the type.
    """
    examples = list(examples)
    typed = _compare(examples, trigger_facts, lambda fact: fact[2])
    places = _compare(examples, lambda doc: {fact[:2] for fact in trigger_facts(doc)})
    return {**typed.scores("triggers"), "triggers_per_type": typed.per_type(), **places.scores("triggers_id")}


def score_arguments(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Compare sets of arguments. An argument counts by its borders; a mention that corefers with it is no match.

    examples (Iterable[Example]): Documents whose reference is not annotated with events are left out.
    RETURNS (Dict[str, Any]): None where there is nothing to score.
        `args_p`, `args_r`, `args_f`: classification: borders, event type and role are those of a gold argument of the document.
        `args_per_type`: the same by role.
        `args_id_p`, `_r`, `_f`: identification: borders and event type are those of a gold argument, whatever the role.
        `args_attached_p`, `_r`, `_f`: classification, and the argument belongs to the right trigger: its borders count too.
    """
    examples = list(examples)
    roles = _compare(examples, lambda doc: {fact[2:] for fact in argument_facts(doc)}, lambda fact: fact[3])
    places = _compare(examples, lambda doc: {fact[2:5] for fact in argument_facts(doc)})
    attached = _compare(examples, argument_facts)
    return {
        **roles.scores("args"),
        "args_per_type": roles.per_type(),
        **places.scores("args_id"),
        **attached.scores("args_attached"),
    }


def score_argument_spans(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Compare the spans that are proposed as arguments with the arguments of all gold events.

    examples (Iterable[Example]): Documents whose reference is not annotated with events are left out.
    RETURNS (Dict[str, Any]): `arg_spans_p`, `arg_spans_r`, `arg_spans_f`: borders and role; `arg_spans_per_type`. None where there
        is nothing to score.
    """
    result = FactScore()
    for example in _annotated(examples):
        gold = {(span.start_char, span.end_char, role) for span, role in argument_spans(example.reference)}
        found = {(s.start_char, s.end_char, s.label_) for s in example.predicted.spans.get(ARGUMENT_SPANS, [])}
        result.add(found, gold, lambda fact: fact[2])
    return {**result.scores("arg_spans"), "arg_spans_per_type": result.per_type()}


def trigger_facts(doc: Doc) -> Set[Tuple[int, int, str]]:
    """The triggers of a document: first character, end, event type."""
    return {(event.trigger.start_char, event.trigger.end_char, event.label) for event in get_events(doc)}


def argument_facts(doc: Doc) -> Set[Tuple[int, int, int, int, str, str]]:
    """The arguments of a document: trigger's first character and end, argument's first character and end, event type, role."""
    return {
        (
            event.trigger.start_char,
            event.trigger.end_char,
            argument.span.start_char,
            argument.span.end_char,
            event.label,
            argument.role,
        )
        for event in get_events(doc)
        for argument in event.arguments
    }


def _annotated(examples: Iterable[Example]) -> List[Example]:
    return [example for example in examples if is_annotated(example.reference, "events")]


def _compare(examples: Iterable[Example], facts: Callable[[Doc], Set[Any]], label: Any = None) -> FactScore:
    result = FactScore()
    for example in _annotated(examples):
        result.add(facts(example.predicted), facts(example.reference), label)
    return result
