"""What a run tells on its way: events for the log, lines for people."""

import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from taesr._build import __version__
from taesr.training.checkpoint import Checkpoint
from taesr.training.config import CheckpointOptions, LogOptions, OptimizerOptions, ScheduleOptions
from taesr.training.distributed import World
from taesr.training.fields import differences
from taesr.training.log import Meter, RunLog, Say, duration, quantity
from taesr.training.schedule import Progress, seconds_left, share_done

HARMLESS = ("output", "checkpoints", "evaluate", "log", "export")  # settings that change no loss


class Every(Protocol):
    """How often something is done; None for never."""

    @property
    def every_steps(self) -> int | None: ...
    @property
    def every_seconds(self) -> float | None: ...


class RunConfig(Protocol):
    """What the configurations of all runs have."""

    @property
    def output(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def optimizer(self) -> OptimizerOptions: ...
    @property
    def schedule(self) -> ScheduleOptions: ...
    @property
    def checkpoints(self) -> CheckpointOptions: ...
    @property
    def evaluate(self) -> Every: ...
    @property
    def log(self) -> LogOptions: ...
    def to_dict(self) -> dict[str, Any]:
        """Fields by name, JSON types only."""


class Measurement(Protocol):
    """What an evaluation found."""

    @property
    def score(self) -> float:
        """More is better."""

    @property
    def figures(self) -> dict[str, Any]:
        """For the log."""

    def summary(self) -> str:
        """Write it in one line."""


class Reporter:
    """Turns what happens into events; in other processes than the leading one it writes nothing.

    Parameters
    ----------
    config, world
        Of the run.
    say
        Gets the lines for people.
    """

    def __init__(self, config: RunConfig, world: World, *, say: Say | None = None) -> None:
        self.meter = Meter()
        self._config = config
        self._world = world
        self._log = RunLog(Path(config.output), config.log, say=say) if world.leads else None
        self._last = Progress()

    def start(self, progress: Progress, parameters: int, trained: int, resumed_from: Path | None) -> None:
        """Tell what begins."""
        self._last = progress.copy()
        facts = {
            "config": self._config.to_dict(),
            "parameters": parameters,
            "trained_parameters": trained,
            "processes": self._world.size,
            "resumed_from": None if resumed_from is None else str(resumed_from),
            **asdict(progress),
            **versions(self._world.device),
        }
        line = f"training {quantity(trained)} of {quantity(parameters)} parameters on {facts['hardware']}"
        if self._world.size > 1:
            line += f", {self._world.size} processes"
        if resumed_from is not None:
            line += f"; going on from {resumed_from}"
        self._write("start", facts, line)

    def step(self, progress: Progress, *, share: float, epoch: int) -> None:
        """Tell the means of the figures since the last call; waits for the device; in every process.

        `share` is the last step's size as a share of the highest.
        """
        figures = self.meter.read(self._world.total)
        if not figures:
            return
        seconds = max(progress.seconds - self._last.seconds, 1e-9)
        speed = (progress.tokens - self._last.tokens) / seconds
        schedule = self._config.schedule
        lr = self._config.optimizer.lr * share
        facts = {
            **asdict(progress),
            "done": share_done(progress, schedule),
            "epoch": epoch,
            "lr": lr,
            "tokens_per_second": speed,
            **figures,
        }
        if self._world.device.type == "cuda":
            facts["memory_gib"] = torch.cuda.max_memory_allocated(self._world.device) / 2**30
        left = seconds_left(progress, schedule)
        parts = " ".join(f"{name} {value:.4g}" for name, value in figures.items() if name != "loss")
        line = (
            f"step {progress.step} ({facts['done']:.0%})  {quantity(speed)} tokens/s  "
            f"{duration(left or 0.0)} left  loss {figures['loss']:.4f} ({parts})  lr {lr:.2e}"
        )
        self._write("step", facts, line)
        self._last = progress.copy()

    def evaluation(self, progress: Progress, result: Measurement, took: float) -> None:
        """Tell what was measured."""
        facts = {"step": progress.step, "score": result.score, "figures": result.figures, "took": took}
        self._write("evaluation", facts, f"{result.summary()}  ({took:.1f} s)")

    def checkpoint(self, saved: Checkpoint) -> None:
        """Tell that a checkpoint was written."""
        self._write("checkpoint", {"step": saved.step, "score": saved.score, "path": str(saved.path)})

    def changed(self, before: dict[str, Any]) -> None:
        """Warn of settings that differ from those of the checkpoint that the run goes on from."""
        paths = differences(before, self._config.to_dict())
        paths = [path for path in paths if path.split(".")[0] not in HARMLESS]
        if paths:
            names = ", ".join(paths)
            self._write("warning", {"changed": paths}, f"warning: other settings than before: {names}")

    def skipped(self, progress: Progress, steps: int) -> None:
        """Warn of steps that were not taken."""
        if steps:
            line = f"warning: {steps} steps were skipped because their gradients were not finite"
            self._write("warning", {"step": progress.step, "skipped_steps": steps}, line)

    def end(self, progress: Progress, model: Path | None, checkpoint: Path, signal: str | None) -> None:
        """Tell how it ended."""
        facts = {
            **asdict(progress),
            "model": None if model is None else str(model),
            "checkpoint": str(checkpoint),
            "signal": signal,
        }
        done = f"{progress.step} steps, {quantity(progress.tokens)} tokens in {duration(progress.seconds)}"
        line = (
            f"stopped after {done}; checkpoint: {checkpoint}" if model is None else f"{done}; model: {model}"
        )
        self._write("end", facts, line)

    def close(self) -> None:
        """End the log."""
        if self._log is not None:
            self._log.close()

    def _write(self, event: str, facts: dict[str, Any], line: str | None = None) -> None:
        if self._log is not None:
            self._log.write(event, facts, line=line)


def versions(device: torch.device) -> dict[str, str]:
    """Name what the figures of a run depend on beside its configuration."""
    cuda = device.type == "cuda"
    return {
        "taesr": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hardware": torch.cuda.get_device_name(device)
        if cuda
        else f"CPU ({torch.get_num_threads()} threads)",
    }
