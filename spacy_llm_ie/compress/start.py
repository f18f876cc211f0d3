"""A student that starts from its teacher: some of the transformer's layers, and the heads where shapes agree."""

import copy
from typing import Any, Dict, List, Sequence, Tuple

import numpy
from spacy.language import Language
from spacy_transformers.data_classes import HFObjects
from spacy_transformers.pipeline_component import Transformer
from thinc.api import Model

from ..errors import Errors
from ..shim import ModuleShim
from .parts import find_stack, keep_layers
from .teachers import Teaching


def choose_layers(wanted: Sequence[int], available: int) -> List[int]:
    """Which layers of a transformer are kept.

    wanted (Sequence[int]): Numbers of layers, from 0; or one number: how many, evenly spaced from the first to the last, as in
        DistilBERT (Sanh et al., 2019, section 3).
    available (int): How many the teacher has.
    RETURNS (List[int]): Rising. Raises ValueError (E546) if there are none such.
    """
    layers = list(wanted)
    if len(layers) == 1 and 1 <= layers[0] <= available:
        layers = numpy.linspace(0, available - 1, layers[0]).round().astype(int).tolist()
    if not layers or layers != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= available:
        raise ValueError(Errors.E546.format(found=list(wanted), available=available))
    return layers


def take_layers(teacher: Language, student: Language, layers: Sequence[int]) -> List[int]:
    """Give the student a transformer that is the teacher's with some of its layers: embeddings, layers, tokenizer.

    teacher (Language): Not changed; its transformer has its layers in one list, as BERT, RoBERTa, ELECTRA and DistilBERT do.
    student (Language): Not initialised yet; has a transformer, whose own weights are then not loaded. ValueError (E547) otherwise.
    layers (Sequence[int]): As in `choose_layers`.
    RETURNS (List[int]): The layers that were taken.
    """
    source, target = (_find_transformer(nlp, who) for nlp, who in ((teacher, "teacher"), (student, "student")))
    shim = source.layers[0].shims[0]
    model = copy.deepcopy(source.transformer)
    chosen = choose_layers(layers, len(find_stack(model)[1]))
    keep_layers(model, chosen)
    objects = HFObjects(copy.deepcopy(source.tokenizer), model, dict(shim._hfmodel.vocab_file_contents or {}), {}, {})
    target.attrs["set_transformer"](target, objects)
    return chosen


def _find_transformer(nlp: Language, who: str) -> Model:
    found = [pipe.model for _, pipe in nlp.pipeline if isinstance(pipe, Transformer)]
    ready = found and (who == "student") != bool(found[0].attrs["has_transformer"])
    if not ready:
        raise ValueError(Errors.E547.format(who=who, found=nlp.pipe_names))
    return found[0]


def copy_heads(teachers: Sequence[Language], student: Language, plans: Sequence[Teaching]) -> Dict[str, Tuple[int, int]]:
    """Start the student's components from their teachers' parameters, where both have the same labels and shapes.

    teachers, plans: As for `plan_teaching`, and what it returned.
    student (Language): Initialised; its components are modified.
    RETURNS (Dict[str, Tuple[int, int]]): By component, how many of its parameters were copied, of how many; those of token vectors
        are not counted.
    """
    counts = {}
    for plan in (plan for plan in plans if plan.pipe is not None):
        pipe, teacher = student.get_pipe(plan.name), teachers[plan.teacher].get_pipe(plan.pipe)
        same = pipe.label_data == teacher.label_data
        mine, others = (_parameters(model) for model in (pipe.model, teacher.model))
        copied = 0
        for key, parameter in mine.items():
            if same and key in others and parameter.shape == others[key].shape:
                _set(pipe.model, key, others[key])
                copied += 1
        counts[plan.name] = (copied, len(mine))
    return counts


def _head_nodes(model: Model) -> List[Model]:
    """The layers of a component without its token vectors, in a fixed order."""
    below = {id(node) for node in model.get_ref("tok2vec").walk()}
    return [node for node in model.walk() if id(node) not in below]


def _parameters(model: Model) -> Dict[Tuple[int, str], Any]:
    """The parameters of a head, by the number of their layer and their name."""
    found: Dict[Tuple[int, str], Any] = {}
    for number, node in enumerate(_head_nodes(model)):
        found.update({(number, name): node.get_param(name) for name in node.param_names if node.has_param(name)})
        for shim in node.shims:
            if isinstance(shim, ModuleShim) and shim.module is not None:
                found.update({(number, name): parameter.data for name, parameter in shim.module.named_parameters()})
    return found


def _set(model: Model, key: Tuple[int, str], value: Any) -> None:
    node = _head_nodes(model)[key[0]]
    if node.has_param(key[1]):
        node.set_param(key[1], node.ops.asarray(value).copy())
    else:
        dict(node.shims[0].module.named_parameters())[key[1]].data.copy_(value)
