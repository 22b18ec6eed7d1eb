"""A training run, whatever it trains: steps, measurements and checkpoints until its end or a signal."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch

from taesr.training import checkpoint as checkpoints
from taesr.training.checkpoint import Checkpoint, CheckpointFolder
from taesr.training.distributed import World
from taesr.training.log import Say
from taesr.training.reporting import Measurement, Reporter, RunConfig, versions
from taesr.training.run_state import RunState
from taesr.training.schedule import Cadence, Progress, share_done
from taesr.training.seeds import seed_everything
from taesr.training.stopping import StopRequest

Report = Callable[[str, int, int | None], None]  # what is being done, how much of it, of how much
Config = TypeVar("Config", bound=RunConfig)
State = TypeVar("State", bound=RunState)


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
    evaluation : Measurement, optional
        The last one of this run.
    """

    model: Path | None
    checkpoint: Path
    progress: Progress
    evaluation: Measurement | None


class Run(ABC, Generic[Config, State]):
    """One run: what it trains, and where it stands.

    Subclasses build the model and the data between this class's `__init__` and `_begin`.
    """

    def __init__(self, config: Config, world: World, *, say: Say | None = None) -> None:
        self.config = config
        self.world = world
        self.progress = Progress()
        self.evaluation: Measurement | None = None
        self._say = say
        self._output = Path(config.output)
        keep = config.checkpoints
        self._folder = CheckpointFolder(
            self._output / "checkpoints", keep_last=keep.keep_last, keep_best=keep.keep_best
        )
        self._saved = self._folder.find(keep.resume)
        if world.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # of the losses; the layers have config.precision
        seed_everything(config.seed)
        self._stopped = False
        self._measured = False
        self._share = 0.0
        self._tick = 0.0

    def _open_log(self) -> None:
        self._reporter = Reporter(self.config, self.world, say=self._say)

    def _begin(self, state: State) -> None:
        """Take what is trained, and go on from the checkpoint where there is one."""
        self.state = state
        seed_everything(self.config.seed + self.world.rank)
        if self._saved is not None:
            self._resume(self._saved)
        keep, evaluate = self.config.checkpoints, self.config.evaluate
        self._log_when = Cadence(self.progress, self.config.log.every)
        self._save_when = Cadence(self.progress, keep.every_steps, keep.every_seconds)
        self._evaluate_when = Cadence(self.progress, evaluate.every_steps, evaluate.every_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.state.close()
        self._reporter.close()

    def run(self) -> TrainResult:
        """Train to the end or until a signal; measure, keep checkpoints, and export the model."""
        parameters = list(self.state.weights.parameters())
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
                    self._reporter.step(self.progress, share=self._share, epoch=self._epoch)
                    self._reporter.skipped(self.progress, self.state.precision.check())
                self._measure_and_save(final)
        assert self._saved is not None  # the loop ends with a checkpoint or begins behind one
        if not self._stopped and not self._measured and self._measures:
            self._measure()  # the run had ended before
        model = None if self._stopped else self._export()
        signal = None if stop.received is None else stop.received.name
        self._reporter.end(self.progress, model, self._saved.path, signal)
        return TrainResult(model, self._saved.path, self.progress, self.evaluation)

    @abstractmethod
    def _step(self) -> int:
        """Take one optimiser step, for which the host waits for no device; return its tokens."""

    @property
    @abstractmethod
    def _epoch(self) -> int:
        """Passes over the data, from 0."""

    @property
    @abstractmethod
    def _measures(self) -> bool:
        """Whether there is anything to measure."""

    @abstractmethod
    def _evaluate(self) -> Measurement | None:
        """Measure the weights that would be exported; None in processes that leave it to the leader."""

    @abstractmethod
    def _write_model(self, folder: Path) -> None:
        """Write the model that comes out; every process calls it, and the leader writes."""

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
        measure = self._measures and (self._evaluate_when.due(self.progress) or self._ended)
        if self._save_when.due(self.progress) or measure or final:
            self._save(self._measure() if measure else None)
            self._tick = time.perf_counter()  # neither counts as training

    def _measure(self) -> float:
        begin = time.perf_counter()
        self._measured = True
        found = self._evaluate()
        if found is not None:
            self.evaluation = found
            self._reporter.evaluation(self.progress, found, time.perf_counter() - begin)
        return self.world.agree([0.0 if found is None else found.score])[0]

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

    def _export(self) -> Path:
        """Write the model folder, and training.json beside it."""
        folder = self._output / "model"
        self._write_model(folder)
        if self.world.leads:
            summary: dict[str, Any] = {
                **asdict(self.progress),
                "evaluation": None if self.evaluation is None else self.evaluation.figures,
                "config": self.config.to_dict(),
                **versions(self.world.device),
            }
            (self._output / "training.json").write_text(json.dumps(summary, indent=2) + "\n")
        self.world.wait()
        return folder
