"""Names for the types that pass between rooms."""

from typing import Callable, List

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

# Doc -> one vector a token. Shape of each array: (tokens, width).
Tok2VecModelT = Model[List[Doc], List[Floats2d]]
# Doc -> one score a token and tag. Shape of each array: (tokens, tags).
TaggerModelT = Model[List[Doc], List[Floats2d]]
# examples and settings -> scores by name.
ScorerT = Callable[..., dict]
