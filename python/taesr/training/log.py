"""Where a run's figures go: a JSON-lines file, lines for people, Weights & Biases."""

import importlib
import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from taesr.errors import InvalidArgument, IoError
from taesr.training.config import LogOptions

Say = Callable[[str], None]


class Meter:
    """Sums of figures that live on the device until somebody reads them."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, torch.Tensor]) -> None:
        """Add scalars; nothing waits for the device."""
        for name, value in values.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self, total: Callable[[list[float]], list[float]]) -> dict[str, float]:
        """Wait for the device; return means since the last call.

        `total` sums figures over processes. All of them train the same depths, so they have the
        same names.
        """
        if not self._sums:
            return {}
        names = sorted(self._sums)
        sums = total(torch.stack([self._sums[name] for name in names]).tolist())
        counts = total([float(self._counts[name]) for name in names])
        self._sums, self._counts = {}, {}
        return {name: value / count for name, value, count in zip(names, sums, counts, strict=True)}


class RunLog:
    """The log of one run, written by the leading process.

    Every line of the file is a JSON object with "event" and "time" (seconds since 1970): "start"
    (configuration, versions, hardware), "step", "evaluation", "checkpoint", "warning", "end". A
    resumed run appends to it.

    Parameters
    ----------
    folder
        Of the run.
    options
        Of the configuration.
    say
        Gets a line for people for what they want to see at once; None for silence.
    """

    def __init__(self, folder: Path, options: LogOptions, *, say: Say | None = None) -> None:
        self._say = say or (lambda line: None)
        self._path = folder / options.jsonl
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
            if self._file.tell() and not _ends_a_line(self._path):
                self._file.write("\n")  # a killed run's last line may be cut off
        except OSError as error:
            raise IoError(f"cannot write the log '{self._path}': {error.strerror}") from error
        self._wandb: Any = None if options.wandb == "off" else _start_wandb(folder, options)

    def write(self, event: str, facts: Mapping[str, Any], *, line: str | None = None) -> None:
        """Write one event, and `line` for people."""
        row = {"event": event, "time": round(time.time(), 3), **facts}
        self._file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        self._file.flush()
        if self._wandb is not None:
            self._to_wandb(event, facts)
        if line is not None:
            self._say(line)

    def close(self) -> None:
        """End the log."""
        self._file.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _to_wandb(self, event: str, facts: Mapping[str, Any]) -> None:
        if event == "start":
            self._wandb.config.update(facts, allow_val_change=True)
        elif event in ("step", "evaluation"):
            numbers = _flat(facts)
            self._wandb.log({f"{event}/{name}": value for name, value in numbers.items()}, step=facts["step"])


def duration(seconds: float) -> str:
    """Write a time as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def quantity(number: float) -> str:
    """Write a count in three digits: 950, 12.3k, 1.24M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def _start_wandb(folder: Path, options: LogOptions) -> Any:
    if importlib.util.find_spec("wandb") is None:
        raise InvalidArgument(
            f"log.wandb is {options.wandb}, but wandb is not installed; pip install wandb, or set "
            "log.wandb to off"
        )
    wandb: Any = importlib.import_module("wandb")

    return wandb.init(
        project=options.project, name=options.name, dir=str(folder), mode=options.wandb, resume="allow"
    )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            numbers |= _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[prefix + name] = value
    return numbers


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
