"""Processes that are forked, as `nlp.pipe(..., n_process=2)` does on Linux, compute with one thread.

A fork copies no threads. PyTorch's pool of them, once the parent has used it, is waited for in the child for ever, so that spaCy
hangs; its own DataLoader therefore sets its workers to one thread, and so does this. It is also the right number: there are as
many processes as the user asked for.
"""

import os

import torch


def compute_alone() -> None:
    """Set torch to one thread in this process."""
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing is forked
    os.register_at_fork(after_in_child=compute_alone)
