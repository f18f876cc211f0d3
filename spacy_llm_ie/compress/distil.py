"""Distillation: a student pipeline learns from teachers and from gold annotation, on labelled and unlabelled text.

The student is trained by spaCy's own loop, with its batcher, schedules, patience and logger. The teachers are asked once, before
the training, and what they say of a text goes with its example into each update.
"""

import shutil
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import srsly
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.loop import create_evaluation_callback, create_train_batches, train_while_improving, update_meta
from spacy.util import fix_random_seed, load_model_from_config, registry
from thinc.api import Config

from ..data.corpus import READERS, create_corpus_v1
from ..data.files import find_files
from ..data.jsonl import read_jsonl, record_to_doc
from ..data.problems import Problems
from ..data.split import split_doc
from ..errors import Errors
from ..settings import Lesson
from .facts import LabelMapT
from .hidden import HiddenStates, add_hidden_states, remove_hidden_states
from .start import copy_heads, take_layers
from .teachers import Found, Teaching, ask_teachers, learn_from_documents, plan_teaching, write_answers


class Settings(NamedTuple):
    """How a student is taught: [distillation] of its config, or the options of `ie distil`.

    temperature (float): Softens what the teachers say; see `Lesson`.
    gold_weight (float): The weight of the gold annotation in the loss of a component that a teacher teaches, 0 to 1.
    student_to_teacher (Mapping[str, str]): Names of the teacher's components, by the student's.
    label_map (LabelMapT): New names of the entity labels of a teacher with hard labels; "" drops a label.
    layers (Sequence[int]): Layers of the teacher's transformer that the student's is made of; see `choose_layers`. None: its own.
    heads (bool): Start the components from the teacher's, where shapes agree.
    hidden_weight (float): The weight of the distance between the token vectors of student and teacher; see `HiddenStates`. 0: they
        are not compared.
    """

    temperature: float = 1.0
    gold_weight: float = 0.5
    student_to_teacher: Mapping[str, str] = {}
    label_map: LabelMapT = {}
    layers: Sequence[int] = ()
    heads: bool = False
    hidden_weight: float = 0.0


DEFAULTS = Settings()


class Distilled(NamedTuple):
    """A student, and how it came about.

    nlp (Language): The student as the last step left it.
    plans (List[Teaching]): Who taught what.
    found (Dict[str, Found]): What teachers with hard labels wrote, by kind of annotation.
    heads (Dict[str, Tuple[int, int]]): Parameters copied, of how many, by component.
    counts (Dict[str, int]): Gold documents and texts learned from.
    """

    nlp: Language
    plans: List[Teaching]
    found: Dict[str, Found]
    heads: Dict[str, Tuple[int, int]]
    counts: Dict[str, int]


class TaughtPipeline:
    """Stands for a pipeline in spaCy's training loop, and hands each component what its teacher says of the batch.

    nlp (Language): The student.
    lessons (Mapping[int, Dict[str, Any]]): What the teachers say, by the identity of the example, by component.
    settings (Settings): Temperature and weight of the gold annotation.
    hidden (Optional[HiddenStates]): Is updated after the components, and is no part of the pipeline.
    """

    def __init__(
        self,
        nlp: Language,
        lessons: Mapping[int, Dict[str, Any]],
        settings: Settings,
        hidden: Optional[HiddenStates] = None,
    ) -> None:
        self.nlp = nlp
        self.lessons = lessons
        self.settings = settings
        self.hidden = hidden

    @property
    def pipeline(self) -> List[Tuple[str, Any]]:
        """What the loop updates. RETURNS (List[Tuple[str, Any]]): The components, and the learner of hidden states."""
        return [*self.nlp.pipeline, *([] if self.hidden is None else [(self.hidden.name, self.hidden)])]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.nlp, name)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        losses: Optional[Dict[str, float]] = None,
        sgd: Any = False,
        exclude: Sequence[str] = (),
        annotates: Sequence[str] = (),
    ) -> Dict[str, float]:
        """Pass the gradients of a batch back through all components, as `Language.update` does without an optimizer.

        examples (Iterable[Example]): Those that the lessons are for; not changed.
        drop, losses, exclude, annotates: As in `Language.update`.
        sgd (Any): The loop updates the parameters itself; anything but False is ignored.
        RETURNS (Dict[str, float]): The losses.
        """
        examples, losses = list(examples), {} if losses is None else losses
        said = [self.lessons.get(id(example), {}) for example in examples]
        copies = [Example(example.predicted.copy(), example.reference) for example in examples]
        for name, pipe in self.pipeline:
            if name not in exclude and hasattr(pipe, "update"):
                scores = [scores.get(name) for scores in said]
                taught = any(score is not None for score in scores)
                lesson = Lesson(scores, self.settings.temperature, self.settings.gold_weight)
                pipe.update(copies, drop=drop, sgd=None, losses=losses, **({"lesson": lesson} if taught else {}))
            if name in annotates:
                docs = [example.predicted for example in copies]
                annotated = pipe.pipe(docs) if hasattr(pipe, "pipe") else map(pipe, docs)
                for copied, doc in zip(copies, annotated):
                    copied.predicted = doc
        return losses


def distil(
    teachers: Sequence[Language],
    config: Config,
    output: Path,
    *,
    texts: Optional[Path] = None,
    assigned: Optional[Mapping[str, int]] = None,
    settings: Settings = DEFAULTS,
    say: Callable[[str], None] = lambda text: None,
) -> Distilled:
    """Train a student from teachers, and save it in OUTPUT/model-best and OUTPUT/model-last.

    teachers (Sequence[Language]): Trained pipelines; the first one teaches what no other one does.
    config (Config): The student's training config. Its training corpus has the gold annotation; without a path there is none.
    output (Path): A folder; made if it is missing.
    texts (Optional[Path]): More text, .jsonl or .spacy; annotation in it is not read.
    assigned (Optional[Mapping[str, int]]): Which teacher teaches single components.
    settings (Settings): How.
    say (Callable[[str], None]): Is told of each stage.
    RETURNS (Distilled): ValueError (E545 to E554) if something does not fit.
    """
    _check(settings)
    training = config.interpolate()["training"]
    if training.get("seed") is not None:
        fix_random_seed(training["seed"])
    output.mkdir(parents=True, exist_ok=True)
    nlp = load_model_from_config(config, auto_fill=True)
    plans = plan_teaching(nlp, teachers, assigned, settings.student_to_teacher)
    gold, raw = read_gold(nlp), read_texts(nlp, texts)
    examples = [*gold, *raw]
    if not examples:
        raise ValueError(Errors.E549)
    say(f"{len(gold)} documents with gold annotation, {len(raw)} texts")
    found = learn_from_documents(examples, teachers, plans, settings.label_map)
    optimizer = _initialize(nlp, teachers, plans, examples, settings, output)
    heads = copy_heads(teachers, nlp, plans) if settings.heads else {}
    hidden = _listen(nlp, teachers, plans, settings.hidden_weight)
    say("The teachers read")
    said = ask_teachers(nlp, examples, teachers, plans, settings.temperature, hidden)
    lessons = {id(example): scores for example, scores in zip(examples, said)}
    say("The student learns")
    _train(TaughtPipeline(nlp, lessons, settings, hidden), examples, optimizer, output)
    if hidden is not None:
        remove_hidden_states(nlp, hidden)
    return Distilled(nlp, plans, found, heads, {"gold": len(gold), "texts": len(raw)})


def _check(settings: Settings) -> None:
    if settings.temperature <= 0:
        raise ValueError(Errors.E550.format(name="temperature", expected="a number above 0", found=settings.temperature))
    if settings.hidden_weight < 0:
        raise ValueError(Errors.E550.format(name="hidden_weight", expected="0 or more", found=settings.hidden_weight))
    if not 0 <= settings.gold_weight <= 1:
        raise ValueError(Errors.E550.format(name="gold_weight", expected="a number from 0 to 1", found=settings.gold_weight))


def _listen(nlp: Language, teachers: Sequence[Language], plans: Sequence[Teaching], weight: float) -> Optional[HiddenStates]:
    if not weight:
        return None
    soft = [plan for plan in plans if plan.pipe is not None]
    if not soft:
        raise ValueError(Errors.E553)
    return add_hidden_states(nlp, soft[0].name, teachers[soft[0].teacher], soft[0].pipe, weight)


def read_gold(nlp: Language) -> List[Example]:
    """The training corpus of a config. RETURNS (List[Example]): Empty if its path is null."""
    name = nlp.config["training"]["train_corpus"]
    section = _find(nlp.config.interpolate(), name)
    return [] if section.get("path", "") in (None, "") else list(_corpus(nlp, name)(nlp))


def _corpus(nlp: Language, name: str) -> Callable[[Language], Iterable[Example]]:
    """The reader of one corpus of a config; the others may have no path."""
    return registry.resolve({"corpus": _find(nlp.config.interpolate(), name)})["corpus"]


def _find(config: Dict[str, Any], name: str) -> Any:
    for part in name.split("."):
        config = config[part]
    return config


def read_texts(nlp: Language, path: Optional[Path]) -> List[Example]:
    """Texts without their annotation, split as the training corpus of the config is (`max_length`).

    path (Optional[Path]): .jsonl, .spacy, or a folder of these. None: no texts.
    RETURNS (List[Example]): Nothing is known of the references.
    """
    docs: List[Doc] = []
    problems = Problems()
    for file in find_files(path, tuple(READERS)) if path is not None else ():
        if file.suffix == ".jsonl":
            for number, record in read_jsonl(file):
                text = {key: value for key, value in record.items() if key == "text"}
                docs.append(record_to_doc(text, nlp, where=f"{file.name}:{number}", problems=problems))
        else:
            docs.extend(example.predicted for example in create_corpus_v1(file)(nlp))
    config = nlp.config.interpolate()
    longest = _find(config, config["training"]["train_corpus"]).get("max_length", 0)
    pieces = [piece for doc in docs for piece in split_doc(doc, longest or len(doc), where=str(path), problems=problems)]
    return [Example(doc, doc.copy()) for doc in pieces if len(doc)]


def _initialize(
    nlp: Language,
    teachers: Sequence[Language],
    plans: Sequence[Teaching],
    examples: Sequence[Example],
    settings: Settings,
    output: Path,
) -> Any:
    """Initialise the student with its teachers' labels, which are written as `spacy init labels` does. RETURNS: The optimizer."""
    if settings.layers:
        take_layers(teachers[0], nlp, settings.layers)
    given = nlp.config["initialize"]["components"]
    for plan in plans:
        if plan.pipe is not None and "labels" not in given.get(plan.name, {}):
            path = output / "labels" / f"{plan.name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            srsly.write_json(path, teachers[plan.teacher].get_pipe(plan.pipe).label_data)
            reader = {"@readers": "spacy.read_labels.v1", "path": str(path)}
            given.setdefault(plan.name, {})["labels"] = reader
    resolved = registry.resolve(nlp.config.interpolate()["training"], schema=ConfigSchemaTraining)
    with nlp.select_pipes(disable=resolved["frozen_components"]):
        nlp.initialize(lambda: examples, sgd=resolved["optimizer"])
    return resolved["optimizer"]


def _train(student: TaughtPipeline, examples: List[Example], optimizer: Any, output: Path) -> None:
    """Run spaCy's training loop; keep the best and the last state in the output folder."""
    nlp = student.nlp
    config = nlp.config.interpolate()
    T = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    dev = _corpus(nlp, T["dev_corpus"])
    steps = train_while_improving(
        student,
        optimizer,
        create_train_batches(nlp, lambda _: examples, T["batcher"], T["max_epochs"]),
        create_evaluation_callback(nlp, dev, T["score_weights"]),
        dropout=T["dropout"],
        accumulate_gradient=T["accumulate_gradient"],
        patience=T["patience"],
        max_steps=T["max_steps"],
        eval_frequency=T["eval_frequency"],
        exclude=T["frozen_components"],
        annotating_components=T["annotating_components"],
        before_update=T["before_update"],
    )
    log, finish = T["logger"](nlp, sys.stdout, sys.stderr)
    try:
        for _, info, best in steps:
            if best is not None:
                update_meta(T, nlp, info)
                _save(nlp, optimizer, output, best)
            log(info if best is not None else None)
    finally:
        finish()
    _save(nlp, optimizer, output, False)


def _save(nlp: Language, optimizer: Any, output: Path, best: bool) -> None:
    with nlp.use_params(optimizer.averages):
        nlp.to_disk(output / "model-last")
    if best:
        shutil.rmtree(output / "model-best", ignore_errors=True)
        shutil.copytree(output / "model-last", output / "model-best")


def score_on_dev(
    nlp: Language, teachers: Sequence[Language] = (), plans: Sequence[Teaching] = (), labels: Optional[LabelMapT] = None
) -> Dict[str, Any]:
    """Score a student on the development corpus of its config, or what its teachers find of what they teach it.

    nlp (Language): The student.
    teachers, plans, labels: Given for the score of the teachers, with the student's own scorers.
    RETURNS (Dict[str, Any]): As `nlp.evaluate` does.
    """
    examples = list(_corpus(nlp, nlp.config["training"]["dev_corpus"])(nlp))
    if not teachers:
        return nlp.evaluate(examples)
    write_answers(examples, teachers, plans, labels)
    scores: Dict[str, Any] = {}
    for plan in plans:
        scores.update(nlp.get_pipe(plan.name).score(examples))
    return scores
