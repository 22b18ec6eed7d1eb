"""GPTQ (Frantar et al. 2022, arXiv 2210.17323): rounding that keeps what a matrix makes of its inputs.

Columns are rounded one after the other, and those that are still to come take over the error as far as
they can on inputs like those of a calibration text.
"""

import torch
from torch import Tensor

from taesr.training.decoder.block_rounding import BLOCK, BlockKind, RoundedMatrix


def round_by_gptq(
    matrix: Tensor, hessian: Tensor, kind: BlockKind, *, damping: float = 0.01
) -> RoundedMatrix:
    """Round a matrix so that its products with the inputs change little.

    Parameters
    ----------
    matrix
        [rows, columns]; columns are a multiple of 32.
    hessian
        [columns, columns]: sum over the inputs x of x x^T.
    damping
        Of the mean of the Hessian's diagonal, what is added to it.
    """
    factor = _inverse_factor(hessian, damping).to(matrix.dtype)
    cost = 1 / factor.square().sum(0)  # of an error in each column, if all others may make up for it
    rest = matrix.clone()
    integers = torch.empty(matrix.shape, dtype=torch.int8)
    scales, offsets = torch.empty(2, len(matrix), matrix.shape[1] // BLOCK, dtype=torch.float16)
    for begin in range(0, matrix.shape[1], BLOCK):
        here = slice(begin, begin + BLOCK)
        block = rest[:, here].clone()
        scale, offset = kind.best_grid(block, cost[here])
        scales[:, begin // BLOCK], offsets[:, begin // BLOCK] = scale[:, 0], offset[:, 0]
        errors = torch.empty_like(block)
        for i in range(BLOCK):
            column, row = block[:, i : i + 1], factor[begin + i]
            rounded = kind.integers(column, scale, offset)
            integers[:, begin + i] = rounded[:, 0]
            error = (column - (rounded * scale + offset)) / row[begin + i]
            block[:, i + 1 :] -= error * row[begin + i + 1 : begin + BLOCK]
            errors[:, i] = error[:, 0]
        rest[:, begin + BLOCK :] -= errors @ factor[here, begin + BLOCK :]
    return RoundedMatrix(kind, integers, scales, offsets)


def relative_error(matrix: Tensor, rounded: RoundedMatrix, hessian: Tensor) -> float:
    """Squared error of the products with the inputs, as a share of the products' squares."""
    error = rounded.values() - matrix
    change, whole = ((part @ hessian * part).sum() for part in (error, matrix))
    return float(change / whole) if whole > 0 else 0.0


def _inverse_factor(hessian: Tensor, damping: float) -> Tensor:
    """Upper U with U^T U the inverse of the damped Hessian, in float64.

    Row i beyond its diagonal is how later columns make up for column i, once those before it are fixed.
    """
    damped = hessian.to(torch.float64, copy=True)
    diagonal = damped.diagonal()
    diagonal += damping * diagonal.mean()
    diagonal[diagonal == 0] = 1  # no input at all
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
