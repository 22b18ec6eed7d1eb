"""Losses over a large vocabulary, without scores of all tokens at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Scores = tuple[Tensor, Tensor]  # hidden states [n, d], and the table [V, d] that makes scores of them


@dataclass(frozen=True)
class HeadLoss:
    """What `head_loss` gives: scalars, of which `total` alone carries a gradient.

    `divergence` is that from the teacher, in nats at the temperature; zero without one.
    """

    total: Tensor
    cross_entropy: Tensor
    divergence: Tensor


@dataclass(frozen=True)
class HeadLossOptions:
    """Weights, the temperature of both distributions, tokens at a time, and their arithmetic.

    `dtype` is that of the matrix products; everything else is float32. `compiled` fuses the steps from
    scores to gradients.
    """

    cross_entropy: float = 1.0
    teacher: float = 0.0
    temperature: float = 1.0
    chunk_tokens: int = 4096
    dtype: torch.dtype = torch.float32
    compiled: bool = False


def head_loss(
    hidden: Tensor,
    table: Tensor,
    targets: Tensor,
    options: HeadLossOptions,
    teacher: Scores | None = None,
) -> HeadLoss:
    """Cross-entropy of the targets, and forward KL divergence from a teacher (Hinton et al. 2015).

    The gradients are made with the losses, chunk by chunk, so that nothing of [n, V] outlives its chunk.

    Parameters
    ----------
    hidden, table
        [n, d] and [V, d]; gradients flow to both.
    targets
        int64 [n].
    teacher
        The teacher's, without gradients; required where `options.teacher` is above 0.

    Returns
    -------
    HeadLoss
        Means over the n tokens.
    """
    apply: Any = _HeadLoss.apply
    total, entropy, divergence = apply(hidden, table, targets, options, teacher)
    return HeadLoss(total, entropy, divergence)


@torch.no_grad()
def cross_entropies(scores: Scores, targets: Tensor, chunk_tokens: int) -> Tensor:
    """Cross-entropy of every target, float32 [n]; products in the dtype of the hidden states."""
    hidden, table = scores[0], scores[1].to(scores[0].dtype)
    losses = torch.empty(len(targets), device=targets.device)
    for part in _slices(len(targets), chunk_tokens):
        found = (hidden[part] @ table.T).float()
        losses[part] = torch.nn.functional.cross_entropy(found, targets[part], reduction="none")
    return losses


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        table: Tensor,
        targets: Tensor,
        options: HeadLossOptions,
        teacher: Scores | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wanted = any(ctx.needs_input_grad[:2])
        with torch.autocast(hidden.device.type, enabled=False):
            found = _in_chunks(hidden, table, targets, options, teacher, with_gradients=wanted)
        sums, hidden_gradient, table_gradient = found
        entropy, divergence = sums / max(1, len(targets))
        total = options.cross_entropy * entropy
        if teacher is not None:
            total = total + options.teacher * options.temperature**2 * divergence
        if wanted:
            ctx.save_for_backward(hidden_gradient, table_gradient)
        ctx.mark_non_differentiable(entropy, divergence)
        return total, entropy, divergence

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        hidden_gradient, table_gradient = ctx.saved_tensors
        return hidden_gradient * gradients[0], table_gradient * gradients[0], None, None, None


def _in_chunks(
    hidden: Tensor,
    table: Tensor,
    targets: Tensor,
    options: HeadLossOptions,
    teacher: Scores | None,
    *,
    with_gradients: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of both losses, and the mean loss's gradients of `hidden` and `table`."""
    own = table.to(options.dtype)
    other = None if teacher is None else teacher[1].to(options.dtype)
    sums = hidden.new_zeros(2, dtype=torch.float32)
    hidden_gradient = torch.empty_like(hidden) if with_gradients else hidden
    table_gradient = torch.zeros_like(table, dtype=torch.float32) if with_gradients else table
    share = 1.0 / max(1, len(targets))
    work = _compiled() if options.compiled else _losses_and_gradient
    for part in _slices(len(targets), options.chunk_tokens):
        states = hidden[part].to(options.dtype)
        theirs = None
        if teacher is not None and other is not None:
            theirs = teacher[0][part].to(options.dtype) @ other.T
        losses, gradient = work(
            states @ own.T, targets[part], theirs, options.cross_entropy, options.teacher, options.temperature
        )
        sums += losses
        if with_gradients:
            hidden_gradient[part] = (gradient @ own) * share
            table_gradient += (gradient.T @ states) * share
    return sums, hidden_gradient, table_gradient


def _losses_and_gradient(
    scores: Tensor,
    targets: Tensor,
    teacher: Tensor | None,
    entropy_weight: float,
    teacher_weight: float,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Sums of cross-entropy and divergence; the gradient of their weighted sum, in the dtype of `scores`.

    The gradient of the divergence times the squared temperature is temperature * (p - q).
    """
    log_p = scores.log_softmax(-1, dtype=torch.float32)
    entropy = -log_p.gather(1, targets[:, None]).sum()
    if teacher is None:
        gradient = log_p.exp_().mul_(entropy_weight)
        divergence = torch.zeros_like(entropy)
    elif temperature == 1:
        log_q = teacher.log_softmax(-1, dtype=torch.float32)
        q = log_q.exp()
        divergence = torch.linalg.vecdot(q, log_q.sub_(log_p)).sum()
        gradient = log_p.exp_().mul_(entropy_weight + teacher_weight).sub_(q, alpha=teacher_weight)
    else:
        log_q = (teacher.float() / temperature).log_softmax(-1)
        q = log_q.exp()
        warm = (scores.float() / temperature).log_softmax(-1)
        divergence = torch.linalg.vecdot(q, log_q.sub_(warm)).sum()
        pull = warm.exp_().sub_(q).mul_(teacher_weight * temperature)
        gradient = log_p.exp_().mul_(entropy_weight).add_(pull)
    correct = torch.full_like(targets[:, None], -entropy_weight, dtype=gradient.dtype)
    gradient.scatter_add_(1, targets[:, None], correct)
    return torch.stack([entropy, divergence]), gradient.to(scores.dtype)


_cache: list[Callable[..., tuple[Tensor, Tensor]]] = []


def _compiled() -> Callable[..., tuple[Tensor, Tensor]]:
    if not _cache:
        _cache.append(torch.compile(_losses_and_gradient))
    return _cache[0]


def _slices(count: int, size: int) -> Iterator[slice]:
    for begin in range(0, count, size):
        yield slice(begin, min(count, begin + size))
