"""What every component that tags tokens with a CRF does: `ie_ner`, `ie_triggers`, `ie_argument_spans`."""

import itertools
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

import numpy
import torch
from numpy import ndarray
from spacy.errors import Errors as SpacyErrors
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.types import Floats2d

from ..errors import Errors
from ..layers.crf import PathCounts
from ..layers.padding import buckets, pad
from ..schemes import Scheme
from ..settings import ConfiguredPipe, Lesson
from ..types import ScorerT, TaggerModelT
from . import decoding, targets, teaching
from .decoding import DocSpans, ScoredT, Thresholds
from .model import get_crf, set_tags

LossT = Tuple[float, List[Floats2d], List[torch.Tensor]]


class CrfTaggerPipe(ConfiguredPipe):
    """Find flat, labelled spans with a linear-chain CRF over token vectors, and say how probable each is.

    Subclasses say what the gold annotation is (`survey`, `allowed`) and where the answer is written (`set_annotations`).

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], List[Floats2d]]): A tagger with a CRF beside it.
    name (str): The name of the component instance.
    scorer (Optional[Callable]): The scoring method.
    settings (Any): Those of the factory: scheme, threshold, thresholds, candidate_threshold, spans_key, temperature,
        learn_rate_factor, loss_weight, and what the subclass adds.
    """

    def __init__(
        self, vocab: Vocab, model: TaggerModelT, name: str, *, scorer: Optional[ScorerT] = None, **settings: Any
    ) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        settings["thresholds"] = dict(settings.get("thresholds") or {})
        self.configure(scorer, {**DEFAULTS, **settings}, labels=[])
        decoding.check_thresholds(name, *(self.cfg[k] for k in ("threshold", "thresholds", "candidate_threshold")))
        self._scheme = Scheme(self.cfg["scheme"], [])

    def survey(self, examples: Iterable[Example]) -> Set[str]:
        """Collect the labels of the training data, and warn of what in it cannot be learned. RETURNS (Set[str]): The labels."""
        raise NotImplementedError

    def allowed(self, example: Example) -> Optional[ndarray]:
        """The tags that the annotation allows at each token. RETURNS: Shape (tokens, tags); None if there is no annotation."""
        raise NotImplementedError

    def constrain(self, scores: ndarray, doc: Doc) -> ndarray:
        """Forbid what cannot be. RETURNS (ndarray): The scores, -inf where a tag is forbidden. Shape: (tokens, tags)."""
        return decoding.constrain(scores, doc, self.scheme, False)

    @property
    def labels(self) -> Tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels, sorted."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> List[str]:
        """RETURNS (List[str]): What `spacy init labels` writes and `initialize(labels=...)` takes."""
        return list(self.labels)

    @property
    def scheme(self) -> Scheme:
        """RETURNS (Scheme): The tags of the component's labels."""
        if self._scheme.labels != self.labels or self._scheme.name != self.cfg["scheme"]:
            self._scheme = Scheme(self.cfg["scheme"], self.labels)
        return self._scheme

    @property
    def thresholds(self) -> Thresholds:
        """RETURNS (Thresholds): What the settings say about how probable an entity must be; ValueError if they cannot be."""
        general, by_label, candidate = (self.cfg[k] for k in ("threshold", "thresholds", "candidate_threshold"))
        decoding.check_thresholds(self.name, general, by_label, candidate)
        unknown = sorted(set(by_label).difference(self.labels))
        if unknown:
            raise ValueError(Errors.E209.format(name=self.name, unknown=unknown, labels=list(self.labels)))
        keep = None if self.cfg["spans_key"] is None else candidate
        return Thresholds(general, by_label, keep)

    def add_label(self, label: str) -> int:
        """Add a label before the component is initialised.

        label (str): The label; ValueError if the model has its tags already.
        RETURNS (int): 0 if the label is known, otherwise 1.
        """
        if label in self.labels:
            return 0
        if get_crf(self.model) is not None:
            raise ValueError(Errors.E204.format(name=self.name, label=label, labels=list(self.labels)))
        Scheme(self.cfg["scheme"], [*self.labels, label])
        self.cfg["labels"] = sorted([*self.labels, label])
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Sequence[str]] = None,
    ) -> None:
        """Find the labels and build the model for them.

        get_examples (Callable[[], Iterable[Example]]): The training data; ValueError if it has no entity.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Sequence[str]]): Labels from `spacy init labels`; saves the pass over the data.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        if labels is None:
            labels = self.survey(get_examples())
        found = sorted({*self.labels, *labels})
        if not found:
            raise ValueError(Errors.E205.format(name=self.name))
        if get_crf(self.model) is not None and found != list(self.labels):
            raise ValueError(Errors.E214.format(name=self.name, old=list(self.labels), new=found))
        Scheme(self.cfg["scheme"], found)
        self.cfg["labels"] = found
        self.thresholds  # noqa: B018  raises if they name a label that is not there
        set_tags(self.model, self.scheme)
        sample = [example.predicted for example in itertools.islice(get_examples(), 10)]
        self.model.initialize(X=[doc for doc in sample if len(doc)] or None)

    def emissions(self, docs: Sequence[Doc]) -> List[ndarray]:
        """Score each tag at each token. RETURNS (List[ndarray]): Shape (tokens, tags), one a document, on the CPU."""
        if get_crf(self.model) is None:
            raise ValueError(SpacyErrors.E109.format(name=self.name))
        self.check_upstream(docs)
        if not any(len(doc) for doc in docs):
            return [numpy.zeros((0, len(self.scheme.tags)), dtype="float32") for _ in docs]
        scores = [self.model.ops.to_numpy(array) for array in self.model.predict(docs)]
        if not numpy.isfinite(numpy.concatenate(scores)).all():
            raise ValueError(Errors.E210.format(name=self.name))
        return [self.constrain(array, doc) for array, doc in zip(scores, docs)]

    def predict(self, docs: Iterable[Doc]) -> List[DocSpans]:
        """Find entities without changing the documents.

        docs (Iterable[Doc]): The documents.
        RETURNS (List[DocSpans]): One a document, in order.
        """
        return self.decode(self.emissions(list(docs)))

    def decode(self, emissions: Sequence[ndarray]) -> List[DocSpans]:
        """Find entities from the scores that `emissions` gives. RETURNS (List[DocSpans]): One a document, in order."""
        crf = get_crf(self.model)
        return decoding.decode(crf, self.scheme, emissions, self.thresholds, self.cfg["temperature"])

    def write_candidates(self, doc: Doc, candidates: Sequence[ScoredT]) -> None:
        """Keep the candidates in `doc.spans[spans_key]`, with their probabilities, if a `spans_key` is set."""
        if self.cfg["spans_key"] is not None:
            doc.spans[self.cfg["spans_key"]] = scored_group(doc, self.cfg["spans_key"], candidates)

    def n_best(self, doc: Doc, n: int = 5) -> List[Tuple[float, List[Span]]]:
        """The n most probable sets of entities of one document.

        doc (Doc): A document that the components before this one have processed; not changed.
        n (int): How many; fewer come back if there are fewer legal ones.
        RETURNS (List[Tuple[float, List[Span]]]): The probability of the whole set, and its spans; most probable first.
        """
        batch, lengths = pad(self.emissions([doc]))
        tags, probabilities = get_crf(self.model).n_best(batch, lengths, n, self.cfg["temperature"])
        return [
            (float(probability), [Span(doc, *span[:2], label=span[2]) for span in decoding.read_path(path, self.scheme)])
            for path, probability in zip(tags[0], probabilities[0])
            if probability > 0
        ]

    def learn(self, examples: List[Example], lesson: Optional[Lesson] = None) -> float:
        """Pass the gradients of a batch back, those of the CRF's own parameters too. RETURNS (float): The loss."""
        scores, backprop = self.model.begin_update([example.predicted for example in examples])
        parts = []
        if lesson is None or lesson.gold_weight:
            parts.append((1.0 if lesson is None else lesson.gold_weight, self._loss(examples, scores)))
        if lesson is not None:
            parts.append((lesson.teacher_weight, self._distance(lesson.scores, scores, lesson.temperature)))
        for weight, (_, _, gradients) in parts:
            for parameter, gradient in zip(get_crf(self.model).parameters(), gradients):
                parameter.grad = weight * gradient + (0 if parameter.grad is None else parameter.grad)
        backprop([sum(weight * part[1][i] for weight, part in parts) for i in range(len(scores))])
        return sum(weight * part[0] for weight, part in parts)

    def get_loss(self, examples: Iterable[Example], scores: List[Floats2d]) -> Tuple[float, List[Floats2d]]:
        """The negative log-likelihood of the gold annotation, per annotated token, times `loss_weight`, and its gradient.

        examples (Iterable[Example]): Those without entity annotation have no share in it; where the annotation of a token is
            missing, all tags are summed over.
        scores (List[Floats2d]): Emissions, one array of shape (tokens, tags) an example.
        RETURNS (Tuple[float, List[Floats2d]]): The loss, and a gradient for each array of scores.
        """
        return self._loss(list(examples), scores)[:2]

    def get_teacher_scores(
        self, teacher_pipe: Any, examples: Iterable[Example], temperature: float = 1.0
    ) -> List[Optional[PathCounts]]:
        """What the teacher's CRF expects of each document, in the tags of this component; see `ConfiguredPipe`.

        Labels that this component does not have count as outside, as if the teacher's spans with them were taken away.
        """
        table = teaching.tag_table(self, teacher_pipe)
        docs = [example.reference for example in examples]
        return teaching.ask(teacher_pipe, docs, table, temperature * teacher_pipe.cfg["temperature"])

    def get_teacher_student_loss(
        self, teacher_scores: List[Optional[PathCounts]], student_scores: List[Floats2d], temperature: float = 1.0
    ) -> Tuple[float, List[Floats2d]]:
        """The Kullback-Leibler divergence of the student's tag paths from the teacher's, per token, times `loss_weight` and the
        square of the temperature, and its gradient; see `LinearChainCRF.cross_entropy`.

        teacher_scores (List[Optional[PathCounts]]): One a document; None teaches nothing.
        student_scores (List[Floats2d]): Emissions, one array of shape (tokens, tags) a document.
        temperature (float): That of the teacher's scores.
        RETURNS (Tuple[float, List[Floats2d]]): The loss, and a gradient for each array of scores.
        """
        return self._distance(teacher_scores, student_scores, temperature)[:2]

    def _distance(self, taught: Sequence[Optional[PathCounts]], scores: List[Floats2d], temperature: float) -> LossT:
        """As `get_teacher_student_loss`, and the gradients of the CRF's own parameters."""

        def loss_of(group: ndarray, emissions: torch.Tensor, sizes: ndarray) -> torch.Tensor:
            counts = [taught[i] for i in group]
            losses = get_crf(self.model).cross_entropy(emissions, sizes, counts, temperature) * temperature**2
            if not torch.isfinite(losses).all():
                raise ValueError(Errors.E210.format(name=self.name))
            return losses

        return self._add_up(scores, [0 if counts is None else len(counts.tags) for counts in taught], loss_of)

    def _loss(self, examples: Sequence[Example], scores: List[Floats2d]) -> LossT:
        """As `get_loss`, and the gradients of the CRF's own parameters."""
        allowed = [self.allowed(example) for example in examples]

        def loss_of(group: ndarray, emissions: torch.Tensor, sizes: ndarray) -> torch.Tensor:
            gold, _ = pad([allowed[i] for i in group], fill=True)
            losses = get_crf(self.model).nll(emissions, sizes, gold)
            if not torch.isfinite(losses).all():
                batch = emissions.detach().numpy()
                raise ValueError(targets.explain_bad_loss(self.name, losses, [examples[i] for i in group], batch))
            return losses

        return self._add_up(scores, [0 if mask is None else len(mask) for mask in allowed], loss_of)

    def _add_up(self, scores: List[Floats2d], lengths: Sequence[int], loss_of: Callable[..., torch.Tensor]) -> LossT:
        """Sum a loss of sequences over those with a length, per token, times `loss_weight`.

        loss_of (Callable): Takes indices of sequences, their padded emissions and their lengths, and returns their losses.
        RETURNS (LossT): The loss, the gradient of each array of scores, the gradients of the CRF's parameters.
        """
        ops, crf = self.model.ops, get_crf(self.model)
        arrays = [ops.to_numpy(array) for array in scores]
        gradients = [numpy.zeros_like(array) for array in arrays]
        parameters = list(crf.parameters())
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        total, loss = max(sum(lengths), 1) / self.cfg["loss_weight"], 0.0
        for group in buckets(lengths, decoding.MAX_CELLS // len(self.scheme.tags)):
            batch, sizes = pad([arrays[i] for i in group])
            emissions = torch.from_numpy(batch).requires_grad_()
            losses = loss_of(group, emissions, sizes)
            found, *others = torch.autograd.grad(losses.sum() / total, [emissions, *parameters])
            sums = [one + other for one, other in zip(sums, others)]
            loss += float(losses.sum().detach()) / total
            for row, (i, size) in enumerate(zip(group, sizes)):
                gradients[i][:] = found[row, :size].numpy()
        return loss, [ops.asarray(gradient) for gradient in gradients], sums


DEFAULTS: Dict[str, Any] = {
    "scheme": "BILUO",
    "threshold": None,
    "thresholds": {},
    "spans_key": None,
    "candidate_threshold": 0.05,
    "temperature": 1.0,
    "learn_rate_factor": 1.0,
    "loss_weight": 1.0,
}


def scored_group(doc: Doc, name: str, found: Sequence[ScoredT]) -> SpanGroup:
    """Make a span group with probabilities in `.attrs["scores"]`. RETURNS (SpanGroup): In the order given."""
    spans = [Span(doc, start, end, label=label) for start, end, label, _ in found]
    return SpanGroup(doc, name=name, spans=spans, attrs={"scores": [score for *_, score in found]})
