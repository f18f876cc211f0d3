"""The component `ie_ner`: tags tokens with a CRF, writes doc.ents and the probability of each entity."""

import itertools
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy
import torch
from numpy import ndarray
from spacy.errors import Errors as SpacyErrors
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..errors import Errors
from ..layers.padding import buckets, pad
from ..schemes import Scheme
from ..types import ScorerT, TaggerModelT
from . import decoding, targets
from .decoding import DocSpans, Thresholds
from .model import encoder_keys, get_crf, set_tags
from .optimizer import ScaledOptimizer
from .scores import get_score, install_extensions, set_scores

DEFAULT_CONFIG = Config().from_str("""
[ie_ner]
scheme = "BILUO"
threshold = null
thresholds = {}
spans_key = null
candidate_threshold = 0.05
overwrite = true
temperature = 1.0
learn_rate_factor = 1.0

[ie_ner.model]
@architectures = "spacy-llm-ie.CrfTagger.v1"
features = null
hidden_size = null
dropout = null

[ie_ner.model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 96
depth = 4
embed_size = 2000
window_size = 1
maxout_pieces = 3
subword_features = true

[ie_ner.scorer]
@scorers = "spacy-llm-ie.ner_scorer.v1"
""")


@Language.factory(
    "ie_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "span._.score"],
    default_config=DEFAULT_CONFIG["ie_ner"],
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_ece": None, "ents_per_type": None},
)
def make_ner(
    nlp: Language,
    name: str,
    model: TaggerModelT,
    scheme: str,
    threshold: Optional[float],
    thresholds: Dict[str, float],
    spans_key: Optional[str],
    candidate_threshold: float,
    overwrite: bool,
    temperature: float,
    learn_rate_factor: float,
    scorer: Optional[Callable],
) -> "CrfEntityRecognizer":
    """Make the component `ie_ner`.

    model (Model[List[Doc], List[Floats2d]]): A tagger such as `spacy-llm-ie.CrfTagger.v1`.
    scheme (str): "BILUO" or "BIO".
    threshold (Optional[float]): None: `doc.ents` is the most probable set of entities. A number: `doc.ents` is every entity that
        is at least so probable (lower finds more, higher is surer); where two overlap, the more probable one.
    thresholds (Dict[str, float]): The same for single labels; goes before `threshold`.
    spans_key (Optional[str]): Also keep all candidates that are at least `candidate_threshold` probable, overlapping ones too,
        in `doc.spans[spans_key]`, with their probabilities in `.attrs["scores"]`.
    candidate_threshold (float): See `spans_key`.
    overwrite (bool): Replace entities that the document already has. If false they are kept, and the others are found given them.
    temperature (float): Divides all scores before probabilities are computed; `python -m spacy ie calibrate` sets it, so that
        of the entities with probability 0.8 four in five are right. Does not change which entities are the most probable.
    learn_rate_factor (float): The learning rate of the CRF and the layers before it is this many times the optimizer's, which is
        the encoder's. With a pretrained transformer at 5e-5, 20 is a good value; from scratch, 1.
    scorer (Optional[Callable]): The scoring method.
    RETURNS (CrfEntityRecognizer): The component.
    """
    return CrfEntityRecognizer(
        nlp.vocab,
        model,
        name,
        scheme=scheme,
        threshold=threshold,
        thresholds=thresholds,
        spans_key=spans_key,
        candidate_threshold=candidate_threshold,
        overwrite=overwrite,
        temperature=temperature,
        learn_rate_factor=learn_rate_factor,
        scorer=scorer,
    )


class CrfEntityRecognizer(TrainablePipe):
    """Find flat, labelled spans with a linear-chain CRF over token vectors, and say how probable each is.

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], List[Floats2d]]): A tagger with a CRF beside it.
    name (str): The name of the component instance.
    The other arguments are those of the factory.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: TaggerModelT,
        name: str = "ie_ner",
        *,
        scheme: str = "BILUO",
        threshold: Optional[float] = None,
        thresholds: Optional[Dict[str, float]] = None,
        spans_key: Optional[str] = None,
        candidate_threshold: float = 0.05,
        overwrite: bool = True,
        temperature: float = 1.0,
        learn_rate_factor: float = 1.0,
        scorer: Optional[ScorerT] = None,
    ) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: Dict[str, Any] = {
            "labels": [],
            "scheme": scheme,
            "threshold": threshold,
            "thresholds": dict(thresholds or {}),
            "spans_key": spans_key,
            "candidate_threshold": candidate_threshold,
            "overwrite": overwrite,
            "temperature": temperature,
            "learn_rate_factor": learn_rate_factor,
        }
        if scorer is not None and not callable(scorer):
            raise ValueError(Errors.E202.format(name=name, found=repr(scorer)))
        self.scorer = scorer
        decoding.check_thresholds(name, threshold, self.cfg["thresholds"], candidate_threshold)
        for setting in ("temperature", "learn_rate_factor"):
            if self.cfg[setting] <= 0:
                raise ValueError(Errors.E208.format(name=name, setting=setting, found=self.cfg[setting]))
        self.cfg["given"] = {key: value for key, value in self.cfg.items() if key != "labels"}
        self._scheme = Scheme(scheme, [])
        install_extensions()

    @property
    def labels(self) -> Tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The entity labels, sorted."""
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
        validate_get_examples(get_examples, "CrfEntityRecognizer.initialize")
        if labels is None:
            labels = targets.survey(get_examples(), self.name)
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
        self._check_upstream(docs)
        if not any(len(doc) for doc in docs):
            return [numpy.zeros((0, len(self.scheme.tags)), dtype="float32") for _ in docs]
        scores = [self.model.ops.to_numpy(array) for array in self.model.predict(docs)]
        if not all(numpy.isfinite(array).all() for array in scores):
            raise ValueError(Errors.E210.format(name=self.name))
        return [decoding.constrain(array, doc, self.scheme, not self.cfg["overwrite"]) for array, doc in zip(scores, docs)]

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

    def set_annotations(self, docs: Iterable[Doc], predictions: List[DocSpans]) -> None:
        """Write `doc.ents`, their scores, and the candidates if a `spans_key` is set. What stood there before is replaced.

        docs (Iterable[Doc]): Modified in place.
        predictions (List[DocSpans]): As `predict` returned them.
        """
        for doc, found in zip(docs, predictions):
            kept = {} if self.cfg["overwrite"] else {(ent.start, ent.end, ent.label_): ent for ent in doc.ents}
            scored = [(ent, score) for ent in kept.values() if (score := get_score(ent)) is not None]
            new = [(Span(doc, *span[:2], label=span[2]), span[3]) for span in found.ents if span[:3] not in kept]
            doc.set_ents([*kept.values(), *(span for span, _ in new)])
            set_scores(doc, [*scored, *new], self.labels)
            if self.cfg["spans_key"] is not None:
                candidates = [Span(doc, start, end, label=label) for start, end, label, _ in found.candidates]
                group = SpanGroup(doc, name=self.cfg["spans_key"], spans=candidates)
                group.attrs["scores"] = [score for *_, score in found.candidates]
                doc.spans[self.cfg["spans_key"]] = group

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

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Learn from a batch. Documents without entity annotation teach nothing; those marked in part, what is marked.

        examples (Iterable[Example]): The batch.
        drop (float): Dropout rate.
        sgd (Optional[Optimizer]): Updates the parameters if given; otherwise gradients are kept for `finish_update`.
        losses (Optional[Dict[str, float]]): The loss is added to it under the name of the component.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "CrfEntityRecognizer.update")
        if not any(len(example.predicted) for example in examples):
            return losses
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update([example.predicted for example in examples])
        loss, gradients, parameters = self._loss(examples, scores)
        for parameter, gradient in zip(get_crf(self.model).parameters(), parameters):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        backprop(gradients)
        if sgd not in (None, False):
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(self, examples: Iterable[Example], scores: List[Floats2d]) -> Tuple[float, List[Floats2d]]:
        """The negative log-likelihood of the gold annotation, per annotated token, and its gradient.

        examples (Iterable[Example]): Those without entity annotation have no share in it; where the annotation of a token is
            missing, all tags are summed over.
        scores (List[Floats2d]): Emissions, one array of shape (tokens, tags) an example.
        RETURNS (Tuple[float, List[Floats2d]]): The loss, and a gradient for each array of scores.
        """
        return self._loss(list(examples), scores)[:2]

    def _loss(self, examples: Sequence[Example], scores: List[Floats2d]) -> Tuple[float, List[Floats2d], List[torch.Tensor]]:
        """As `get_loss`, and the gradients of the CRF's own parameters."""
        ops, crf = self.model.ops, get_crf(self.model)
        arrays = [ops.to_numpy(array) for array in scores]
        allowed = [targets.allowed_tags(example, self.scheme) for example in examples]
        lengths = [0 if mask is None else len(array) for array, mask in zip(arrays, allowed)]
        gradients = [numpy.zeros_like(array) for array in arrays]
        parameters = list(crf.parameters())
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        total, loss = max(sum(lengths), 1), 0.0
        for group in buckets(lengths, decoding.MAX_CELLS // len(self.scheme.tags)):
            batch, sizes = pad([arrays[i] for i in group])
            gold, _ = pad([allowed[i] for i in group], fill=True)
            emissions = torch.from_numpy(batch).requires_grad_()
            losses = crf.nll(emissions, sizes, gold)
            if not torch.isfinite(losses).all():
                raise ValueError(targets.explain_bad_loss(self.name, losses, [examples[i] for i in group], batch))
            found, *others = torch.autograd.grad(losses.sum() / total, [emissions, *parameters])
            sums = [one + other for one, other in zip(sums, others)]
            loss += float(losses.sum().detach()) / total
            for row, (i, size) in enumerate(zip(group, sizes)):
                gradients[i][:] = found[row, :size].numpy()
        return loss, [ops.asarray(gradient) for gradient in gradients], sums

    def finish_update(self, sgd: Optimizer) -> None:
        """Update the parameters; those of the head with `learn_rate_factor` times the learning rate.

        sgd (Optimizer): The optimizer.
        """
        factor = self.cfg["learn_rate_factor"]
        optimizer = sgd if factor == 1 else ScaledOptimizer(sgd, factor, encoder_keys(self.model))
        self.model.finish_update(optimizer)

    def _check_upstream(self, docs: Sequence[Doc]) -> None:
        """A transformer listener answers with zeros if the transformer did not run; that must not pass for an answer."""
        listens = any(node.name.endswith("listener") and node.name != "tok2vec-listener" for node in self.model.walk())
        if listens and any(len(doc) and doc._.trf_data is None for doc in docs):
            raise ValueError(Errors.E206.format(name=self.name))

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> "CrfEntityRecognizer":
        """Load the component. Settings that were given otherwise for this load than for the saved one are kept.

        path (Union[str, Path]): Its folder.
        exclude (Iterable[str]): Names of parts to leave out.
        RETURNS (CrfEntityRecognizer): The component itself.
        """
        given = self.cfg["given"]
        super().from_disk(path, exclude=exclude)
        return self._settle(given)

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "CrfEntityRecognizer":
        """As `from_disk`, from what `to_bytes` returned."""
        given = self.cfg["given"]
        super().from_bytes(bytes_data, exclude=exclude)
        return self._settle(given)

    def _settle(self, given: Dict[str, Any]) -> "CrfEntityRecognizer":
        """What was saved goes before the config, as in spaCy; but an override, as in spacy.load(..., config=...), before both."""
        saved = self.cfg.get("given", {})
        self.cfg.update({key: value for key, value in given.items() if value != saved.get(key, value)})
        self.cfg["given"] = given
        return self
