"""What of a run of the encoder changes as it trains."""

import torch
import torch.distributed as dist

from taesr.nn import TAESRModel
from taesr.training.config import TrainConfig
from taesr.training.data import TrainingData
from taesr.training.distributed import World, share_work
from taesr.training.head_fit import fit_head
from taesr.training.objectives import Objectives
from taesr.training.optim import Optimizers
from taesr.training.planner import Planner
from taesr.training.precision import Precision
from taesr.training.routing import TokenBalancer
from taesr.training.run_state import RunState
from taesr.training.step import TrainingStep


class TrainingState(RunState):
    """The encoder, its objectives and the place in its pool.

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
        precision = Precision(config.precision, config.optimizer.clip, world.device)
        if fit and config.model.fit_head:
            self._fit_head(config, data, precision)
        objectives = Objectives(
            config.objectives,
            matryoshka_weights=config.slice_weights,
            depth_weights=config.weights_of_depths,
            dtype=precision.dtype,
            checkpoint_layers=config.checkpoint_layers,
        )
        routing = config.objectives.token_routing
        self.balancer = TokenBalancer(self.model, objectives.routed, routing, world)
        step = TrainingStep(self.model, objectives.to(world.device))
        module = share_work(step, world, config.distributed.strategy)
        self.planner = Planner(data, config.data, seed=config.seed, rank=world.rank, world=world.size)
        super().__init__(
            weights=self.model,
            module=module,
            precision=precision,
            optimizers=Optimizers(self.model.named_parameters(), config.optimizer),
            ema=config.ema,
            place=self.planner,
        )

    def best_model(self) -> TAESRModel:
        """The model to measure and export, of `best_weights`; every process must call it."""
        weights = self.best_weights()
        with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced
            model = TAESRModel(self.model.config)
        model.load_state_dict(weights, assign=True)
        return model

    def _fit_head(self, config: TrainConfig, data: TrainingData, precision: Precision) -> None:
        planner = Planner(data, config.data, seed=config.seed, rank=self._world.rank, world=self._world.size)
        try:
            fit_head(
                self.model,
                planner,
                sorted(config.weights_of_depths),
                batches=config.model.fit_head,
                dtype=precision.dtype,
            )
        finally:
            planner.close()
        if self._world.size > 1:  # each process fitted to its own batches
            for parameter in self.model.parameters():
                dist.broadcast(parameter.data, 0)
