"""The training loop."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from taesr.nn import TAESRModel
from taesr.training import checkpoint as checkpoints
from taesr.training.checkpoint import Checkpoint, CheckpointFolder
from taesr.training.config import TrainConfig
from taesr.training.data import TrainingData, prepare
from taesr.training.distributed import World, accumulating
from taesr.training.evaluate import EvaluationResult, Evaluator
from taesr.training.export import export_model
from taesr.training.log import Say
from taesr.training.model_setup import build_model, check_vocabulary, freeze, tokenizer_file
from taesr.training.reporting import Reporter, versions
from taesr.training.schedule import Cadence, Progress, share_done, step_size
from taesr.training.state import TrainingState, seed_everything
from taesr.training.stopping import StopRequest

Report = Callable[[str, int, int | None], None]  # what is being done, how much of it, of how much


@dataclass(frozen=True)
class TrainResult:
    """What a run ended with.

    Attributes
    ----------
    model : Path, optional
        Model folder; None where the run was stopped before its end.
    checkpoint : Path
        To go on from.
    progress : Progress
        Steps, tokens and seconds, those before a resume included.
    evaluation : EvaluationResult, optional
        The last one of this run.
    """

    model: Path | None
    checkpoint: Path
    progress: Progress
    evaluation: EvaluationResult | None


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


class Trainer:
    """One run: what it trains, and where it stands."""

    def __init__(
        self, config: TrainConfig, world: World, *, say: Say | None = None, report: Report | None = None
    ) -> None:
        self.config = config
        self.world = world
        self.progress = Progress()
        self.evaluation: EvaluationResult | None = None
        self._output = Path(config.output)
        keep = config.checkpoints
        self._folder = CheckpointFolder(
            self._output / "checkpoints", keep_last=keep.keep_last, keep_best=keep.keep_best
        )
        self._saved = self._folder.find(keep.resume)
        if world.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # of the losses; the layers have config.precision
        seed_everything(config.seed)
        model = build_model(config.model)
        freeze(model, config.freeze)
        self._tokenizer = tokenizer_file(config.model)
        check_vocabulary(model, self._tokenizer)
        self._evaluator = self._open_evaluator(model)
        self._reporter = Reporter(config, world, say=say)
        data = self._prepare(model, report)
        self.state = TrainingState(config, world, model, data, fit=self._saved is None)
        seed_everything(config.seed + world.rank)
        if self._saved is not None:
            self._resume(self._saved)
        self._log_when = Cadence(self.progress, config.log.every)
        self._save_when = Cadence(self.progress, keep.every_steps, keep.every_seconds)
        self._evaluate_when = Cadence(
            self.progress, config.evaluate.every_steps, config.evaluate.every_seconds
        )
        self._stopped = False
        self._measured = False
        self._share = 0.0
        self._tick = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.state.close()
        self._reporter.close()

    def run(self) -> TrainResult:
        """Train to the end or until a signal; measure, keep checkpoints, and export the model."""
        parameters = list(self.state.model.parameters())
        self._reporter.start(
            self.progress,
            sum(p.numel() for p in parameters),
            sum(p.numel() for p in parameters if p.requires_grad),
            None if self._saved is None else self._saved.path,
        )
        with StopRequest() as stop:
            self._tick = time.perf_counter()
            while not self._ended and not self._stopped:
                tokens = self._step()
                self._account(tokens, stop)
                final = self._ended or self._stopped
                if self._log_when.due(self.progress) or final:
                    self._reporter.step(self.progress, share=self._share, epoch=self.state.planner.epoch)
                    self._reporter.skipped(self.progress, self.state.precision.check())
                self._measure_and_save(final)
        assert self._saved is not None  # the loop ends with a checkpoint or begins behind one
        if not self._stopped and not self._measured and self.config.evaluate.sets:
            self._measure()  # the run had ended before
        model = None if self._stopped else self._export()
        signal = None if stop.received is None else stop.received.name
        self._reporter.end(self.progress, model, self._saved.path, signal)
        return TrainResult(model, self._saved.path, self.progress, self.evaluation)

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

    def _account(self, tokens: int, stop: StopRequest) -> None:
        """Agree with the other processes on tokens, time and whether to stop, all of it on the host."""
        now = time.perf_counter()
        seconds = now - self._tick if self.world.leads else 0.0
        self._tick = now
        everybody = self.world.total([float(tokens), seconds, float(stop.received is not None)])
        self.progress.tokens += int(everybody[0])
        self.progress.seconds += everybody[1]
        self._stopped = everybody[2] > 0 and not self._ended

    @property
    def _ended(self) -> bool:
        return share_done(self.progress, self.config.schedule) >= 1.0

    def _measure_and_save(self, final: bool) -> None:
        measure = bool(self.config.evaluate.sets) and (self._evaluate_when.due(self.progress) or self._ended)
        if self._save_when.due(self.progress) or measure or final:
            self._save(self._measure() if measure else None)
            self._tick = time.perf_counter()  # neither counts as training

    def _measure(self) -> float:
        """Measure the weights that would be exported, in the leading process while the others wait."""
        model, self._measured = self.state.best_model(), True
        if self._evaluator is not None:
            begin = time.perf_counter()
            self.evaluation = self._evaluator.measure(model, dtype=self.state.precision.dtype)
            self._reporter.evaluation(self.progress, self.evaluation, time.perf_counter() - begin)
        return self.world.agree([0.0 if self.evaluation is None else self.evaluation.score])[0]

    def _save(self, score: float | None) -> None:
        facts = {**asdict(self.progress), "config": self.config.to_dict()}
        self._saved = self._folder.save(self.state.capture(), self.world, self.progress.step, score, facts)
        self._reporter.checkpoint(self._saved)

    def _resume(self, found: Checkpoint) -> None:
        state = checkpoints.read(
            found, rank=self.world.rank, processes=self.world.size, with_ema=self.state.ema is not None
        )
        self.state.restore(state)
        self.progress = Progress(found.step, found.facts["tokens"], found.facts["seconds"])
        self._reporter.changed(found.facts["config"])

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

    def _export(self) -> Path:
        """Write the model folder, and training.json beside it."""
        folder, model = self._output / "model", self.state.best_model()
        if self.world.leads:
            export_model(folder, model, self._tokenizer, self.config.export)
            summary = {
                **asdict(self.progress),
                "evaluation": None if self.evaluation is None else self.evaluation.figures,
                "config": self.config.to_dict(),
                **versions(self.world.device),
            }
            (self._output / "training.json").write_text(json.dumps(summary, indent=2) + "\n")
        self.world.wait()
        return folder
