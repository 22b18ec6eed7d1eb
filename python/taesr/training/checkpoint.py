"""Checkpoints to go on from: folders that are whole or not there at all.

``step-00000120/`` holds ``model.safetensors``, ``ema.safetensors`` (where there is an average),
``training.pt`` (optimiser and loss scale), ``process-R.pt`` (random state and place in the data of
process R) and ``checkpoint.json`` (progress, score, configuration). A checkpoint is written under
another name and renamed when all of it is on the disk.
"""

import dataclasses
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taesr._native import core
from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.training.distributed import World

_PREFIX = "step-"
_PARTIAL = ".partial-"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk.

    Attributes
    ----------
    path : Path
    step : int
    score : float, optional
        Of its evaluation, more is better; None where it was not measured.
    facts : dict
        All of checkpoint.json.
    """

    path: Path
    step: int
    score: float | None
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class CheckpointState:
    """What a checkpoint holds; tensors are whole and on the CPU.

    Attributes
    ----------
    model, ema : dict of str to Tensor
        By parameter name; `ema` is empty where no average is kept.
    training : dict
        The same in all processes: optimisers and loss scale.
    process : dict
        Of this process: random state and place in the data.
    """

    model: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor]
    training: dict[str, Any]
    process: dict[str, Any]


class CheckpointFolder:
    """The checkpoints of one run.

    Parameters
    ----------
    folder
        Made when the first checkpoint is written.
    keep_last, keep_best
        How many of the newest, and of those with the best scores, outlive the next one.
    """

    def __init__(self, folder: Path, *, keep_last: int, keep_best: int) -> None:
        self.folder = folder
        self._keep_last = keep_last
        self._keep_best = keep_best

    def all(self) -> list[Checkpoint]:
        """Every whole checkpoint, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            (describe(path) for path in self.folder.glob(f"{_PREFIX}*") if path.is_dir()),
            key=lambda checkpoint: checkpoint.step,
        )

    def partial(self, step: int) -> Path:
        """Folder in which the checkpoint of `step` is put together."""
        return self.folder / f"{_PARTIAL}{step:08}"

    def path(self, step: int) -> Path:
        """Folder of the checkpoint of `step`."""
        return self.folder / f"{_PREFIX}{step:08}"

    def begin(self, step: int) -> None:
        """Make an empty folder for a new checkpoint; what interrupted writing left behind goes."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(f"{_PARTIAL}*"):
                shutil.rmtree(left)
            self.partial(step).mkdir()
        except OSError as error:
            raise IoError(f"cannot write checkpoints in '{self.folder}': {error.strerror}") from error

    def finish(self, step: int, score: float | None, facts: dict[str, Any]) -> Checkpoint:
        """Give the checkpoint its name, when every process has written its part; drop superseded ones."""
        partial, final = self.partial(step), self.path(step)
        (partial / "checkpoint.json").write_text(
            json.dumps({**facts, "step": step, "score": score}, indent=2)
        )
        for path in (*partial.iterdir(), partial):
            _sync(path)
        if final.exists():  # of a run that was taken up again from before this step
            final.rename(self.folder / f"{_PARTIAL}replaced")
        partial.rename(final)
        _sync(self.folder)
        shutil.rmtree(self.folder / f"{_PARTIAL}replaced", ignore_errors=True)
        for old in superseded(self.all(), keep_last=self._keep_last, keep_best=self._keep_best):
            shutil.rmtree(old.path)
        return describe(final)

    def save(
        self, state: CheckpointState, world: World, step: int, score: float | None, facts: dict[str, Any]
    ) -> Checkpoint:
        """Write a checkpoint; every process writes its part and calls this."""
        if world.leads:
            self.begin(step)
            write_shared(self.partial(step), state)
        world.wait()
        write_process(self.partial(step), world.rank, state.process)
        world.wait()
        if world.leads:
            self.finish(step, score, facts)
        world.wait()
        return describe(self.path(step))

    def find(self, resume: str) -> Checkpoint | None:
        """Find the checkpoint that the option `resume` asks for: "auto", "off" or a path.

        Raises InvalidArgument for "off" where there are checkpoints already: a run that begins
        anew must not mix its own with another's.
        """
        if resume not in ("auto", "off"):
            return describe(Path(resume))
        present = self.all()
        if resume == "auto":
            return present[-1] if present else None
        if present:
            raise InvalidArgument(
                f"'{self.folder}' has checkpoints up to step {present[-1].step}; give another output "
                "folder, delete them, or go on from them with --resume auto"
            )
        return None


def superseded(checkpoints: list[Checkpoint], *, keep_last: int, keep_best: int) -> list[Checkpoint]:
    """Return those neither among the newest nor the best; the newer of equal scores is better."""
    newest = sorted(checkpoints, key=lambda checkpoint: checkpoint.step)[-keep_last:]
    scored = [checkpoint for checkpoint in checkpoints if checkpoint.score is not None]
    best = sorted(scored, key=lambda checkpoint: (checkpoint.score, checkpoint.step), reverse=True)[
        :keep_best
    ]
    kept = {checkpoint.path for checkpoint in (*newest, *best)}
    return [checkpoint for checkpoint in checkpoints if checkpoint.path not in kept]


def describe(path: Path) -> Checkpoint:
    """Read checkpoint.json; raises IoError, or FormatError where it is no checkpoint's."""
    file = path / "checkpoint.json"
    try:
        facts = json.loads(file.read_text())
        return Checkpoint(path, int(facts["step"]), facts["score"], facts)
    except OSError as error:
        raise IoError(f"'{path}' is not a checkpoint: {file.name}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"'{file}' is damaged: {error}") from None


def write_shared(folder: Path, state: CheckpointState) -> None:
    """Write the part that is the same in all processes."""
    core.save_weights(str(folder / "model.safetensors"), state.model)
    if state.ema:
        core.save_weights(str(folder / "ema.safetensors"), state.ema)
    torch.save(state.training, folder / "training.pt")


def write_process(folder: Path, rank: int, process: dict[str, Any]) -> None:
    """Write the part of one process."""
    torch.save(process, folder / f"process-{rank}.pt")


def read(checkpoint: Checkpoint, *, rank: int, processes: int, with_ema: bool) -> CheckpointState:
    """Read a checkpoint.

    Raises
    ------
    InvalidArgument
        It was written by another number of processes, or without the average that is asked for.
    IoError, FormatError
        Name the file.
    """
    written = len(list(checkpoint.path.glob("process-*.pt")))
    if written != processes:
        raise InvalidArgument(
            f"'{checkpoint.path}' was written by {written} processes and this run has {processes}; the data "
            f"goes on in its order only with {written} (torchrun --nproc-per-node)"
        )
    ema_file = checkpoint.path / "ema.safetensors"
    if with_ema and not ema_file.exists():
        raise InvalidArgument(f"'{checkpoint.path}' has no average of the weights; set ema to 0")
    return CheckpointState(
        model=core.load_weights(str(checkpoint.path / "model.safetensors")),
        ema=core.load_weights(str(ema_file)) if with_ema else {},
        training=_load(checkpoint.path / "training.pt"),
        process=_load(checkpoint.path / f"process-{rank}.pt"),
    )


def random_state() -> dict[str, Any]:
    """State of every random generator of this process."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Take over what `random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _load(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content
    except OSError as error:
        raise IoError(f"'{path}': {error.strerror}") from error
    except Exception as error:  # torch raises what its pickle reader happens to meet
        raise FormatError(f"'{path}' is damaged: {type(error).__name__}") from error


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
