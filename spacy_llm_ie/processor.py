"""What the processor has to offer."""

import contextlib
import os
import time
from functools import cache
from typing import Callable, Iterator, Tuple

import torch
from torch.nn import functional

from . import forks  # noqa: F401  forked processes must not wait for threads

# For each size of a product oneDNN writes a program, and torch and oneDNN keep the last 1,024 each: a megabyte apiece, gigabytes in
# training, where hardly any size comes twice. They read this before their first product.
KEPT_PROGRAMS = {"LRU_CACHE_CAPACITY": "128", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"}
for _name, _count in KEPT_PROGRAMS.items():
    os.environ.setdefault(_name, _count)
# Products of matrices of more multiplications OpenBLAS, which numpy takes, shares out to threads, which then turn round for
# milliseconds waiting for the next one, and take the processor from whoever could use it.
ALONE_IN_NUMPY = 2**18
# What ways to multiply are compared by: a few sentences in a small encoder.
TRIAL_ROWS, TRIAL_WIDTH, TRIAL_RUNS = 128, 384, 8
# How much quicker than float32 bfloat16, which is less exact, has to be.
QUICKER = 1.1


@cache
def bfloat16_is_quick() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16 or AMX) and is quicker at it than in float32: Intel's with
    AVX512-BF16, but without AMX, take twice the time, AMD's half of it. Found out once in a process, in some ten milliseconds.
    """
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if not any(getattr(torch.cpu, name, bool)() for name in names):
        return False
    whole = trial_matrices()
    halves = [matrix.bfloat16() for matrix in whole]
    return is_quicker(lambda: functional.linear(*halves), lambda: functional.linear(*whole), QUICKER)


def trial_matrices() -> Tuple[torch.Tensor, torch.Tensor]:
    """RETURNS (Tuple[torch.Tensor, torch.Tensor]): Values and weight, float32, for `is_quicker`."""
    return torch.ones(TRIAL_ROWS, TRIAL_WIDTH), torch.ones(TRIAL_WIDTH, TRIAL_WIDTH)


def is_quicker(new: Callable[[], object], old: Callable[[], object], times: float) -> bool:
    """Try two ways to multiply matrices, in this thread alone, and compare the quickest of some runs.

    new, old (Callable): They take nothing.
    times (float): How much quicker the new one must be.
    RETURNS (bool): Whether it is.
    """
    with one_thread(), torch.no_grad(), torch.autocast("cpu", enabled=False):
        best = []
        for multiply in (new, old):
            seconds = []
            for _ in range(TRIAL_RUNS):
                start = time.perf_counter()
                multiply()
                seconds.append(time.perf_counter() - start)
            best.append(min(seconds))
    return best[0] * times < best[1]


def count_cores() -> int:
    """Processors that this process may use, or fewer if OMP_NUM_THREADS or `torch.set_num_threads` says so. RETURNS (int): >= 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, torch.get_num_threads()))


@contextlib.contextmanager
def one_thread(when: bool = True) -> Iterator[None]:
    """Let torch compute in this thread alone while the context lasts, which is quicker for small operations: others are waited
    for at each one, and take the processor from whoever else computes.

    when (bool): False: change nothing.
    """
    threads = torch.get_num_threads()
    if not when or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
