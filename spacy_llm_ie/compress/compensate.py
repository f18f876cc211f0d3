"""Rounds the weights of a linear layer one input after the other, and lets those that are not rounded yet make up for the error.

Rounding each weight for itself finds the nearest matrix, but not the one that answers most nearly: inputs go together, and what
one weight says too much another one can take back (Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", 2023, equations 2 and 3, and section 3.3, steps 2 and 3).
"""

from typing import Callable

import numpy
from numpy import ndarray

# Errors are passed on to all later inputs once for so many.
BLOCK = 64
# Of the mean square of the inputs, added to each: directions that the texts do not have stay as they are.
DAMPING = 0.01
# Is given the rows of a block, (64 or fewer, outputs), and makes what rounds one of them, (outputs,).
MakeT = Callable[[ndarray], Callable[[ndarray], ndarray]]


def round_compensated(weights: ndarray, products: ndarray, make: MakeT) -> ndarray:
    """Round a matrix so that its answers change least.

    weights (ndarray): Shape: (inputs, outputs).
    products (ndarray): The mean of x xᵀ over what the layer is given; any multiple of it. Shape: (inputs, inputs).
    make (Callable): Called for each block of inputs when its turn comes, with their weights as they are then.
    RETURNS (ndarray): The rounded weights, float64. Shape: (inputs, outputs).
    """
    rest, factors = weights.astype("float64"), _factors(products.astype("float64"))
    found = numpy.empty_like(rest)
    for start in range(0, len(rest), BLOCK):
        end = min(start + BLOCK, len(rest))
        block, own = rest[start:end], factors[start:end, start:end]
        errors = numpy.empty_like(block)
        round_row = make(block)
        for i, row in enumerate(block):
            found[start + i] = round_row(row)
            errors[i] = (row - found[start + i]) / own[i, i]
            block[i + 1 :] -= own[i, i + 1 :, None] * errors[i]
        rest[end:] -= factors[start:end, end:].T @ errors
    return found


def _factors(products: ndarray) -> ndarray:
    """The upper Cholesky factor of the inverse. Shape: that of the products."""
    damping = max(DAMPING * float(products.diagonal().mean()), 1e-12)
    inverse = numpy.linalg.inv(products + damping * numpy.eye(len(products)))
    return numpy.linalg.cholesky((inverse + inverse.T) / 2).T
