"""Parses files in another process, with limits on its time and memory.

Files come from anywhere, and parsers have bugs: a bomb, a hang or a crash costs one file its turn and
nothing else. The process lives on from file to file and is replaced after a failure.
"""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from taesr.document import Section
from taesr.errors import IoError
from taesr.ingest import messages
from taesr.ingest.limits import Limits, megabytes
from taesr.ingest.outcome import Parsed, UnreadableError

_START_SECONDS = 60.0


class Sandbox:
    """A parsing process. Use it as a context manager, from one thread.

    Parameters
    ----------
    limits
        What one file may cost.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def parse(self, name: str, data: bytes) -> Parsed:
        """Text of a file's bytes.

        Raises
        ------
        UnreadableError
            With the reason, which may be that a limit was reached or the parser crashed.
        IoError
            When no process can be started.
        """
        connection = self._connection or self._start()
        deadline = time.monotonic() + self._limits.seconds
        try:
            connection.settimeout(self._limits.seconds)
            messages.send(connection, {"name": name}, data)
            header, text = messages.receive(connection, deadline)
            if header.get("restart"):
                self.close()
            return _parsed(header, text)
        except TimeoutError:
            self.close()
            raise UnreadableError(f"took longer than {self._limits.seconds:g} s to parse") from None
        except (EOFError, OSError):
            raise UnreadableError(self._cause_of_death()) from None
        except BaseException as error:
            if not isinstance(error, UnreadableError):
                self.close()  # interrupted: what is still to come belongs to this file
            raise

    def close(self) -> None:
        """End the process; the next file starts another."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._connection = self._process = None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        settings = {
            "path": [entry for entry in sys.path if entry],
            "connection": theirs.fileno(),
            "pages": self._limits.pages,
            "seconds": self._limits.seconds,
            "memory_bytes": self._limits.memory_bytes,
        }
        # Run as a file: `-m taesr...` would import the package, and torch with it. -B: writes nothing.
        worker = str(Path(__file__).with_name("worker.py"))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-B", worker, json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
            theirs.close()
            self._connection = ours
            messages.receive(ours, time.monotonic() + _START_SECONDS)
        except (OSError, EOFError) as error:
            theirs.close()
            ours.close()
            self.close()
            raise IoError(
                f"the process that parses files does not start ({sys.executable} {worker}): {error}"
            ) from error
        return ours

    def _cause_of_death(self) -> str:
        process = self._process
        status: int | None = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(1)
        self.close()
        if status is not None and status == -signal.SIGALRM:
            return f"took longer than {self._limits.seconds:g} s to parse"
        how = f" (signal {-status})" if status is not None and status < 0 else ""
        return f"the parser crashed{how}; it may use {megabytes(self._limits.memory_bytes)} of memory"


def _parsed(header: dict[str, Any], text: bytearray) -> Parsed:
    if "reason" in header:
        raise UnreadableError(str(header["reason"]))
    try:
        return Parsed(
            text=text.decode("utf-8"),
            title=str(header["title"]),
            sections=tuple(
                Section(str(path), int(begin), int(end)) for path, begin, end in header["sections"]
            ),
            metadata={str(key): value for key, value in header["metadata"].items()},
            notes=tuple(map(str, header["notes"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EOFError("not the result of a parser") from error
