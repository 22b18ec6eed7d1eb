"""Everything of a run that changes as it trains, and its way into checkpoints and back."""

import random
from collections.abc import Mapping

import numpy as np
import torch
import torch.distributed as dist

from taesr.nn import TAESRModel
from taesr.training import checkpoint
from taesr.training.checkpoint import CheckpointState
from taesr.training.config import TrainConfig
from taesr.training.data import TrainingData
from taesr.training.distributed import World, share_work
from taesr.training.ema import MovingAverage
from taesr.training.head_fit import fit_head
from taesr.training.objectives import Objectives
from taesr.training.optim import Optimizers
from taesr.training.planner import Planner
from taesr.training.precision import Precision
from taesr.training.routing import TokenBalancer
from taesr.training.sharding import local_part, split_like, whole
from taesr.training.step import TrainingStep


class TrainingState:
    """Model, optimisers, average, precision and the place in the data.

    Parameters
    ----------
    config, world
        Of the run.
    model
        With its first weights, equal in all processes; moved to the device.
    data
        Prepared.
    fit
        Whether to fit the head first, as `config.model.fit_head` says.

    Attributes
    ----------
    module
        What is called: `TrainingStep`, wrapped by DDP or FSDP2 where there are several processes.
    """

    def __init__(
        self, config: TrainConfig, world: World, model: TAESRModel, data: TrainingData, *, fit: bool
    ) -> None:
        self._world = world
        self.model = model.to(world.device)
        self.precision = Precision(config.precision, config.optimizer.clip, world.device)
        if fit and config.model.fit_head:
            self._fit_head(config, data)
        objectives = Objectives(
            config.objectives,
            matryoshka_weights=config.slice_weights,
            depth_weights=config.weights_of_depths,
            dtype=self.precision.dtype,
            checkpoint_layers=config.checkpoint_layers,
        )
        routing = config.objectives.token_routing
        self.balancer = TokenBalancer(self.model, objectives.routed, routing, world)
        step = TrainingStep(self.model, objectives.to(world.device))
        self.module = share_work(step, world, config.distributed.strategy)
        self.optimizers = Optimizers(self.model.named_parameters(), config.optimizer)
        self.ema = MovingAverage(self.model.named_parameters(), config.ema) if config.ema else None
        self.planner = Planner(data, config.data, seed=config.seed, rank=world.rank, world=world.size)

    def best_model(self) -> TAESRModel:
        """The model to measure and export, the average if there is one; every process must call it.

        It may share the memory of what is trained.
        """
        weights = self._whole() if self.ema is None else self.ema.state()
        with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced
            model = TAESRModel(self.model.config)
        model.load_state_dict(weights, assign=True)
        return model

    def capture(self) -> CheckpointState:
        """Everything, whole and on the CPU; every process must call it."""
        return CheckpointState(
            model=_on_cpu(self._whole()),
            ema={} if self.ema is None else _on_cpu(self.ema.state()),
            training={"optimizers": self.optimizers.state(), "precision": self.precision.state()},
            process={"random": checkpoint.random_state(), "planner": self.planner.state_dict()},
        )

    @torch.no_grad()
    def restore(self, state: CheckpointState) -> None:
        """Take over what `capture` returned."""
        for name, parameter in self.model.named_parameters():
            local_part(parameter.detach()).copy_(local_part(split_like(state.model[name], parameter)))
        if self.ema is not None:
            self.ema.load_state(state.ema)
        self.optimizers.load_state(state.training["optimizers"])
        self.precision.load_state(state.training["precision"])
        self.planner.load_state_dict(state.process["planner"])
        checkpoint.set_random_state(state.process["random"])

    def close(self) -> None:
        """End the planner's thread."""
        self.planner.close()

    def _whole(self) -> dict[str, torch.Tensor]:
        return {name: whole(parameter.detach()) for name, parameter in self.model.named_parameters()}

    def _fit_head(self, config: TrainConfig, data: TrainingData) -> None:
        planner = Planner(data, config.data, seed=config.seed, rank=self._world.rank, world=self._world.size)
        try:
            fit_head(
                self.model,
                planner,
                sorted(config.weights_of_depths),
                batches=config.model.fit_head,
                dtype=self.precision.dtype,
            )
        finally:
            planner.close()
        if self._world.size > 1:  # each process fitted to its own batches
            for parameter in self.model.parameters():
                dist.broadcast(parameter.data, 0)


def seed_everything(seed: int) -> None:
    """Seed every random generator of this process."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _on_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
