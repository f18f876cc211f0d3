"""What the processor has to offer."""

import contextlib
import os
from typing import Iterator

import torch

from . import forks  # noqa: F401  forked processes must not wait for threads

# For each size of a product oneDNN writes a program, and torch and oneDNN keep the last 1,024 each: a megabyte apiece, gigabytes in
# training, where hardly any size comes twice. They read this before their first product.
KEPT_PROGRAMS = {"LRU_CACHE_CAPACITY": "128", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"}
for _name, _count in KEPT_PROGRAMS.items():
    os.environ.setdefault(_name, _count)


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16 or AMX); where it does not, float32 is faster."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


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
