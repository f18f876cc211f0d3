"""The components `ie_triggers` and `ie_argument_spans`: tag what names events, and what takes part in them, with a CRF each."""

import warnings
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from numpy import ndarray
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config

from ..annotations import Event, get_events, set_events
from ..errors import Errors, Warnings
from ..ner.decoding import DocSpans, ScoredT
from ..ner.tagger import CrfTaggerPipe, scored_group
from ..ner.targets import allowed_by_spans
from ..types import ScorerT, TaggerModelT
from .spans import ARGUMENT_SPANS, TRIGGERS, argument_spans, flatten, trigger_spans

DEFAULT_CONFIG = Config().from_str("""
[tagger]
scheme = "BILUO"
threshold = null
thresholds = {}
spans_key = null
candidate_threshold = 0.05
temperature = 1.0
learn_rate_factor = 1.0
loss_weight = 1.0

[tagger.model]
@architectures = "spacy-llm-ie.CrfTagger.v1"
features = null
hidden_size = null
dropout = null

[tagger.model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 96
depth = 4
embed_size = 2000
window_size = 1
maxout_pieces = 3
subword_features = true
""")["tagger"]


@Language.factory(
    "ie_triggers",
    assigns=["doc.spans", "doc._.events"],
    default_config={**DEFAULT_CONFIG, "scorer": {"@scorers": "spacy-llm-ie.trigger_scorer.v1"}},
    default_score_weights={
        "triggers_f": 1.0,
        "triggers_p": 0.0,
        "triggers_r": 0.0,
        "triggers_id_f": None,
        "triggers_per_type": None,
    },
)
def make_triggers(
    nlp: Language,
    name: str,
    model: TaggerModelT,
    scheme: str,
    threshold: Optional[float],
    thresholds: Dict[str, float],
    spans_key: Optional[str],
    candidate_threshold: float,
    temperature: float,
    learn_rate_factor: float,
    loss_weight: float,
    scorer: Optional[Callable],
) -> "TriggerTagger":
    """Make the component `ie_triggers`.

    One tag sequence holds flat triggers. Where triggers overlap in the training data the longest is learned, and a warning counts
    the others; two events of one type with the same trigger are one trigger. If triggers of different types overlap often, use a
    component of its own for each group of types, with [initialize.components.NAME.labels].

    model (Model[List[Doc], List[Floats2d]]): A tagger such as `spacy-llm-ie.CrfTagger.v1`.
    scheme (str): "BILUO" or "BIO".
    threshold, thresholds, spans_key, candidate_threshold, temperature, learn_rate_factor, loss_weight: As in `ie_ner`.
    scorer (Optional[Callable]): The scoring method.
    RETURNS (TriggerTagger): The component.
    """
    settings = {
        "scheme": scheme,
        "threshold": threshold,
        "thresholds": thresholds,
        "spans_key": spans_key,
        "candidate_threshold": candidate_threshold,
        "temperature": temperature,
        "learn_rate_factor": learn_rate_factor,
        "loss_weight": loss_weight,
    }
    return TriggerTagger(nlp.vocab, model, name, scorer=scorer, **settings)


@Language.factory(
    "ie_argument_spans",
    assigns=["doc.spans"],
    default_config={**DEFAULT_CONFIG, "scorer": {"@scorers": "spacy-llm-ie.argument_span_scorer.v1"}},
    default_score_weights={"arg_spans_f": 1.0, "arg_spans_p": 0.0, "arg_spans_r": 0.0, "arg_spans_per_type": None},
)
def make_argument_spans(
    nlp: Language,
    name: str,
    model: TaggerModelT,
    scheme: str,
    threshold: Optional[float],
    thresholds: Dict[str, float],
    spans_key: Optional[str],
    candidate_threshold: float,
    temperature: float,
    learn_rate_factor: float,
    loss_weight: float,
    scorer: Optional[Callable],
) -> "ArgumentSpanTagger":
    """Make the component `ie_argument_spans`, for corpora whose arguments are no entities.

    It proposes spans, labelled with the role that they usually have, and writes them to `doc.spans["ie_argument_spans"]`; an
    `ie_arguments` with `spans_key = "ie_argument_spans"` decides which event they belong to, in which role.

    model, scheme, threshold, ...: As in `ie_triggers`.
    RETURNS (ArgumentSpanTagger): The component.
    """
    settings = {
        "scheme": scheme,
        "threshold": threshold,
        "thresholds": thresholds,
        "spans_key": spans_key,
        "candidate_threshold": candidate_threshold,
        "temperature": temperature,
        "learn_rate_factor": learn_rate_factor,
        "loss_weight": loss_weight,
    }
    return ArgumentSpanTagger(nlp.vocab, model, name, scorer=scorer, **settings)


class EventSpanTagger(CrfTaggerPipe):
    """Tag spans that the gold events of a document name.

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], List[Floats2d]]): A tagger with a CRF beside it.
    name (str): The name of the component instance.
    The other arguments are those of the factory.
    """

    group = ""

    def __init__(
        self, vocab: Vocab, model: TaggerModelT, name: str = "", *, scorer: Optional[ScorerT] = None, **settings: Any
    ) -> None:
        super().__init__(vocab, model, name or self.group, scorer=scorer, **settings)
        self.cfg["chosen"] = False

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Sequence[str]] = None,
    ) -> None:
        """As of every tagger. With `labels` given, events of other types are left to other components: they are not learned,
        and those on the documents stay."""
        self.cfg["chosen"] = labels is not None
        super().initialize(get_examples, nlp=nlp, labels=labels)

    def gold_spans(self, doc: Doc) -> List[Tuple[Span, str]]:
        """The spans to learn. RETURNS (List[Tuple[Span, str]]): With their labels."""
        raise NotImplementedError

    def survey(self, examples: Iterable[Example]) -> Set[str]:
        """Collect the labels, and count what one tag sequence cannot hold. RETURNS (Set[str]): The labels."""
        labels: Set[str] = set()
        dropped: List[str] = []
        lost, count = 0, 0
        for example in examples:
            found = flatten(example, self.gold_spans(example.reference))
            if found is not None:
                labels.update(label for _, _, label in found.spans)
                dropped += found.dropped
                lost += len(found.lost)
                count += len(found.spans) + len(found.dropped) + len(found.lost)
        if dropped or lost:
            some = ", ".join(dropped[:3])
            numbers = {"dropped": len(dropped), "lost": lost, "count": count}
            warnings.warn(
                Warnings.W401.format(name=self.name, some=f" (such as {some})" if some else "", **numbers), stacklevel=3
            )
        return labels

    def allowed(self, example: Example) -> Optional[ndarray]:
        """The tags that the gold events allow at each token. RETURNS: Shape (tokens, tags); None without annotation."""
        gold = self.gold_spans(example.reference)
        if self.cfg["chosen"]:
            gold = [(span, label) for span, label in gold if label in self.labels]
        found = flatten(example, gold)
        if found is None:
            return None
        for _, _, label in found.spans:
            if label not in self.scheme.labels:
                text = example.reference.text[:60]
                raise ValueError(Errors.E203.format(label=label, text=text, labels=list(self.labels)))
        unknown = {int(i) for span in found.lost for i in example.alignment.y2x[span.start : span.end]}
        taken = {i for start, end, _ in found.spans for i in range(start, end)}
        return allowed_by_spans(found.spans, len(example.predicted), self.scheme, unknown - taken)

    def set_annotations(self, docs: Iterable[Doc], predictions: List[DocSpans]) -> None:
        """Write the spans, with their probabilities in `.attrs["scores"]`, and candidates if a `spans_key` is set.

        docs (Iterable[Doc]): Modified in place; what stood there before is replaced, but for labels that are not this component's.
        predictions (List[DocSpans]): As `predict` returned them.
        """
        for doc, found in zip(docs, predictions):
            doc.spans[self.group] = scored_group(doc, self.group, sorted([*self._others(doc), *found.ents]))
            self.write_candidates(doc, found.candidates)

    def _others(self, doc: Doc) -> List[ScoredT]:
        """Spans that components for other labels have written."""
        group = doc.spans.get(self.group)
        if not group:
            return []
        scores = group.attrs.get("scores", [1.0] * len(group))
        found = [(span.start, span.end, span.label_, score) for span, score in zip(group, scores)]
        return [span for span in found if span[2] not in self.labels]


class TriggerTagger(EventSpanTagger):
    """Find the triggers of events with a linear-chain CRF over token vectors, and say how probable each is.

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], List[Floats2d]]): A tagger with a CRF beside it.
    name (str): The name of the component instance.
    The other arguments are those of the factory.
    """

    group = TRIGGERS

    def gold_spans(self, doc: Doc) -> List[Tuple[Span, str]]:
        """The triggers of the gold events, labelled with their types. RETURNS (List[Tuple[Span, str]]): Each once."""
        return trigger_spans(doc)

    def set_annotations(self, docs: Iterable[Doc], predictions: List[DocSpans]) -> None:
        """Write `doc.spans["ie_triggers"]`, and events without arguments in `doc._.events`.

        docs (Iterable[Doc]): Modified in place; what stood there before is replaced, but for labels that are not this component's.
        predictions (List[DocSpans]): As `predict` returned them.
        """
        docs = list(docs)
        super().set_annotations(docs, predictions)
        for doc, found in zip(docs, predictions):
            others = [event for event in get_events(doc) if event.label not in self.labels]
            new = [Event(Span(doc, start, end, label=label), label, score) for start, end, label, score in found.ents]
            set_events(doc, sorted([*others, *new], key=lambda event: (event.trigger.start, event.trigger.end, event.label)))


class ArgumentSpanTagger(EventSpanTagger):
    """Propose the arguments of events, where these are no entities, with a linear-chain CRF over token vectors.

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], List[Floats2d]]): A tagger with a CRF beside it.
    name (str): The name of the component instance.
    The other arguments are those of the factory.
    """

    group = ARGUMENT_SPANS

    def gold_spans(self, doc: Doc) -> List[Tuple[Span, str]]:
        """The arguments of the gold events, labelled with their roles. RETURNS (List[Tuple[Span, str]]): Each once."""
        return argument_spans(doc)
