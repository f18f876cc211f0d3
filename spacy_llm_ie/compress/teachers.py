"""Who teaches which component of a student, and what the teachers say of texts."""

from collections import Counter
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from tqdm import tqdm

from ..annotations import get_events, get_relations, is_annotated
from ..errors import Errors
from ..events.arguments import ArgumentExtractor
from ..events.triggers import ArgumentSpanTagger, TriggerTagger
from ..ner.pipe import CrfEntityRecognizer
from ..pairs.pipe import PairPipe
from ..relations.pipe import RelationExtractor
from ..settings import ConfiguredPipe
from .facts import LabelMapT, copy_facts, copy_group, give_known, same_words
from .hidden import HiddenStates

BATCH_SIZE = 64
# The kind of annotation that each component learns from.
LAYERS = (
    (CrfEntityRecognizer, "entities"),
    (RelationExtractor, "relations"),
    ((TriggerTagger, ArgumentSpanTagger, ArgumentExtractor), "events"),
)


class Teaching(NamedTuple):
    """How one component of the student is taught.

    name (str): The component.
    layer (str): The kind of annotation that it learns: "entities", "relations" or "events".
    teacher (int): Which of the teachers.
    pipe (Optional[str]): The teacher's component, whose probabilities are learned. None: what the teacher writes on the documents
        is learned as if it were gold (hard labels).
    """

    name: str
    layer: str
    teacher: int
    pipe: Optional[str]


class Found(NamedTuple):
    """What teachers with hard labels have written: facts by label, those that the label map drops, texts read."""

    copied: Counter
    dropped: Counter
    texts: int


def plan_teaching(
    student: Language,
    teachers: Sequence[Language],
    assigned: Optional[Mapping[str, int]] = None,
    student_to_teacher: Optional[Mapping[str, str]] = None,
) -> List[Teaching]:
    """Decide how each component of ours in the student is taught.

    student (Language): Need not be initialised.
    teachers (Sequence[Language]): The first one teaches every component that has no other one.
    assigned (Optional[Mapping[str, int]]): The teacher of single components.
    student_to_teacher (Optional[Mapping[str, str]]): Name of the teacher's component for components of the student. Otherwise it is
        the one of the same name, or else the first one of the same factory; where the teacher has neither, hard labels teach. "":
        no teacher, the component learns from gold annotation alone.
    RETURNS (List[Teaching]): Of those that have a teacher, in the order of the pipeline. ValueError (E545) for unknown names.
    """
    assigned, names = dict(assigned or {}), dict(student_to_teacher or {})
    ours = {name: pipe for name, pipe in student.pipeline if isinstance(pipe, ConfiguredPipe) and layer_of(pipe)}
    for name in [*assigned, *names]:
        if name not in ours:
            raise ValueError(Errors.E545.format(name=name, whose="the student", known=list(ours)))
    plans = []
    for name, pipe in ours.items():
        if names.get(name) == "":
            continue
        teacher = teachers[assigned.get(name, 0)]
        if name in names and names[name] not in teacher.pipe_names:
            raise ValueError(Errors.E545.format(name=names[name], whose=f"the teacher of '{name}'", known=teacher.pipe_names))
        order = [names[name]] if name in names else [name, *teacher.pipe_names]
        same = [other for other in order if other in teacher.pipe_names and type(teacher.get_pipe(other)) is type(pipe)]
        plans.append(Teaching(name, layer_of(pipe), assigned.get(name, 0), same[0] if same else None))
    return plans


def layer_of(pipe: Any) -> str:
    """The kind of annotation that a component learns from. RETURNS (str): "" if it is none of ours."""
    return next((layer for kind, layer in LAYERS if isinstance(pipe, kind)), "")


def learn_from_documents(
    examples: Sequence[Example], teachers: Sequence[Language], plans: Sequence[Teaching], labels: Optional[LabelMapT] = None
) -> Dict[str, Found]:
    """Write what teachers with hard labels find onto the references, where these are not annotated.

    examples (Sequence[Example]): Their references are modified; predicted and reference have the same tokens where a reference is
        written on.
    teachers, plans: As for `plan_teaching`, and what it returned.
    labels (Optional[LabelMapT]): New names of the teachers' entity labels; see `copy_facts`.
    RETURNS (Dict[str, Found]): What was found, by kind of annotation. Raises ValueError (E554) if there is nothing to learn for a
        component, neither from its teacher nor gold.
    """
    by_layer = {plan.layer: plan.teacher for plan in plans if plan.pipe is None}
    found = {layer: Found(Counter(), Counter(), 0) for layer in by_layer}
    for teacher, nlp in enumerate(teachers):
        layers = [layer for layer, number in by_layer.items() if number == teacher]
        open_to = [(eg, [layer for layer in layers if not is_annotated(eg.reference, layer)]) for eg in examples]
        open_to = [(example, missing) for example, missing in open_to if missing]
        docs = (same_words(example.reference, nlp.vocab) for example, _ in open_to)
        for (example, missing), doc in zip(open_to, _run(nlp, docs, len(open_to))):
            for layer in (layer for layer in missing if is_annotated(doc, layer)):
                copied, dropped = copy_facts(doc, example.reference, layer, labels)
                found[layer].copied.update(copied)
                found[layer].dropped.update(dropped)
                found[layer] = found[layer]._replace(texts=found[layer].texts + 1)
        for layer in layers:
            _check_facts(layer, examples, plans, nlp)
    return found


def _check_facts(layer: str, examples: Sequence[Example], plans: Sequence[Teaching], teacher: Language) -> None:
    """Refuse to go on if no document has a fact of a kind that hard labels should teach."""
    find = {"entities": lambda doc: doc.ents, "relations": get_relations, "events": get_events}[layer]
    if not any(find(example.reference) for example in examples):
        names = ", ".join(plan.name for plan in plans if plan.layer == layer and plan.pipe is None)
        raise ValueError(Errors.E554.format(names=names, layer=layer, count=len(examples), found=teacher.pipe_names))


def ask_teachers(
    student: Language,
    examples: Sequence[Example],
    teachers: Sequence[Language],
    plans: Sequence[Teaching],
    temperature: float = 1.0,
    hidden: Optional[HiddenStates] = None,
) -> List[Dict[str, Any]]:
    """Let the teachers read each text once, and keep what they say of it for the whole training.

    The facts that pairs are made of are those that the student will have: gold entities and triggers where the reference has all of
    them, otherwise those of the teacher of the student's entities and triggers, otherwise those that the pair's own teacher finds.

    student (Language): Initialised.
    examples (Sequence[Example]): Predicted documents with the student's tokens, and the gold annotation, if there is any.
    temperature (float): Divides the teachers' scores.
    hidden (Optional[HiddenStates]): Learns the token vectors of the component that teaches the first component.
    RETURNS (List[Dict[str, Any]]): One an example, in order: what `get_teacher_scores` gives, by component.
    """
    soft = [plan for plan in plans if plan.pipe is not None]
    pupils: Dict[str, ConfiguredPipe] = {plan.name: student.get_pipe(plan.name) for plan in soft}
    if hidden is not None:
        soft.append(soft[0]._replace(name=hidden.name))
        pupils[hidden.name] = hidden
    busy = sorted({plan.teacher for plan in soft})
    results: List[Dict[str, Any]] = []
    progress = tqdm(total=len(examples), desc="teachers", disable=None, leave=False)
    for batch in minibatch(examples if soft else (), BATCH_SIZE):
        docs = {k: list(teachers[k].pipe(same_words(eg.predicted, teachers[k].vocab) for eg in batch)) for k in busy}
        said = _ask(pupils, batch, docs, teachers, soft, temperature)
        results.extend({name: scores[i] for name, scores in said.items()} for i in range(len(batch)))
        progress.update(len(batch))
    progress.close()
    return results or [{} for _ in examples]


def _ask(
    pupils: Dict[str, ConfiguredPipe],
    batch: List[Example],
    docs: Dict[int, List[Doc]],
    teachers: Sequence[Language],
    soft: Sequence[Teaching],
    temperature: float,
) -> Dict[str, List[Any]]:
    """Taggers first: they see the documents as their own pipeline left them. RETURNS: Scores by component."""
    said: Dict[str, List[Any]] = {}
    for pairs in (False, True):
        if pairs:
            _settle(pupils, batch, docs, soft)
        for plan in soft:
            pipe = pupils[plan.name]
            if isinstance(pipe, PairPipe) is pairs:
                read = [Example(example.predicted, doc) for example, doc in zip(batch, docs[plan.teacher])]
                teacher = teachers[plan.teacher].get_pipe(plan.pipe)
                said[plan.name] = pipe.get_teacher_scores(teacher, read, temperature)
    return said


def _settle(
    pupils: Dict[str, ConfiguredPipe], batch: List[Example], docs: Dict[int, List[Doc]], soft: Sequence[Teaching]
) -> None:
    """Give all teachers' documents the entities, triggers and argument spans that pairs are to be made of."""
    owners = {type(pupils[plan.name]): plan.teacher for plan in soft}
    owned = ((CrfEntityRecognizer, "entities"), (TriggerTagger, "events"))
    for i, example in enumerate(batch):
        for teacher, found in docs.items():
            for kind, layer in owned:
                if owners.get(kind, teacher) != teacher:
                    copy_facts(docs[owners[kind]][i], found[i], layer)
            if owners.get(ArgumentSpanTagger, teacher) != teacher:
                copy_group(docs[owners[ArgumentSpanTagger]][i], found[i], ArgumentSpanTagger.group)
            give_known(example.reference, found[i])


def write_answers(
    examples: Sequence[Example], teachers: Sequence[Language], plans: Sequence[Teaching], labels: Optional[LabelMapT] = None
) -> None:
    """Write on the predicted documents what the teachers find, each what it teaches: to score them as if they were one pipeline."""
    for teacher, nlp in enumerate(teachers):
        layers = {plan.layer: plan for plan in plans if plan.teacher == teacher}
        docs = (same_words(example.predicted, nlp.vocab) for example in examples) if layers else ()
        for example, doc in zip(examples, _run(nlp, docs, len(examples))):
            for layer in layers:
                copy_facts(doc, example.predicted, layer, labels)
            if "events" in layers:
                copy_group(doc, example.predicted, ArgumentSpanTagger.group)


def _run(nlp: Language, docs: Iterable[Doc], total: int) -> Iterator[Doc]:
    return iter(tqdm(nlp.pipe(docs, batch_size=BATCH_SIZE), total=total, desc="teacher", disable=None, leave=False))
