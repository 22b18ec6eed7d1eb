"""Step size over the course of a training, and how far the training is."""

from dataclasses import dataclass, replace
from typing import Self

from taesr.training.config import ScheduleOptions


@dataclass
class Progress:
    """What has been done so far.

    Attributes
    ----------
    step : int
        Optimiser steps.
    tokens : int
        Trained on by all processes.
    seconds : float
        Spent in training.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def copy(self) -> Self:
        """The same figures, which stay as they are."""
        return replace(self)


class Cadence:
    """Something that is done every so often.

    Parameters
    ----------
    begin : Progress
        From where it is counted.
    steps, seconds
        Between two times; None for no such limit.
    """

    def __init__(self, begin: Progress, steps: int | None, seconds: float | None = None) -> None:
        self._last = begin.copy()
        self._steps = steps
        self._seconds = seconds

    def due(self, progress: Progress) -> bool:
        """Say whether it is time; if so, it counts as done now."""
        steps, seconds = progress.step - self._last.step, progress.seconds - self._last.seconds
        due = (self._steps is not None and steps >= self._steps) or (
            self._seconds is not None and seconds >= self._seconds
        )
        if due:
            self._last = progress.copy()
        return due


def share_done(progress: Progress, options: ScheduleOptions) -> float:
    """Return the share of the training that is done, 0 to 1, by the limit nearest to its end."""
    shares = [
        done / limit
        for done, limit in (
            (progress.step, options.steps),
            (progress.tokens, options.tokens),
            (progress.seconds, options.seconds),
        )
        if limit is not None
    ]
    return min(1.0, max(shares))


def step_size(progress: Progress, options: ScheduleOptions) -> float:
    """Return the step size of the next step as a share of the highest."""
    warm = min(1.0, (progress.step + 1) / options.warmup) if options.warmup else 1.0
    decay = options.decay if options.kind == "wsd" else 1.0
    fallen = max(0.0, share_done(progress, options) - (1.0 - decay)) / decay if decay else 0.0
    return warm * max(options.final, 1.0 - fallen * (1.0 - options.final))


def seconds_left(progress: Progress, options: ScheduleOptions) -> float | None:
    """Estimate the training time that is left; None before the first step."""
    done = share_done(progress, options)
    return progress.seconds * (1.0 - done) / done if done > 0 else None
