"""Two ways to do the same, of which the quicker one is taken: which that is depends on what else the processors have to do."""

import time
from collections import Counter, defaultdict, deque
from typing import Callable, Deque, Dict, Generic, Tuple, TypeVar

GivenT = TypeVar("GivenT")
FoundT = TypeVar("FoundT")
# The other way is tried once in so many times.
TRY_EVERY = 16
# Of each way, the best of so many last times counts: a single one may have been interrupted.
LAST = 2
# What a pass takes besides its pieces, in pieces: with this, times of passes of a class grow with their size.
FIXED = 16


class Quicker(Generic[GivenT, FoundT]):
    """Calls one of two functions, whichever took less time lately for work of about the same size.

    first, second (Callable): They take the same and return the same. As long as nothing is known, the second one is called.
    """

    def __init__(self, first: Callable[[GivenT], FoundT], second: Callable[[GivenT], FoundT]) -> None:
        self.ways = (first, second)
        self._calls: Counter = Counter()
        self._times: Dict[Tuple[int, int], Deque[float]] = defaultdict(lambda: deque(maxlen=LAST))

    def __call__(self, given: GivenT, size: int) -> FoundT:
        """Not by several threads at once.

        given (Any): What the functions take.
        size (int): How much work it is; sizes between two powers of two make a class.
        RETURNS (Any): What they return.
        """
        kind = size.bit_length()
        way = self.choose(kind)
        start = time.perf_counter()
        found = self.ways[way](given)
        self._times[kind, way].append((time.perf_counter() - start) / (size + FIXED))
        return found

    def choose(self, kind: int) -> int:
        """kind (int): The class of the size. RETURNS (int): 0 or 1, the function to call."""
        self._calls[kind] += 1
        first, second = (self._times[kind, way] for way in (0, 1))
        best = int(not first or not second or min(second) <= min(first))
        return best if self._calls[kind] % TRY_EVERY else 1 - best
