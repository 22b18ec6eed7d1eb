"""What of any run changes as it trains, and its way into checkpoints and back."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import nn

from taesr.training import checkpoint
from taesr.training.checkpoint import CheckpointState
from taesr.training.ema import MovingAverage
from taesr.training.optim import Optimizers
from taesr.training.precision import Precision
from taesr.training.sharding import local_part, split_like, whole


class Place(Protocol):
    """A place in the data, which goes on where it was."""

    def state_dict(self) -> dict[str, Any]:
        """JSON types."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""

    def close(self) -> None:
        """End its threads."""


class RunState:
    """Model, optimisers, average, precision and the place in the data.

    Attributes
    ----------
    weights
        The module whose parameters and buffers are the model.
    module
        What is called: a module that makes losses, wrapped where there are several processes.
    """

    def __init__(
        self,
        *,
        weights: nn.Module,
        module: nn.Module,
        precision: Precision,
        optimizers: Optimizers,
        ema: float,
        place: Place,
    ) -> None:
        self.weights = weights
        self.module = module
        self.precision = precision
        self.optimizers = optimizers
        self.ema = MovingAverage(weights.named_parameters(), ema) if ema else None
        self._place = place

    def best_weights(self) -> dict[str, torch.Tensor]:
        """Weights to measure and export, the average if there is one; every process must call it.

        They may share the memory of what is trained.
        """
        return self._whole() if self.ema is None else self._whole() | self.ema.state()

    def capture(self) -> CheckpointState:
        """Everything, whole and on the CPU; every process must call it."""
        return CheckpointState(
            model=_on_cpu(self._whole()),
            ema={} if self.ema is None else _on_cpu(self.ema.state()),
            training={"optimizers": self.optimizers.state(), "precision": self.precision.state()},
            process={"random": checkpoint.random_state(), "planner": self._place.state_dict()},
        )

    @torch.no_grad()
    def restore(self, state: CheckpointState) -> None:
        """Take over what `capture` returned."""
        for name, tensor in self._tensors():
            local_part(tensor.detach()).copy_(local_part(split_like(state.model[name], tensor)))
        if self.ema is not None:
            self.ema.load_state(state.ema)
        self.optimizers.load_state(state.training["optimizers"])
        self.precision.load_state(state.training["precision"])
        self._place.load_state_dict(state.process["planner"])
        checkpoint.set_random_state(state.process["random"])

    def close(self) -> None:
        """End the threads that read data."""
        self._place.close()

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.weights.named_parameters()
        yield from self.weights.named_buffers()

    def _whole(self) -> dict[str, torch.Tensor]:
        return {name: whole(tensor.detach()) for name, tensor in self._tensors()}


def _on_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
