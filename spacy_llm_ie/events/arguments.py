"""The component `ie_arguments`: says which spans take part in which events, in which roles."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

import numpy
from numpy import ndarray
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config

from ..aligned import predicted_places
from ..annotations import Argument, Event, get_events, is_annotated, set_events
from ..errors import Errors
from ..pairs.candidates import PairGeneratorT, SpanT
from ..pairs.labels import GoldPairs, SchemaT
from ..pairs.model import PairModelT
from ..pairs.pipe import FoundPair, PairPipe
from ..types import ScorerT
from .spans import ARGUMENT_SPANS, argument_spans, flatten

# In front of the type of an event, so that a trigger is told from an entity of the same label.
MARK = "!"

DEFAULT_CONFIG = Config().from_str("""
[ie_arguments]
spans_key = null
threshold = null
thresholds = {}
schema = {}
label_filter = true
train_on = "gold"
none_weight = 1.0
max_pairs = 100000
learn_rate_factor = 1.0
loss_weight = 1.0

[ie_arguments.candidates]
@misc = "spacy-llm-ie.near_pairs.v1"
max_distance = 100
max_sentences = null

[ie_arguments.model]
@architectures = "spacy-llm-ie.PairClassifier.v1"
hidden_size = 128
label_size = 32
context_size = 12
distance_size = 32
biaffine = false
dropout = null

[ie_arguments.model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 96
depth = 4
embed_size = 2000
window_size = 1
maxout_pieces = 3
subword_features = true

[ie_arguments.scorer]
@scorers = "spacy-llm-ie.argument_scorer.v1"
""")


@Language.factory(
    "ie_arguments",
    assigns=["doc._.events"],
    requires=["doc.ents", "doc._.events"],
    default_config=DEFAULT_CONFIG["ie_arguments"],
    default_score_weights={"args_f": 1.0, "args_p": 0.0, "args_r": 0.0, "args_id_f": None, "args_per_type": None},
)
def make_arguments(
    nlp: Language,
    name: str,
    model: PairModelT,
    candidates: Callable,
    spans_key: Optional[str],
    threshold: Optional[float],
    thresholds: Dict[str, float],
    schema: Dict[str, Dict[str, List[str]]],
    label_filter: bool,
    train_on: str,
    none_weight: float,
    max_pairs: int,
    learn_rate_factor: float,
    loss_weight: float,
    scorer: Optional[Callable],
) -> "ArgumentExtractor":
    """Make the component `ie_arguments`.

    Events may share an argument, a role may repeat, and a span may have two roles in one event if the training data has that.

    spans_key (Optional[str]): Take arguments from `doc.spans[spans_key]`. None: from `doc.ents`. "ie_argument_spans" are those that
        the component of this name proposes.
    schema (Dict[str, Dict[str, List[str]]]): Roles of an event type, and the labels of spans that fill them:
        {"funding": {"amount": ["MONEY"]}}. Types that it does not name have the roles that the training data shows.
    label_filter (bool): Only roles that the event's type has, filled by spans of labels that fill them.
    train_on (str): Learn from "gold" triggers and spans, from those "predicted" by the components before this one (they must be
        in `[training] annotating_components`), or from a "mix": both.
    model, candidates, threshold, thresholds, none_weight, max_pairs, learn_rate_factor, loss_weight: As in `ie_relations`.
    scorer (Optional[Callable]): The scoring method.
    RETURNS (ArgumentExtractor): The component.
    """
    settings = {
        "spans_key": spans_key,
        "threshold": threshold,
        "thresholds": thresholds,
        "schema": schema,
        "label_filter": label_filter,
        "train_on": train_on,
        "none_weight": none_weight,
        "max_pairs": max_pairs,
        "learn_rate_factor": learn_rate_factor,
        "loss_weight": loss_weight,
    }
    return ArgumentExtractor(nlp.vocab, model, name, candidates=candidates, scorer=scorer, **settings)


class ArgumentExtractor(PairPipe):
    """Find the arguments of events: label pairs of a trigger and a span with a role, and say how probable each is.

    vocab (Vocab): The shared vocabulary.
    model (Model[PairBatch, Floats2d]): A pair classifier.
    name (str): The name of the component instance.
    The other arguments are those of the factory.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: PairModelT,
        name: str = "ie_arguments",
        *,
        candidates: PairGeneratorT,
        spans_key: Optional[str] = None,
        scorer: Optional[ScorerT] = None,
        **settings: Any,
    ) -> None:
        super().__init__(vocab, model, name, candidates=candidates, scorer=scorer, spans_key=spans_key, **settings)

    def spans(self, doc: Doc) -> List[SpanT]:
        """The triggers of a document's events, and the spans that may be arguments. RETURNS (List[SpanT]): Triggers first."""
        found = [_head(event) for event in get_events(doc)]
        if found:
            found += [(span.start, span.end, span.label_) for span in self._group(doc)]
        return found

    def was_read(self, doc: Doc) -> bool:
        """Whether triggers were looked for in a document."""
        return is_annotated(doc, "events")

    def ends(self, spans: Sequence[SpanT]) -> Tuple[ndarray, ndarray]:
        """Triggers are heads, all others tails. RETURNS: Indices."""
        trigger = numpy.array([label.startswith(MARK) for *_, label in spans], dtype=bool)
        return numpy.flatnonzero(trigger), numpy.flatnonzero(~trigger)

    def gold(self, example: Example) -> Optional[GoldPairs]:
        """The arguments of the reference. RETURNS (Optional[GoldPairs]): None if it is not annotated with events."""
        if not is_annotated(example.reference, "events"):
            return None
        events = get_events(example.reference)
        triggers = predicted_places(example, [event.trigger for event in events])
        candidates = self._gold_candidates(example)
        labels: Dict[Tuple[SpanT, SpanT], Set[str]] = {}
        lost = 0
        for event, trigger in zip(events, triggers):
            places = predicted_places(example, [argument.span for argument in event.arguments])
            for argument, place in zip(event.arguments, places):
                tails = [] if place is None or trigger is None else candidates.get(place, [])
                lost += not tails
                for label in tails:
                    pair = ((*trigger, MARK + event.label), (*place, label))
                    labels.setdefault(pair, set()).add(argument.role)
        heads = {(*place, MARK + event.label) for event, place in zip(events, triggers) if place is not None}
        tails = {(*place, label) for place, found in candidates.items() for label in found}
        return GoldPairs(sorted(heads | tails), labels, lost)

    def _gold_candidates(self, example: Example) -> Dict[Tuple[int, int], List[str]]:
        """The gold spans that may be arguments: by their place, their labels."""
        reference, key = example.reference, self.cfg["spans_key"]
        found: Dict[Tuple[int, int], List[str]] = {}
        if key == ARGUMENT_SPANS and key not in reference.spans:
            flat = flatten(example, argument_spans(reference))
            for start, end, label in flat.spans if flat else []:
                found.setdefault((start, end), []).append(label)
            return found
        spans = list(self._group(reference))
        if key is None and not is_annotated(reference, "entities"):
            spans = [span for span, _ in argument_spans(reference) if span.label]  # entities are missing; these are known
        for span, place in zip(spans, predicted_places(example, spans)):
            if span.label_.startswith(MARK):
                raise ValueError(Errors.E401.format(name=self.name, label=span.label_, mark=MARK))
            if place is not None and span.label_ not in found.setdefault(place, []):
                found[place].append(span.label_)
        return found

    def _group(self, doc: Doc) -> Iterable[Span]:
        key = self.cfg["spans_key"]
        return doc.ents if key is None else doc.spans.get(key, [])

    def given_schema(self) -> SchemaT:
        """The given ontology by role. RETURNS (SchemaT): Pairs of trigger type and span label, by role."""
        result: SchemaT = {}
        for event, roles in self.cfg["schema"].items():
            for role, labels in roles.items():
                result.setdefault(role, []).extend([MARK + event, label] for label in labels)
        return result

    def full_schema(self) -> SchemaT:
        """The given ontology, and what was learned of event types that it does not name. RETURNS (SchemaT): By role."""
        result = self.given_schema()
        for role, pairs in self.cfg["learned_schema"].items():
            result.setdefault(role, []).extend(pair for pair in pairs if pair[0][len(MARK) :] not in self.cfg["schema"])
        return result

    def forbids(self, head: SpanT, tail: SpanT, label: str) -> bool:
        """Whether the given ontology, if it names the event type, does not let a span of this label fill the role."""
        named = self.cfg["label_filter"] and head[2][len(MARK) :] in self.cfg["schema"]
        return named and [head[2], tail[2]] not in self.given_schema().get(label, [])

    def set_annotations(self, docs: Iterable[Doc], predictions: List[List[FoundPair]]) -> None:
        """Replace the arguments of the events of the documents. Triggers stay; documents without events are left alone.

        docs (Iterable[Doc]): Modified in place.
        predictions (List[List[FoundPair]]): As `predict` returned them.
        """
        for doc, found in zip(docs, predictions):
            events = get_events(doc)
            if not events:
                continue
            arguments: Dict[SpanT, List[Argument]] = {}
            for head, (start, end, label), role, score in found:
                arguments.setdefault(head, []).append(Argument(role, Span(doc, start, end, label=label), score))
            set_events(doc, [Event(e.trigger, e.label, e.score, arguments.get(_head(e), ())) for e in events])


def _head(event: Event) -> SpanT:
    return (event.trigger.start, event.trigger.end, MARK + event.label)
