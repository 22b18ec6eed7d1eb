"""Choices of a recursive decoder's routers, and the losses that train them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from taesr.errors import InvalidArgument


@dataclass
class RoutingStep:
    """What routers did before one recursion.

    Attributes
    ----------
    scores
        [B, T], differentiable: expert choice's logit of the recursion; token choice's log-probability of
        the token's last recursion.
    candidates
        bool [B, T]: tokens that passed the recursion before.
    selected
        bool [B, T]: those that pass this one.
    choices
        Token choice: [B, T, recursions], the logits of all recursions; None with expert choice.
    places
        Expert choice by capacity: int64 [B, n], where the selected tokens lie, ascending; None where all
        are selected, and where the number may differ from row to row.
    """

    scores: Tensor
    candidates: Tensor
    selected: Tensor
    choices: Tensor | None = None
    places: Tensor | None = None

    @property
    def probability(self) -> Tensor:
        """[B, T]: what the gate makes of the scores."""
        return self.scores.sigmoid() if self.choices is None else self.scores.exp()


@dataclass
class TokenDepths:
    """Token choice: the last recursion of every token."""

    logits: Tensor  # [B, T, recursions]
    last: Tensor  # int64 [B, T]

    def step(self, recursion: int) -> RoutingStep:
        """Tokens that pass this recursion."""
        scores = self.logits.log_softmax(-1).gather(-1, self.last[..., None])[..., 0]
        before = self.last >= recursion - 1
        return RoutingStep(scores, before, self.last >= recursion, self.logits)


def token_depths(logits: Tensor, bias: Tensor | None) -> TokenDepths:
    """Choose the most probable recursion after `bias`, the last of equal ones. logits [B, T, recursions]."""
    probability = logits.softmax(-1).detach()
    biased = probability if bias is None else probability + bias
    return TokenDepths(logits, logits.shape[-1] - 1 - biased.flip(-1).argmax(-1))


def keep_best(scores: Tensor, candidates: Tensor, count: int) -> RoutingStep:
    """Choose the best `count` tokens of every row [B, T]; so many must be candidates."""
    if count == scores.shape[1]:
        return RoutingStep(scores, candidates, candidates)
    best = scores.detach().masked_fill(~candidates, -torch.inf).topk(count, dim=1).indices
    selected = torch.zeros_like(candidates).scatter(1, best, True)
    return RoutingStep(scores, candidates, selected, places=best.sort(1).values)


def default_capacity(recursions: int) -> list[float]:
    """1, (n - 1) / n, ... 1 / n: as many tokens stop after every recursion."""
    return [(recursions - r) / recursions for r in range(recursions)]


def warmed_capacity(capacity: Sequence[float], done: float) -> list[float]:
    """Capacities on their way from 1 down to themselves, when a share `done` of the warm-up is."""
    above = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
    return [share + (1 - share) * above for share in capacity]


def auxiliary_loss(routing: Sequence[RoutingStep]) -> Tensor:
    """Expert choice: teach scores to tell by their sign who was chosen, as decoding needs it.

    The sum over recursions of the mean binary cross-entropy of the candidates; weight 0.001 in the paper.
    """
    total = torch.zeros((), device=_first(routing, expert=True).scores.device)
    for step in routing:
        losses = functional.binary_cross_entropy_with_logits(
            step.scores.float(), step.selected.float(), reduction="none"
        )
        total = total + _mean(losses, step.candidates)
    return total


def z_loss(routing: Sequence[RoutingStep]) -> Tensor:
    """Keep scores small: the mean squared log-sum-exp, over the candidates, summed over recursions."""
    first = _first(routing)
    if first.choices is not None:
        return first.choices.float().logsumexp(-1).square().mean()
    return torch.stack([_mean(step.scores.float().square(), step.candidates) for step in routing]).sum()


def balancing_loss(routing: Sequence[RoutingStep]) -> Tensor:
    """Token choice: n * sum of each recursion's share of tokens times its mean probability.

    It is 1 where all recursions are chosen alike (Fedus et al. 2021, arXiv 2101.03961).
    """
    first = _first(routing, expert=False)
    assert first.choices is not None
    probability = first.choices.float().softmax(-1).flatten(0, 1).mean(0)
    return len(routing) * (_shares(routing) * probability).sum()


@torch.no_grad()
def balance_bias(bias: Tensor | None, routing: Sequence[RoutingStep], rate: float = 0.001) -> None:
    """Balance token choice without a loss: raise the bias of recursions that too few tokens chose.

    Call it once an optimiser step with `decoder.model.router.bias` (Wang et al. 2024, arXiv 2408.15664).
    """
    _first(routing, expert=False)
    if bias is None:
        raise InvalidArgument("bias is None; give decoder.model.router.bias of a model with token choice")
    shares = _shares(routing)
    bias += rate * (shares.mean() - shares).sign()


def _mean(values: Tensor, among: Tensor) -> Tensor:
    """Mean of some; the host waits for nothing, as it would to index by them."""
    return (values * among).sum() / among.sum()


def _shares(routing: Sequence[RoutingStep]) -> Tensor:
    """Share of tokens whose last recursion is each one."""
    reached = torch.stack([step.selected.float().mean() for step in routing])
    return reached - torch.cat([reached[1:], reached.new_zeros(1)])


def _first(routing: Sequence[RoutingStep], *, expert: bool | None = None) -> RoutingStep:
    if not routing:
        raise InvalidArgument("the model has no routers: set routing in its config")
    if expert is not None and expert != (routing[0].choices is None):
        raise InvalidArgument(
            f"this loss is for {'expert' if expert else 'token'} choice, not the model's routing"
        )
    return routing[0]
