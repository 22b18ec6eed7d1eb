"""Fitting the few weights of a head over states that stay as they are."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor


class FitOptions(Protocol):
    """Of AdamW, whose rate falls linearly to zero."""

    @property
    def steps(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


def minimise(
    parameters: Sequence[Tensor],
    loss_of_batch: Callable[[], Tensor],
    options: FitOptions,
    *,
    report: Callable[[int], None] | None = None,
) -> Tensor:
    """Minimise the loss of batches that `loss_of_batch` draws; `report` is told the steps done.

    Returns
    -------
    The loss of each step, float32 [steps].
    """
    optimizer = torch.optim.AdamW(parameters, lr=options.lr, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / options.steps)
    losses = []
    for step in range(options.steps):
        loss = loss_of_batch()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        if report is not None:
            report(step + 1)
    return torch.stack(losses)


def standard(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each column, the latter never so small that noise becomes a feature."""
    return rows.mean(0), rows.std(0).clamp_min(1e-3)


def dropped(rows: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Dropout with a generator of the processor, so that every device draws the same."""
    kept = torch.rand(rows.shape, generator=generator) >= share
    return rows * kept.to(rows.device) / (1 - share)
