"""What all our trainable components share: settings that are saved, and that `spacy.load(..., config=...)` may override."""

import contextlib
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, TypeVar, Union

from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from thinc.api import Optimizer, set_dropout_rate

from .errors import Errors
from .optimizer import ScaledOptimizer
from .shim import ModuleShim, parameter_keys
from .types import ScorerT

PipeT = TypeVar("PipeT", bound="ConfiguredPipe")
# The largest number of float16.
MOST_FLOAT16 = 65504


class Lesson(NamedTuple):
    """What a teacher says of a batch.

    scores (List[Any]): As `get_teacher_scores` returned them; None for a document of which the teacher says nothing.
    temperature (float): That of the scores; the loss is multiplied by its square, so that gradients keep their size (Hinton,
        Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2).
    gold_weight (float): The weight of the loss of the gold annotation; the teacher has the rest to 1.
    """

    scores: List[Any]
    temperature: float = 1.0
    gold_weight: float = 0.0

    @property
    def teacher_weight(self) -> float:
        """The weight of what the teacher says."""
        return 1.0 - self.gold_weight


class ConfiguredPipe(TrainablePipe):
    """A trainable component whose `cfg` holds its settings and labels as plain data.

    The model must have a reference `tok2vec`: the layers below it keep the optimizer's learning rate, and all others learn with
    `cfg["learn_rate_factor"]` times it.
    """

    cfg: Dict[str, Any]

    def configure(self, scorer: Optional[ScorerT], settings: Dict[str, Any], **learned: Any) -> None:
        """Store the settings.

        scorer (Optional[Callable]): ValueError (E202) if it cannot be called.
        settings (Dict[str, Any]): What the config gives. ValueError (E208) if a factor in it is not above 0.
        learned (Any): What initialisation or training finds out, with its value before.
        """
        if scorer is not None and not callable(scorer):
            raise ValueError(Errors.E202.format(name=self.name, found=repr(scorer)))
        self.scorer = scorer
        for setting in ("temperature", "learn_rate_factor", "loss_weight"):
            if setting in settings and settings[setting] <= 0:
                raise ValueError(Errors.E208.format(name=self.name, setting=setting, found=settings[setting]))
        self.cfg = {**learned, **settings, "given": dict(settings)}

    def learn(self, examples: List[Example], lesson: Optional[Lesson] = None) -> float:
        """Pass the gradients of a batch back, some of whose documents have tokens. RETURNS (float): The loss."""
        raise NotImplementedError

    def get_teacher_scores(self, teacher_pipe: Any, examples: Iterable[Example], temperature: float = 1.0) -> List[Any]:
        """Ask a teacher, in the labels of this component.

        teacher_pipe (ConfiguredPipe): A trained component of the same kind; ValueError (E540 to E543) if it cannot teach this one.
        examples (Iterable[Example]): The references are documents that the teacher's pipeline has processed; not changed.
        temperature (float): Divides the teacher's scores, after its own calibration.
        RETURNS (List[Any]): One a document, in order.
        """
        raise NotImplementedError

    def get_teacher_student_loss(
        self, teacher_scores: List[Any], student_scores: Any, temperature: float = 1.0
    ) -> Tuple[float, Any]:
        """The distance of the student's probabilities from the teacher's, and its gradient, as in spaCy 4.

        teacher_scores (List[Any]): As `get_teacher_scores` returned them.
        student_scores (Any): What the model of this component returned.
        temperature (float): That of the teacher's scores.
        RETURNS (Tuple[float, Any]): The loss, 0 where the student says what the teacher says; the gradient of the scores.
        """
        raise NotImplementedError

    def distill(
        self,
        teacher_pipe: TrainablePipe,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
        temperature: float = 1.0,
    ) -> Dict[str, float]:
        """Learn from a teacher: spaCy 4's method. `python -m spacy ie distil` trains whole pipelines.

        teacher_pipe (TrainablePipe): The teacher's component.
        examples (Iterable[Example]): The references are the teacher's documents, and the predicted documents the student's; with
            the same tokens, ValueError (E544) otherwise.
        drop, sgd, losses: As in `update`.
        temperature (float): Above 1, what the teacher holds for less likely counts more.
        RETURNS (Dict[str, float]): The losses.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.distill")
        for example in examples:
            words = [[token.text for token in doc] for doc in (example.reference, example.predicted)]
            if words[0] != words[1]:
                raise ValueError(Errors.E544.format(name=self.name, teacher=words[0][:20], student=words[1][:20]))
        scores = self.get_teacher_scores(teacher_pipe, examples, temperature)
        return self.update(examples, drop=drop, sgd=sgd, losses=losses, lesson=Lesson(scores, temperature))

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
        lesson: Optional[Lesson] = None,
    ) -> Dict[str, float]:
        """Learn from a batch. Documents without the annotation that is learned teach nothing; those marked in part, what is marked.

        examples (Iterable[Example]): The batch.
        drop (float): Dropout rate.
        sgd (Optional[Optimizer]): Updates the parameters if given; otherwise gradients are kept for `finish_update`.
        losses (Optional[Dict[str, float]]): The loss is added to it under the name of the component.
        lesson (Optional[Lesson]): What a teacher says of the batch, to learn from instead, or beside the gold annotation.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        if not any(len(example.predicted) for example in examples):
            return losses
        set_dropout_rate(self.model, drop)
        self.cfg.pop("half", None)
        losses[self.name] += self.learn(examples, lesson)
        if sgd not in (None, False):
            self.finish_update(sgd)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Update the parameters; those of the head with `learn_rate_factor` times the learning rate.

        sgd (Optimizer): The optimizer.
        """
        factor = self.cfg["learn_rate_factor"]
        encoder = self.model.get_ref("tok2vec")
        self.model.finish_update(sgd if factor == 1 else ScaledOptimizer(sgd, factor, parameter_keys(encoder)))

    def check_upstream(self, docs: Iterable[Any]) -> None:
        """A transformer listener answers with zeros if the transformer did not run; that must not pass for an answer."""
        if not Doc.has_extension("trf_data"):  # nothing has imported transformers
            return
        if any(len(doc) and doc._.trf_data is None for doc in docs):
            below = self.model.get_ref("tok2vec").walk()
            if any(node.name.endswith("listener") and node.name != "tok2vec-listener" for node in below):
                raise ValueError(Errors.E206.format(name=self.name))

    def halve(self, int8: bool = False) -> None:
        """Save weights in half the space from now on: those of thinc as float16, those of torch as bfloat16, in which they are also
        used (see `ModuleShim.halve`). Training goes on in float32, and is saved so.

        int8 (bool): Save matrices of torch in a quarter of the space, as int8.
        """
        self.cfg["half"] = True
        for node in self.model.walk():
            for shim in node.shims:
                if isinstance(shim, ModuleShim) and shim.can_be_half:
                    shim.halve(int8)

    @contextlib.contextmanager
    def _halved(self) -> Iterator[None]:
        """thinc's parameters are float16 while the context lasts, if they are saved so and it has such numbers."""
        places = [(node, name) for node in self.model.walk() for name in node.param_names if node.has_param(name)]
        found = [(node, name, node.get_param(name)) for node, name in places if self.cfg.get("half")]
        backup = [(node, name, value) for node, name, value in found if abs(value).max(initial=0) <= MOST_FLOAT16]
        for node, name, value in backup:
            node.set_param(name, value.astype("float16"))
        try:
            yield
        finally:
            for node, name, value in backup:
                node.set_param(name, value)

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> None:
        """Save the component in a folder.

        path (Union[str, Path]): Its folder.
        exclude (Iterable[str]): Names of parts to leave out.
        """
        with self._halved():
            super().to_disk(path, exclude=exclude)

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """As `to_disk`. RETURNS (bytes): What `from_bytes` reads."""
        with self._halved():
            return super().to_bytes(exclude=exclude)

    def from_disk(self: PipeT, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> PipeT:
        """Load the component. Settings that were given otherwise for this load than for the saved one are kept.

        path (Union[str, Path]): Its folder.
        exclude (Iterable[str]): Names of parts to leave out.
        RETURNS (ConfiguredPipe): The component itself.
        """
        given = self.cfg["given"]
        super().from_disk(path, exclude=exclude)
        return self._settle(given)

    def from_bytes(self: PipeT, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> PipeT:
        """As `from_disk`, from what `to_bytes` returned."""
        given = self.cfg["given"]
        super().from_bytes(bytes_data, exclude=exclude)
        return self._settle(given)

    def _settle(self: PipeT, given: Dict[str, Any]) -> PipeT:
        """What was saved goes before the config, as in spaCy; but an override, as in spacy.load(..., config=...), before both.

        A setting that the saved component did not know (an older version wrote it) has its value of the config.
        """
        for node in self.model.walk():
            for name in node.param_names:
                if node.has_param(name) and node.get_param(name).dtype == "float16":
                    node.set_param(name, node.get_param(name).astype("float32"))
        saved = self.cfg.get("given", {})
        self.cfg.update({k: v for k, v in given.items() if v != saved.get(k, v) or k not in self.cfg})
        self.cfg["given"] = given
        return self
