"""Exponential moving average of the weights."""

from collections.abc import Iterable

import torch
from torch import nn

from taesr.training.sharding import joined_like, local_part, split_like, whole


class MovingAverage:
    """Average of a model's parameters over the steps, in their place and sharded as they are.

    The decay begins low, min(decay, (1 + step) / (10 + step)), so that the first weights are
    forgotten quickly.

    Parameters
    ----------
    named_parameters
        Of the model; averaged whether they are trained or not, so that the average is a whole model.
    decay
        Share of the average that one step keeps.
    """

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        named = dict(named_parameters)
        self.decay = decay
        self._names = list(named)
        self._parameters = list(named.values())
        self._averages = [local_part(p).detach().clone() for p in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [local_part(p).detach() for p in self._parameters]
        torch._foreach_lerp_(self._averages, weights, 1.0 - decay)

    def state(self) -> dict[str, torch.Tensor]:
        """Whole averages by parameter name; every process must call it."""
        return {
            name: whole(joined_like(average, parameter))
            for name, average, parameter in zip(self._names, self._averages, self._parameters, strict=True)
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over whole averages by parameter name."""
        for name, average, parameter in zip(self._names, self._averages, self._parameters, strict=True):
            average.copy_(local_part(split_like(state[name], parameter)))
