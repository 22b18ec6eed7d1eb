"""The encoder's training loop."""

from pathlib import Path

import numpy as np
import torch

from taesr.nn import TAESRModel
from taesr.training.config import TrainConfig
from taesr.training.data import TrainingData, prepare
from taesr.training.distributed import World, accumulating
from taesr.training.evaluate import EvaluationResult, Evaluator
from taesr.training.export import export_model
from taesr.training.log import Say
from taesr.training.model_setup import build_model, check_vocabulary, freeze, tokenizer_file
from taesr.training.run import Report, Run, TrainResult
from taesr.training.schedule import share_done, step_size
from taesr.training.state import TrainingState


def train(config: TrainConfig, *, say: Say | None = None, report: Report | None = None) -> TrainResult:
    """Train a model; called in every process that torchrun starts, it is one training.

    Parameters
    ----------
    config : TrainConfig
    say : callable, optional
        Gets lines for people.
    report : callable, optional
        Gets the progress of the preparation: what is being done, how much of it, of how much.

    Returns
    -------
    TrainResult

    Raises
    ------
    InvalidArgument, IoError, FormatError
        What cannot be trained on, with its remedy.
    Error
        The training diverged.

    Examples
    --------
    >>> config = TrainConfig.from_file("configs/encoder-tiny.json")  # doctest: +SKIP
    >>> train(config).model  # doctest: +SKIP
    PosixPath('runs/encoder-tiny/model')
    """
    with World.join(config.device) as world, Trainer(config, world, say=say, report=report) as trainer:
        return trainer.run()


class Trainer(Run[TrainConfig, TrainingState]):
    """One run of the encoder."""

    def __init__(
        self, config: TrainConfig, world: World, *, say: Say | None = None, report: Report | None = None
    ) -> None:
        super().__init__(config, world, say=say)
        model = build_model(config.model)
        freeze(model, config.freeze)
        self._tokenizer = tokenizer_file(config.model)
        check_vocabulary(model, self._tokenizer)
        self._evaluator = self._open_evaluator(model)
        self._open_log()
        data = self._prepare(model, report)
        self._begin(TrainingState(config, world, model, data, fit=self._saved is None))

    def _step(self) -> int:
        """Take one optimiser step, for which the host waits for no device; return its tokens."""
        state, config, progress = self.state, self.config, self.progress
        depths, done = self._depths(), share_done(progress, config.schedule)
        tokens = 0
        for part in range(config.accumulate):
            batch = state.planner.next()
            with accumulating(state.module, last=part == config.accumulate - 1):
                losses = state.module(batch, depths, done)
                loss = torch.stack(list(losses.values())).sum()
                state.precision.backward(loss / config.accumulate)
            self._reporter.meter.add({"loss": loss, **losses})
            tokens += batch.tokens
        self._share = step_size(progress, config.schedule)
        norm = state.precision.step(state.optimizers, self._share)
        self._reporter.meter.add({"gradient_norm": norm, **state.balancer.step(done)})
        progress.step += 1
        if state.ema is not None:
            state.ema.update(progress.step)
        return tokens

    def _depths(self) -> tuple[int, ...]:
        """Draw the depths of the next step: the same ones in all processes, and after a resume."""
        choices = self.config.depths
        shares = np.array([choice.share for choice in choices])
        generator = np.random.default_rng([self.config.seed, self.progress.step])
        return choices[generator.choice(len(choices), p=shares / shares.sum())].depths

    @property
    def _epoch(self) -> int:
        return self.state.planner.epoch

    @property
    def _measures(self) -> bool:
        return bool(self.config.evaluate.sets)

    def _evaluate(self) -> EvaluationResult | None:
        """Measure in the leading process while the others wait."""
        model = self.state.best_model()
        if self._evaluator is None:
            return None
        return self._evaluator.measure(model, dtype=self.state.precision.dtype)

    def _prepare(self, model: TAESRModel, report: Report | None) -> TrainingData:
        """Make the cache of the data in one process; the others find it made."""
        config = self.config
        with self.world.leader_first():
            data = prepare(
                config.data,
                config.teachers,
                config.space,
                tokenizer=self._tokenizer,
                config=model.config,
                device=self.world.device,
                seed=config.seed,
                report=report if self.world.leads else None,
            )
        return data

    def _open_evaluator(self, model: TAESRModel) -> Evaluator | None:
        if not self.config.evaluate.sets or not self.world.leads:
            return None
        return Evaluator(self.config.evaluate, model.config, self._tokenizer)

    def _write_model(self, folder: Path) -> None:
        model = self.state.best_model()
        if self.world.leads:
            export_model(folder, model, self._tokenizer, self.config.export)
