"""The progress display."""

import io

import pytest

from taesr.cli import progress
from taesr.cli.progress import Progress


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Claim it."""
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, to be moved by tests."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_short_work_is_silent_where_there_is_no_terminal(clock: list[float]) -> None:
    stream = io.StringIO()
    with Progress(stream) as bar:
        for done in range(5):
            clock[0] += 0.9
            bar.update("ingest", done, 5)
    assert stream.getvalue() == ""


def test_long_work_is_a_plain_line_every_few_seconds(clock: list[float]) -> None:
    stream = io.StringIO()
    with Progress(stream) as bar:
        for done in range(61):
            bar.update("ingest", done, 120)
            clock[0] += 1
    lines = stream.getvalue().splitlines()
    assert len(lines) == 12
    assert lines[0] == "ingest: 5/120 (4%), 1/s, 1:55 left"
    assert lines[-1] == "ingest: 60/120 (50%), 1/s, 1:00 left"
    assert "\r" not in stream.getvalue()


def test_terminal_gets_one_line_that_is_redrawn_and_ended(clock: list[float]) -> None:
    stream = Terminal()
    with Progress(stream) as bar:
        for done in range(11):
            bar.update("encode", done, 10)
            clock[0] += 0.02
    drawn = stream.getvalue().split("\r")
    assert 3 <= len(drawn) <= 5  # ten a second
    assert "10/10 (100%)" in drawn[-1]
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue().count("\n") == 1


def test_new_label_begins_a_new_line(clock: list[float]) -> None:
    stream = Terminal()
    with Progress(stream) as bar:
        bar.update("queries", 1, 2)
        clock[0] += 1
        bar.update("documents", 1, 2)
    lines = stream.getvalue().splitlines()  # a carriage return ends one, too
    assert [line.removeprefix("\x1b[K").split()[0] for line in lines if line] == ["queries", "documents"]


def test_unknown_total_shows_count_and_speed(clock: list[float]) -> None:
    stream = io.StringIO()
    with Progress(stream) as bar:
        bar.update("encode", 0, None)
        clock[0] += 10
        bar.update("encode", 5000, None)
    assert stream.getvalue() == "encode: 5,000, 500/s, took 0:10\n"


def test_work_of_nothing_does_not_divide_by_zero(clock: list[float]) -> None:
    stream = Terminal()
    with Progress(stream) as bar:
        bar.update("ingest", 0, 0)
    assert "0/0 (0%)" in stream.getvalue()


def test_hours_are_written_as_hours(clock: list[float]) -> None:
    stream = io.StringIO()
    with Progress(stream) as bar:
        bar.update("encode", 0, 7300)
        clock[0] += 10
        bar.update("encode", 10, 7300)
    assert stream.getvalue().endswith("2:01:30 left\n")
