"""Step sizes against their formulas."""

import pytest

from taesr.training.config import ScheduleOptions
from taesr.training.schedule import Cadence, Progress, seconds_left, share_done, step_size


def sizes(options: ScheduleOptions, steps: int) -> list[float]:
    return [step_size(Progress(step), options) for step in range(steps)]


def test_warmup_stable_decay() -> None:
    options = ScheduleOptions(kind="wsd", warmup=4, decay=0.5, final=0.1, steps=20)
    expected = [0.25, 0.5, 0.75, 1.0] + [1.0] * 6 + [1 - 0.9 * (step - 10) / 10 for step in range(10, 20)]
    assert sizes(options, 20) == pytest.approx(expected)


def test_linear() -> None:
    options = ScheduleOptions(kind="linear", warmup=2, final=0.0, steps=10)
    assert sizes(options, 10) == pytest.approx([0.5, 0.9, *[1 - step / 10 for step in range(2, 10)]])


def test_without_warmup_and_decay_it_is_constant() -> None:
    assert sizes(ScheduleOptions(kind="wsd", warmup=0, decay=0.0, steps=5), 5) == [1.0] * 5


@pytest.mark.parametrize(
    ("limits", "share"),
    [
        ({"steps": 100}, 0.5),
        ({"tokens": 4000}, 0.25),
        ({"seconds": 12.0}, 0.25),
        ({"steps": 100, "tokens": 1250, "seconds": 12.0}, 0.8),
        ({"steps": 20}, 1.0),
    ],
)
def test_progress_is_that_of_the_limit_nearest_to_its_end(limits: dict[str, float], share: float) -> None:
    progress = Progress(step=50, tokens=1000, seconds=3.0)
    options = ScheduleOptions(**limits)  # type: ignore[arg-type]
    assert share_done(progress, options) == pytest.approx(share)


def test_time_left_is_extrapolated() -> None:
    options = ScheduleOptions(steps=100)
    assert seconds_left(Progress(), options) is None
    assert seconds_left(Progress(step=25, seconds=10.0), options) == pytest.approx(30.0)


def test_a_cadence_counts_from_the_last_time() -> None:
    cadence = Cadence(Progress(step=5), steps=3)
    assert [step for step in range(6, 16) if cadence.due(Progress(step=step))] == [8, 11, 14]
    timed = Cadence(Progress(), None, seconds=2.0)
    assert [t for t in range(1, 9) if timed.due(Progress(step=t, seconds=0.8 * t))] == [3, 6]
    assert not Cadence(Progress(), None).due(Progress(step=10**6, seconds=1e9))
