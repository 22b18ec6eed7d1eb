"""Order within a batch: KL divergence between rows of similarities."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_NEVER = -1e4  # as a logit: no share, and finite, so that 0 times it is 0


@dataclass(frozen=True)
class _Columns:
    """One set of columns of the teacher's similarity matrix."""

    begin: int
    end: int
    p: Tensor  # [B, end - begin] the rows as distributions
    negative_entropy: Tensor  # sum over rows of p log p
    share: float


class SimilarityRows:
    """A teacher's similarity rows of one batch, as distributions over two sets of columns.

    The columns are the passages and the queries apart, each with its share: so the passages, which
    every search ranks, are not drowned by the many short texts. A text does not rank itself.

    Parameters
    ----------
    teacher
        [B, W] unit rows; the first `passages` are passages, the rest queries.
    passages
        How many.
    temperature
        Divides the similarities of teacher and student.
    shares
        Weights of the passages' and of the queries' columns; 0 leaves a set out.
    """

    def __init__(
        self, teacher: Tensor, passages: int, temperature: float, shares: tuple[float, float]
    ) -> None:
        self._scale = 1 / temperature
        teacher = at_least_float32(teacher)
        self._sets: list[_Columns] = []
        for begin, end, share in ((0, passages, shares[0]), (passages, len(teacher), shares[1])):
            if share == 0 or end - begin < 2:
                continue  # a single column holds no order
            log_p = F.log_softmax(_similarities(teacher, begin, end, self._scale), dim=1)
            p = log_p.exp()
            self._sets.append(_Columns(begin, end, p, torch.dot(p.flatten(), log_p.flatten()), share))

    def kl(self, z: Tensor, dims: dict[int, float]) -> Tensor:
        """KL(teacher's rows || rows of z's slices): mean over rows, weighted over columns and slices.

        z is [B, D] and need not have unit rows. The gradient is made in the forward pass, so that
        no [B, B] matrix is kept for the backward pass.
        """
        total = z.new_zeros((), dtype=at_least_float32(z[:0]).dtype)
        for size, weight in dims.items():
            if weight:
                unit = F.normalize(at_least_float32(z[:, :size]), dim=1)
                total = total + weight * _RowKL.apply(unit, self._sets, self._scale)  # type: ignore[no-untyped-call]
        return total


class _RowKL(torch.autograd.Function):
    """KL of similarity rows with respect to unit rows [B, m]; see `SimilarityRows.kl`."""

    @staticmethod
    def forward(ctx: Any, unit: Tensor, sets: list[_Columns], scale: float) -> Tensor:
        rows = len(unit)
        value, gradient = unit.new_zeros(()), None
        wanted = ctx.needs_input_grad[0]
        for columns in sets:
            logits = _similarities(unit, columns.begin, columns.end, scale)
            normaliser = torch.logsumexp(logits, dim=1, keepdim=True)
            cross = normaliser.sum() - torch.dot(columns.p.flatten(), logits.flatten())
            value = value + columns.share / rows * (columns.negative_entropy + cross)
            if wanted:
                # d KL / d logits = softmax(logits) - p; a logit depends on its row and on its column.
                slope = logits.sub_(normaliser).exp_().sub_(columns.p)
                factor = columns.share * scale / rows
                part = torch.mm(slope, unit[columns.begin : columns.end]).mul_(factor)
                part[columns.begin : columns.end].addmm_(slope.T, unit, alpha=factor)
                gradient = part if gradient is None else gradient.add_(part)
        if wanted:
            ctx.save_for_backward(torch.zeros_like(unit) if gradient is None else gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0], None, None


def score_kl(scores: Tensor, teacher: Tensor, *, temperature: float, teacher_temperature: float) -> Tensor:
    """KL(teacher's rows || rows of scores), mean over rows, of two score matrices [Q, P]."""
    log_p = F.log_softmax(at_least_float32(teacher) / teacher_temperature, dim=1)
    log_q = F.log_softmax(at_least_float32(scores) / temperature, dim=1)
    return F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")


def at_least_float32(x: Tensor) -> Tensor:
    """float64 as it is, anything else in float32."""
    return x if x.dtype == torch.float64 else x.float()


def _similarities(unit: Tensor, begin: int, end: int, scale: float) -> Tensor:
    """[B, end - begin] similarities times scale; a text's own is taken away."""
    logits = torch.mm(unit, unit[begin:end].T).mul_(scale)
    logits[begin:end].fill_diagonal_(_NEVER)
    return logits
