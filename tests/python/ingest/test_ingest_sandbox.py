"""The parsing process bounds what a file can cost, and survives what files do to it."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from taesr.errors import IoError
from taesr.ingest import Limits, messages, sandbox, worker
from taesr.ingest.outcome import UnreadableError
from taesr.ingest.sandbox import Sandbox


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A sandbox whose worker obeys the names of files: hang.txt, crash.txt, eat.txt, fork.txt, and others."""
    source = Path(worker.__file__).read_text()
    source = source.replace("parents[1]", "parents[0]").replace(
        "Path(__file__).resolve().parents[0]", repr(str(Path(worker.__file__).parents[1]))
    )
    hook = """
def _misbehave(name):
    import os, time
    if name == "hang.txt": time.sleep(100)
    if name == "spin.txt":
        while True: pass
    if name == "crash.txt": os.kill(os.getpid(), 11)
    if name == "exit.txt": os._exit(3)
    if name == "eat.txt": bytearray(10 << 30)
    if name == "recurse.txt": _misbehave("recurse.txt") or _misbehave(name)
    if name == "raise.txt": raise RuntimeError("two\\nlines")
    if name == "write.txt": os.write(os.open(__file__ + ".out", os.O_CREAT | os.O_WRONLY), b"x")
    if name == "torch.txt": raise RuntimeError(str("torch" in __import__("sys").modules))
"""
    source = source.replace("def main()", hook + "\ndef main()").replace(
        "    try:\n        parsed = load(", "    try:\n        _misbehave(name)\n        parsed = load("
    )
    assert "_misbehave(name)\n        parsed" in source
    path = tmp_path / "worker.py"
    path.write_text(source)
    monkeypatch.setattr(sandbox, "__file__", str(tmp_path / "sandbox.py"))
    with Sandbox(Limits(seconds=2, memory_bytes=512 << 20)) as made:
        yield made


def test_process_lives_from_file_to_file():
    with Sandbox(Limits()) as made:
        assert made.parse("a.txt", b"one").text == "one"
        first = made._process.pid
        for number in range(20):
            assert made.parse("a.md", f"# T{number}\n\nbody".encode()).title == f"T{number}"
        with pytest.raises(UnreadableError, match="empty file"):
            made.parse("a.txt", b"")
        assert made._process.pid == first
    assert made._process is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hang.txt", r"took longer than 2 s to parse"),
        ("spin.txt", r"took longer than 2 s to parse"),
        ("crash.txt", r"the parser crashed \(signal 11\)"),
        ("exit.txt", r"the parser crashed"),
        ("eat.txt", r"needs more than 512.0 MB of memory to parse: split it"),
        ("recurse.txt", r"nested too deeply"),
        ("raise.txt", r"cannot be parsed: RuntimeError: two lines"),
        ("write.txt", r"cannot be parsed: OSError: .*File too large"),
    ],
)
def test_misbehaviour_is_a_reason_and_the_next_file_is_read(hostile, name, reason):
    begin = time.monotonic()
    with pytest.raises(UnreadableError, match=reason):
        hostile.parse(name, b"x")
    assert time.monotonic() - begin < 15
    assert hostile.parse("fine.txt", b"fine").text == "fine"


def test_worker_does_not_import_torch(hostile):
    with pytest.raises(UnreadableError, match="RuntimeError: False"):
        hostile.parse("torch.txt", b"x")


def test_worker_killed_from_outside_is_replaced():
    with Sandbox(Limits()) as made:
        made.parse("a.txt", b"x")
        os.kill(made._process.pid, signal.SIGKILL)
        with pytest.raises(UnreadableError, match=r"crashed \(signal 9\)"):
            made.parse("a.txt", b"x")
        assert made.parse("a.txt", b"again").text == "again"


@pytest.fixture
def heeded_interrupts():
    """Ctrl-C as in a terminal; tests that a shell runs in the background inherit that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupts")
def test_interrupted_parse_leaves_no_answer_for_the_next(hostile):
    main = threading.main_thread().ident
    timer = threading.Timer(1.0, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        hostile.parse("hang.txt", b"x")
    timer.join()
    assert hostile.parse("fine.txt", b"fine").text == "fine"


def test_no_process_is_left_behind():
    with Sandbox(Limits()) as made:
        made.parse("a.txt", b"x")
        pid = made._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_worker_ends_when_its_parent_closes_the_connection():
    made = Sandbox(Limits())
    made.parse("a.txt", b"x")
    made._connection.close()
    assert made._process.wait(10) == 0
    made._connection = None
    made.close()


def test_process_that_does_not_start_is_an_error_that_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox, "__file__", str(tmp_path / "sandbox.py"))  # there is no worker.py beside it
    with Sandbox(Limits()) as made, pytest.raises(IoError, match="does not start"):
        made.parse("a.txt", b"x")


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 16,  # sizes of exabytes
        b"\0" * 7 + b"\x02" + b"\0" * 8 + b"[]",
        b"\0" * 7 + b"\x02" + b"\0" * 8 + b"{{",
        b"\0\0",
    ],
)
def test_answers_that_are_no_messages_are_refused(sent):
    ours, theirs = messages.socket.socketpair()
    with ours:
        theirs.sendall(sent)
        theirs.close()
        with pytest.raises(EOFError):
            messages.receive(ours, time.monotonic() + 5)
