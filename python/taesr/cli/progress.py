"""Progress of long work, on stderr: a bar on a terminal, a line every few seconds elsewhere."""

import shutil
import sys
import time
from types import TracebackType
from typing import Self, TextIO

_BAR_SECONDS = 0.1
_LINE_SECONDS = 5.0
_BAR_WIDTH = 24


class Progress:
    """Shows how far work is and how long it will still take.

    Use it as a context manager, so that the bar's line is ended before anything else is printed.

    Parameters
    ----------
    stream : TextIO, optional
        Where to write; stderr by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._label: str | None = None
        self._begin = 0.0
        self._first = 0
        self._shown = 0.0
        self._open_line = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_line()

    def update(self, label: str, done: int, total: int | None) -> None:
        """Report that `done` of `total` are done, None for unknown; a new label begins a new bar."""
        now = time.monotonic()
        if label != self._label:
            self.end_line()
            self._label, self._begin, self._first = label, now, done
            # Elsewhere than on a terminal, work of less than a few seconds stays silent.
            self._shown = 0.0 if self._terminal else now
        due = now - self._shown >= (_BAR_SECONDS if self._terminal else _LINE_SECONDS)
        if due or (self._terminal and done == total):
            self._shown = now
            self._show(label, done, total, now - self._begin)

    def _show(self, label: str, done: int, total: int | None, seconds: float) -> None:
        share = min(1.0, done / max(total, 1)) if total is not None else None
        text = f"{done:,}" if share is None else f"{done:,}/{total:,} ({share:.0%})"
        text += self._speed(done, total, seconds)
        if not self._terminal:
            print(f"{label}: {text}", file=self._stream, flush=True)
            return
        filled = round(_BAR_WIDTH * (share or 0.0))
        bar = "" if share is None else f"  {'█' * filled}{'░' * (_BAR_WIDTH - filled)}"
        line = f"{label}{bar}  {text}"
        self._stream.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
        self._stream.flush()
        self._open_line = True

    def _speed(self, done: int, total: int | None, seconds: float) -> str:
        """Speed and time left, from what was done since the first report."""
        since = done - self._first
        if since <= 0 or seconds <= 0:
            return ""
        speed = since / seconds
        if total is None or done >= total:
            return f", {speed:,.0f}/s, took {_clock(seconds)}"
        return f", {speed:,.0f}/s, {_clock((total - done) / speed)} left"

    def end_line(self) -> None:
        """End the bar's line, so that something else can be printed."""
        if self._open_line:
            self._stream.write("\n")
            self._stream.flush()
            self._open_line = False


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
