"""Losses of the scores by which tokens go on or stop."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from taesr._core import RoutedRecursion


def balancing_loss(routing: Sequence["RoutedRecursion"], bias: Tensor, target: Sequence[float]) -> Tensor:
    """Switch Transformers' balancing loss (arXiv 2101.03961) for token choice.

    Every recursion has two experts, to go on and to stop. Of the tokens that had not stopped before, a
    share f goes on, P is their mean probability sigmoid(score + bias), and c the share that shall. The
    loss f P / c + (1 - f) (1 - P) / (1 - c), whose gradient is 0 where f = c, is taken times c (1 - c),
    so that c may be 1.

    Parameters
    ----------
    routing
        By recursion run.
    bias
        [R], of the router.
    target
        Share of all tokens by recursion, never rising.

    Returns
    -------
    Scalar, the mean over recursions.
    """
    total = bias.sum() * 0
    asked, last = 1.0, 1.0
    for r, (scores, recursion) in enumerate(zip(_candidates(routing), routing, strict=True)):
        if not len(scores):
            break  # nobody is left
        wanted = target[r] / asked
        going = recursion.active_share / last
        chance = torch.sigmoid(scores + bias[r]).mean()
        total = total + (1 - wanted) * going * chance + wanted * (1 - going) * (1 - chance)
        asked, last = target[r], recursion.active_share
    return total / len(routing)


def z_loss(routing: Sequence["RoutedRecursion"]) -> Tensor:
    """Mean squared score of the tokens that had not stopped before, mean over recursions (2202.08906)."""
    parts = [scores.square().sum() / max(1, len(scores)) for scores in _candidates(routing)]
    return torch.stack(parts).mean()


def _candidates(routing: Sequence["RoutedRecursion"]) -> Iterator[Tensor]:
    """Scores of the tokens that each recursion could work on."""
    rows: Tensor | None = None
    for recursion in routing:
        yield recursion.scores if rows is None else recursion.scores[rows]
        rows = recursion.active
