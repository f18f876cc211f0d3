"""Everything that removes parts of a pipeline's encoder, in the order that costs least, with recovery at the end."""

import contextlib
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Dict, List, Optional, Sequence

from spacy.language import Language
from spacy.training import Example

from ..errors import Errors
from .distil import Settings, TaughtPipeline
from .importance import measure_importance
from .pack import Packing
from .parts import Change, find_transformer
from .pieces import count_pieces
from .prune import prune
from .recover import DROP, imitate, recover
from .simulate import simulated_int8
from .teachers import Teaching, ask_teachers, plan_teaching
from .vocabulary import trim_vocabulary

# The highest learning rate in recovery from the old vectors alone, and the weight of these beside gold annotation; chosen on the
# newswire dev set (docs/pruning.md).
LEARN_RATE = 3e-4
WEIGHT = 10.0
# The highest learning rate in distillation, of the encoder; components have their `learn_rate_factor` times it. The only one tried
# without gold annotation.
DISTIL_RATE = 3e-5


@dataclass(frozen=True)
class Removal:
    """What to remove from an encoder, and how the rest learns to do without.

    heads (float): Share of the attention heads.
    neurons (float): Share of each layer's feed-forward neurons.
    layers (int): How many layers.
    pieces (Optional[int]): Keep the word pieces of the training data and so many others; None: all.
    steps (int): Updates in which the encoder learns to do without, from the token vectors it gave. The components stay as they
        are.
    quantize_aware (bool): In these updates, round as the int8 export will, so that the encoder learns to do with that too. So they
        do with 4 bits.
    bits (int): Bits in which the int8 export stores a weight: 8, or 4, but 2 for word pieces that the training data does not have.
    gold (bool): In these updates, all of the pipeline learns from gold annotation too, and the best weights on dev are kept.
    learn_rate (Optional[float]): The highest learning rate in these updates. None: 3e-4, or with gold that of the config.
    distil_steps (int): Updates after that, in which the components too learn to do without: what the whole pipeline holds for
        probable, on the same texts. No annotation is learned from.
    """

    heads: float = 0.0
    neurons: float = 0.0
    layers: int = 0
    pieces: Optional[int] = None
    steps: int = 0
    quantize_aware: bool = False
    bits: int = 8
    gold: bool = False
    learn_rate: Optional[float] = None
    distil_steps: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is removed, no bits are saved, nor int8 learned."""
        return not (self.removes or self.pieces is not None or self.quantize_aware or self.bits < 8)

    @property
    def removes(self) -> bool:
        """Whether heads, neurons or layers are removed."""
        return bool(self.heads or self.neurons or self.layers)

    @property
    def learns_rounding(self) -> bool:
        """Whether weights learn to be rounded each for itself. The export must do that then: letting them make up for each other
        would undo it."""
        return bool(self.steps) and (self.quantize_aware or self.bits < 8)

    def settings(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): The settings that say something."""
        return {name: value for name, value in asdict(self).items() if value and (name, value) != ("bits", 8)}

    def check(self, has_train: bool, has_texts: bool = False) -> None:
        """Raise ValueError if there is no training data (E534), int8 is to be learned without data or steps (E535), there are no
        such bits (E537), a setting of steps is given without steps (E538), or the learning rate is not above 0 (E722)."""
        if self.bits not in (4, 8):
            raise ValueError(Errors.E537.format(found=self.bits))
        if self.learn_rate is not None and not self.learn_rate > 0:
            raise ValueError(Errors.E722.format(setting="learn_rate", found=self.learn_rate, expected="a number above 0"))
        needed = {"--train FILE": has_train, "--steps N (200, say)": self.steps}
        missing = [option for option, given in needed.items() if not given]
        if self.quantize_aware and missing:
            raise ValueError(Errors.E535.format(missing=" and ".join(missing)))
        options = {"--texts": has_texts, "--gold": self.gold, "--learn-rate": self.learn_rate is not None}
        options["--distil-steps"] = self.distil_steps
        given = ", ".join(option for option, is_given in options.items() if is_given)
        if given and (missing or self.is_empty):
            missing = missing or ["something to remove (--heads, --neurons, --layers, --pieces, --bits 4 or --quantize-aware)"]
            raise ValueError(Errors.E538.format(options=given, missing=" and ".join(missing)))
        if not (self.is_empty or has_train):
            raise ValueError(Errors.E534)


def shrink(
    nlp: Language,
    teacher: Language,
    removal: Removal,
    train: Sequence[Example],
    dev: Sequence[Example],
    texts: Optional[Sequence[Example]] = None,
) -> List[Change]:
    """Remove parts of the encoder of a pipeline, in place: word pieces, then heads, neurons and layers, then recovery.

    nlp (Language): A trained pipeline.
    teacher (Language): The same pipeline, loaded once more, whose vectors are learned from. Not changed.
    removal (Removal): What to remove.
    train (Sequence[Example]): Training data: its word pieces stay, what is left is fitted to it, and recovery learns from it.
    dev (Sequence[Example]): Development data, on which importance is measured, and recovery is taken back if it does harm.
    texts (Optional[Sequence[Example]]): More text to learn from, without annotation.
    RETURNS (List[Change]): Sizes before and after each step.
    RAISES (ValueError): If something is to be removed and there is no training data (E534), int8 is to be learned without data or
        steps (E535), there are texts or settings of steps but no steps (E538), no component can learn from probabilities that
        should (E539), or a setting is out of range (E537, E722).
    """
    removal.check(bool(train), texts is not None)
    if removal.is_empty:
        return []
    plans = _plan_distillation(nlp, teacher) if removal.distil_steps else []
    changes = []
    if removal.pieces is not None:
        changes.append(trim_vocabulary(nlp, (example.reference.text for example in train), extra=removal.pieces))
    if removal.removes:
        importance = measure_importance(nlp, dev, rank_layers=bool(removal.layers), progress=True)
        docs = [example.reference for example in train]
        parts = {"heads": removal.heads, "neurons": removal.neurons, "layers": removal.layers}
        changes.append(prune(nlp, importance, **parts, docs=docs))
    if removal.steps:
        packing = plan_packing(nlp, removal, train)
        rounding = partial(simulated_int8, packing=packing) if removal.learns_rounding else contextlib.nullcontext
        with rounding(find_transformer(nlp).transformer):
            _recover(nlp, teacher, removal, train, dev, texts)
            if plans:
                _distil(nlp, teacher, plans, removal.distil_steps, train, dev, texts)
    return changes


def _recover(
    nlp: Language,
    teacher: Language,
    removal: Removal,
    train: Sequence[Example],
    dev: Sequence[Example],
    texts: Optional[Sequence[Example]],
) -> None:
    """The encoder learns the teacher's vectors, and the components, which know these, stay as they are; unless there is gold."""
    given = {"texts": texts, "learn_rate": removal.learn_rate, "progress": True}
    if removal.gold:
        recover(nlp, train, dev, removal.steps, update=imitate(teacher, weight=WEIGHT), **given)
        return
    model = find_transformer(nlp)
    given["frozen"] = [name for name, pipe in nlp.pipeline if getattr(pipe, "model", None) is not model]
    given["learn_rate"] = removal.learn_rate or LEARN_RATE
    # Evaluated before and after only: the best of many evaluations would be best on this data by chance.
    given["eval_every"] = removal.steps
    recover(nlp, train, dev, removal.steps, update=imitate(teacher, gold=False), **given)


def _plan_distillation(nlp: Language, teacher: Language) -> List[Teaching]:
    """RETURNS (List[Teaching]): The components that can learn the teacher's probabilities. ValueError (E539) if there are none."""
    plans = [plan for plan in plan_teaching(nlp, [teacher]) if plan.pipe is not None]
    if not plans:
        raise ValueError(Errors.E539.format(found=nlp.pipe_names))
    return plans


def _distil(
    nlp: Language,
    teacher: Language,
    plans: List[Teaching],
    steps: int,
    train: Sequence[Example],
    dev: Sequence[Example],
    texts: Optional[Sequence[Example]],
) -> None:
    """Our components learn the teacher's probabilities, the encoder its vectors too; other components stay as they are."""
    examples = [*train, *(texts or ())]
    lessons = dict(zip(map(id, examples), ask_teachers(nlp, examples, [teacher], plans)))
    pupil = TaughtPipeline(nlp, lessons, Settings(gold_weight=0.0))
    model, taught = find_transformer(nlp), {plan.name for plan in plans}
    frozen = [name for name, pipe in nlp.pipeline if name not in taught and getattr(pipe, "model", None) is not model]
    keep_vectors = imitate(teacher, weight=WEIGHT, gold=False)

    def update(_: Language, batch: List[Example]) -> Dict[str, float]:
        return {**pupil.update(batch, drop=DROP, exclude=frozen), **keep_vectors(nlp, batch)}

    given = {"texts": texts, "learn_rate": DISTIL_RATE, "progress": True}
    recover(nlp, train, dev, steps, update=update, frozen=frozen, eval_every=steps, **given)


def plan_packing(nlp: Language, removal: Removal, train: Sequence[Example]) -> Optional[Packing]:
    """How the weights of a pipeline's encoder are to be stored.

    nlp (Language): The pipeline, with the word pieces that are left.
    removal (Removal): With `bits`.
    train (Sequence[Example]): Training data; word pieces that it does not have are rare.
    RETURNS (Optional[Packing]): None: in 8 bits.
    """
    if removal.bits == 8:
        return None
    return Packing(count_pieces(find_transformer(nlp).tokenizer, (example.reference.text for example in train)) == 0)
