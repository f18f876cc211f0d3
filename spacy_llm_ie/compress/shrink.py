"""Everything that removes parts of a pipeline's encoder, in the order that costs least, with recovery at the end."""

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Sequence

from spacy.language import Language
from spacy.training import Example

from ..errors import Errors
from .importance import measure_importance
from .parts import Change
from .prune import prune
from .recover import imitate, recover
from .vocabulary import trim_vocabulary

# Of the loss on the old vectors in recovery; chosen on the newswire dev set (docs/pruning.md).
IMITATION = 10.0


@dataclass(frozen=True)
class Removal:
    """What to remove from an encoder.

    heads (float): Share of the attention heads.
    neurons (float): Share of each layer's feed-forward neurons.
    layers (int): How many layers.
    pieces (Optional[int]): Keep the word pieces of the training data and so many others; None: all.
    steps (int): Updates in which the pipeline learns to do without, from gold annotation and from the vectors it had.
    """

    heads: float = 0.0
    neurons: float = 0.0
    layers: int = 0
    pieces: Optional[int] = None
    steps: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is removed."""
        return not (self.heads or self.neurons or self.layers or self.pieces is not None)

    def settings(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): The settings that say something."""
        return {name: value for name, value in asdict(self).items() if value}


def shrink(
    nlp: Language, teacher: Language, removal: Removal, train: Sequence[Example], dev: Sequence[Example]
) -> List[Change]:
    """Remove parts of the encoder of a pipeline, in place: word pieces, then heads, neurons and layers, then recovery.

    nlp (Language): A trained pipeline.
    teacher (Language): The same pipeline, loaded once more, whose vectors are learned from. Not changed.
    removal (Removal): What to remove.
    train (Sequence[Example]): Training data: its word pieces stay, what is left is fitted to it, and recovery learns from it.
    dev (Sequence[Example]): Development data, on which importance is measured and the best weights are chosen.
    RETURNS (List[Change]): Sizes before and after each step.
    RAISES (ValueError): If something is to be removed and there is no training data (E534), or a setting is out of range (E722).
    """
    if removal.is_empty:
        return []
    if not train:
        raise ValueError(Errors.E534)
    changes = []
    if removal.pieces is not None:
        changes.append(trim_vocabulary(nlp, (example.reference.text for example in train), extra=removal.pieces))
    if removal.heads or removal.neurons or removal.layers:
        importance = measure_importance(nlp, dev, rank_layers=bool(removal.layers), progress=True)
        docs = [example.reference for example in train]
        parts = {"heads": removal.heads, "neurons": removal.neurons, "layers": removal.layers}
        changes.append(prune(nlp, importance, **parts, docs=docs))
    if removal.steps:
        recover(nlp, train, dev, removal.steps, update=imitate(teacher, weight=IMITATION), progress=True)
    return changes
