"""What the processor has to offer."""

import os

import torch

from .. import forks  # noqa: F401  forked processes must not wait for threads


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16 or AMX); where it does not, float32 is faster."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def count_cores() -> int:
    """Processors that this process may use, or fewer if OMP_NUM_THREADS or `torch.set_num_threads` says so. RETURNS (int): >= 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, torch.get_num_threads()))
