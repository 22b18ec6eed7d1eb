"""The parsing process: reads files from its parent and sends their text back.

Run by `sandbox.Sandbox` as a file, with its settings as a JSON argument.
"""

import json
import resource
import signal
import socket
import sys
import types
from pathlib import Path
from typing import Any


def _enter_package(path: list[str]) -> None:
    """Make ``taesr.ingest`` importable without running the package's own code, which imports torch."""
    sys.path[:] = path
    package = types.ModuleType("taesr")
    package.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["taesr"] = package


def _limit(memory_bytes: int) -> None:
    """Bound memory, forbid writing files, and leave interrupts to the parent."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _parse(name: str, data: bytes, settings: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The answer for one file; everything that goes wrong is a reason."""
    from taesr.ingest.limits import megabytes
    from taesr.ingest.loaders import load
    from taesr.ingest.outcome import UnreadableError

    try:
        parsed = load(name, data, max_pages=settings["pages"])
        header = {
            "title": parsed.title,
            "sections": [(section.path, section.begin, section.end) for section in parsed.sections],
            "metadata": parsed.metadata,
            "notes": parsed.notes,
        }
        return header, parsed.text.encode("utf-8")
    except UnreadableError as error:
        return {"reason": str(error)}, b""
    except MemoryError:
        limit = megabytes(settings["memory_bytes"])
        return {"reason": f"needs more than {limit} of memory to parse: split it", "restart": True}, b""
    except RecursionError:
        return {"reason": "nested too deeply"}, b""
    except ImportError as error:
        return {"reason": f"cannot be parsed: {error}; install it with pip"}, b""
    except Exception as error:  # a bug of a parser concerns this file only
        message = " ".join(str(error).split())[:200]
        return {"reason": f"cannot be parsed: {type(error).__name__}: {message}", "restart": True}, b""


def main() -> None:
    """Serve until the parent closes the connection."""
    settings = json.loads(sys.argv[1])
    _enter_package(settings["path"])
    from taesr.ingest import messages

    connection = socket.socket(fileno=settings["connection"])
    _limit(settings["memory_bytes"])
    messages.send(connection, {"ready": True}, b"")
    while True:
        try:
            header, data = messages.receive(connection)
        except EOFError:
            return
        # The parent keeps the time; this alarm ends a parser whose parent is gone.
        signal.setitimer(signal.ITIMER_REAL, settings["seconds"] + 5)
        answer, text = _parse(header["name"], bytes(data), settings)
        signal.setitimer(signal.ITIMER_REAL, 0)
        messages.send(connection, answer, text)


if __name__ == "__main__":
    main()
