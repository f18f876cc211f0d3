"""One optimizer, two learning rates: the head of a model learns faster than its pretrained encoder."""

from typing import Any, Set, Tuple

from thinc.api import Optimizer
from thinc.types import FloatsXd

KeyT = Tuple[int, str]


class ScaledOptimizer:
    """Passes on to an optimizer, with the learning rate scaled for all parameters but the encoder's.

    optimizer (Optimizer): Keeps all state; its schedules run as they would without this.
    factor (float): What the learning rate is multiplied by.
    unscaled (Set[Tuple[int, str]]): Keys of parameters that keep the optimizer's own rate.
    """

    def __init__(self, optimizer: Optimizer, factor: float, unscaled: Set[KeyT]) -> None:
        self.optimizer = optimizer
        self.factor = factor
        self.unscaled = unscaled

    def __call__(self, key: KeyT, weights: FloatsXd, gradient: FloatsXd, *, lr_scale: float = 1.0) -> Tuple[FloatsXd, FloatsXd]:
        """Update one parameter; the signature is that of thinc's Optimizer."""
        scale = lr_scale if key in self.unscaled else lr_scale * self.factor
        return self.optimizer(key, weights, gradient, lr_scale=scale)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.optimizer, name)
