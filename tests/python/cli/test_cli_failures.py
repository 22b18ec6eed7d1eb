"""What a command says when it fails, and how it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_library import Run

from taesr.cli.output import describe, print_json, use_utf8
from taesr.errors import FormatError, ModelMismatch

pytestmark = pytest.mark.usefixtures("fake_library")


def _failing(error: BaseException) -> Any:
    def open_collection(*_: object, **__: object) -> None:
        raise error

    return open_collection


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ModelMismatch("made with another model;\n  ingest again"), "made with another model; ingest again"),
        (FormatError("kb: damaged"), "kb: damaged"),
        (PermissionError(13, "Permission denied", "/kb/x"), "/kb/x: Permission denied"),
        (OSError("no details"), "internal error: OSError: no details (TAESR_DEBUG=1 shows the traceback)"),
        (MemoryError(), "out of memory; free some, or give the command less at a time"),
        (ImportError("taesr needs torch 2.13"), "taesr needs torch 2.13"),
        (KeyError("x"), "internal error: KeyError: 'x' (TAESR_DEBUG=1 shows the traceback)"),
    ],
    ids=repr,
)
def test_failure_is_one_line_on_stderr(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    monkeypatch.setattr("taesr.Collection.open", _failing(error))
    outcome = run("search", "x", "--collection", tmp_path, "--json")
    assert outcome == (1, "", f"taesr: {line}\n")
    assert describe(error) == line


def test_traceback_is_shown_on_request(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAESR_DEBUG", "1")
    monkeypatch.setattr("taesr.Collection.open", _failing(KeyError("x")))
    outcome = run("search", "x", "--collection", tmp_path)
    assert outcome.code == 1
    assert "Traceback (most recent call last)" in outcome.err
    assert "internal error: KeyError" in outcome.err.splitlines()[-1]


def test_interrupt_ends_with_130_and_a_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taesr.Collection.open", _failing(KeyboardInterrupt()))
    assert run("search", "x", "--collection", tmp_path) == (130, "", "taesr: interrupted\n")


_MAIN_WITH_LONG_OUTPUT = """
import sys
from taesr.cli import main, search
from taesr.cli.output import print_json
search.run = lambda arguments: [print_json(["x" * 100]) for _ in range(10000)] and 0
sys.exit(main(["search", "x", "--collection", "kb"]))
"""


def test_reader_that_stops_early_is_no_failure() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _MAIN_WITH_LONG_OUTPUT], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_output_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            [sys.executable, "-c", _MAIN_WITH_LONG_OUTPUT], stdout=full, stderr=subprocess.PIPE
        )
    assert process.stderr == b"taesr: No space left on device\n"
    assert process.returncode == 1


def test_interrupt_signal_ends_a_running_command_with_130() -> None:
    code = (
        "import signal, sys, time; from taesr.cli import main, search\n"
        # A shell that starts tests in the background makes them, and so this process, ignore the signal.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait(arguments): print('started', flush=True); time.sleep(60)\n"
        "search.run = wait; sys.exit(main(['search', 'x', '--collection', 'kb']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.communicate(timeout=20)[1] == b"taesr: interrupted\n"
    assert process.returncode == 130


def test_json_is_utf8_in_any_locale_and_bad_file_names_survive() -> None:
    code = (
        "import sys; from taesr.cli.output import *; use_utf8(sys.stdout); "
        "print_json({'document': 'caf\\u00e9 \\udcff.md'})"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=True
    ).stdout
    assert "café".encode() in out
    assert json.loads(out)["document"] == "café \udcff.md"


def test_json_without_a_standard_spelling_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"score": float("nan")})


def test_streams_that_cannot_be_reconfigured_are_left_alone() -> None:
    use_utf8(object())  # type: ignore[arg-type]
