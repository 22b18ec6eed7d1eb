"""Streams of texts, in one process and in several."""

import dataclasses
import itertools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from taesr import Encoder, InvalidArgument, TAESRConfig, TAESRModel
from taesr.errors import Error, ModelMismatch
from taesr.streaming import windows
from tests.python.small_models import save, small_config

CONFIG = small_config(sparse_head=True, late_size=6)
TEXTS = [f"text {i} " + "printer offline " * (i * 7 % 9) for i in range(53)]
LONG = "the weather in the mountains is mild " * 20


def save_random(config: TAESRConfig, folder: Path) -> Path:
    torch.manual_seed(3)
    return save(TAESRModel(config), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random(CONFIG, tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def small(folder: Path) -> Encoder:
    """A model so small that the stream around it is what costs."""
    return Encoder.load(folder, precision="float32")


def rows(pieces: Iterator) -> np.ndarray:
    return np.concatenate([piece.embeddings for piece in pieces])


@pytest.mark.parametrize("window", [1, 20, 53, 1000])
def test_stream_gives_what_encode_gives_in_order(small: Encoder, window: int) -> None:
    pieces = list(small.encode_iter(iter(TEXTS), depth="hard", dim=4, window=window))
    assert [len(piece.depths) for piece in pieces] == [
        min(window, len(TEXTS) - begin) for begin in range(0, len(TEXTS), window)
    ]
    np.testing.assert_allclose(rows(iter(pieces)), small.encode(TEXTS, depth="hard", dim=4), atol=1e-5)


def test_stream_gives_every_head(small: Encoder) -> None:
    whole = small.encode_full(TEXTS)
    late = list(
        itertools.chain.from_iterable(
            piece.late for piece in small.encode_iter(TEXTS, outputs=("dense", "sparse", "late"), window=10)
        )
    )
    assert len(late) == len(TEXTS)
    for ours, expected in zip(late, whole.late, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_texts_are_read_only_when_results_are_asked_for(small: Encoder) -> None:
    read = itertools.count()
    stream = small.encode_iter((f"text {next(read)}" for _ in itertools.repeat(None)), window=5)
    assert next(read) == 0
    next(stream)
    assert next(read) == 6


def test_windows_end_with_their_number_of_texts_or_of_characters() -> None:
    texts = ["a" * 10] * 4 + ["b" * 1000] + ["c"]
    assert [(first, len(piece)) for first, piece in windows(texts, 3)] == [(0, 3), (3, 3)]
    assert [(first, len(piece)) for first, piece in windows(texts, 9, 20)] == [(0, 2), (2, 2), (4, 1), (5, 1)]
    assert list(windows([], 3)) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_no_texts_are_no_pieces(small: Encoder, processes: int) -> None:
    assert list(small.encode_iter([], processes=processes)) == []
    assert small.encode_multiprocess([], processes=processes, dim=4).shape == (0, 4)


def test_one_string_is_one_text(small: Encoder) -> None:
    assert [len(piece.depths) for piece in small.encode_iter("reset password")] == [1]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_the_iterator_raises_comes_after_the_windows_before(small: Encoder, processes: int) -> None:
    def failing() -> Iterator[str]:
        yield from TEXTS[:25]
        raise RuntimeError("the disk is gone")

    stream = small.encode_iter(failing(), window=10, processes=processes)
    assert len(next(stream).depths) == len(next(stream).depths) == 10
    with pytest.raises(RuntimeError, match="the disk is gone"):
        next(stream)
    assert multiprocessing.active_children() == []


def test_a_text_that_is_not_a_string_is_named_by_its_number_in_the_stream(small: Encoder) -> None:
    with pytest.raises(InvalidArgument, match=r"texts\[12\] is a NoneType"):
        list(small.encode_iter([*TEXTS[:12], None], window=5))


def test_what_happened_to_long_texts_is_reported_piece_by_piece(small: Encoder) -> None:
    texts = ["short", LONG, "short", "short", LONG, LONG]
    pieces = list(small.encode_iter(texts, window=2))
    assert [[count > 1 for count in piece.windows] for piece in pieces] == [
        [False, True],
        [False, False],
        [True, True],
    ]
    pieces = list(small.encode_iter(texts, window=2, on_overflow="truncate"))
    assert [piece.truncated for piece in pieces] == [1, 0, 2]
    assert all(set(piece.windows) == {1} for piece in pieces)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_text_that_is_refused_is_named_by_its_number_in_the_stream(small: Encoder, processes: int) -> None:
    stream = small.encode_iter(
        ["short", "a few"] * 5 + [LONG], window=4, on_overflow="error", processes=processes
    )
    next(stream)
    next(stream)
    with pytest.raises(InvalidArgument, match=r"text 10 has \d+ tokens; at most 22"):
        next(stream)


def test_a_huge_text_is_read_to_its_end(small: Encoder) -> None:
    text = "word " * 60_000
    first, second = small.encode_iter([text, "after"], depth="easy", window=100)
    assert first.windows[0] > 3000
    assert np.isfinite(first.embeddings).all()
    assert second.windows == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window is 0"),
        ({"window": 1.5}, "window is 1.5"),
        ({"window": float("nan")}, "window is nan"),
        ({"processes": 0}, "processes is 0"),
        ({"processes": -2}, "processes is -2"),
        ({"depth": "deep"}, "depth is 'deep'"),
        ({"dim": 17}, "dim is 17"),
        ({"outputs": []}, "outputs is empty"),
        ({"max_flops": 0}, "max_flops is 0"),
        ({"max_flops": -1.0}, "max_flops is -1"),
        ({"max_flops": float("nan")}, "max_flops is nan"),
        ({"max_flops": float("inf")}, "max_flops is inf"),
    ],
)
def test_wrong_options_are_refused_at_once(small: Encoder, options: dict, message: str) -> None:
    def unread() -> Iterator[str]:
        raise AssertionError("read")
        yield ""

    with pytest.raises(InvalidArgument, match=message):
        small.encode_iter(unread(), **options)


def test_threads_share_an_encoder(small: Encoder) -> None:
    expected = {depth: small.encode(TEXTS, depth=depth) for depth in ("easy", "hard")}
    wrong: list[object] = []

    def work(depth: str, streamed: bool) -> None:
        try:
            for _ in range(5):
                got = (
                    rows(small.encode_iter(TEXTS, depth=depth, window=7))
                    if streamed
                    else small.encode(TEXTS, depth=depth)
                )
                if not np.allclose(got, expected[depth], atol=1e-5):
                    wrong.append(depth)
        except Exception as error:  # a thread's error is not the test's
            wrong.append(error)

    threads = [
        threading.Thread(target=work, args=(depth, streamed))
        for depth in expected
        for streamed in (True, False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_processes_keep_the_order_and_leave_nothing_behind(small: Encoder) -> None:
    pieces = list(small.encode_iter(iter(TEXTS), depth="hard", window=5, processes=3))
    assert [len(piece.depths) for piece in pieces] == [5] * 10 + [3]
    np.testing.assert_allclose(rows(iter(pieces)), small.encode(TEXTS, depth="hard"), atol=1e-5)
    assert multiprocessing.active_children() == []
    vectors = small.encode_multiprocess(TEXTS, processes=2, dim=4, depth="easy")
    np.testing.assert_allclose(vectors, small.encode(TEXTS, dim=4, depth="easy"), atol=1e-5)


def test_a_stream_that_is_dropped_ends_its_processes(small: Encoder) -> None:
    stream = small.encode_iter(itertools.cycle(TEXTS), window=5, processes=2)
    next(stream)
    assert len(multiprocessing.active_children()) == 2
    stream.close()
    assert multiprocessing.active_children() == []


def test_a_process_that_is_killed_is_one_clear_error_and_no_hang(small: Encoder) -> None:
    stream = small.encode_iter(itertools.cycle(TEXTS), window=5, processes=2)
    for _ in range(2):  # both have loaded the model
        next(stream)
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(
        Error, match=r"encoding process \d of 2 was ended by signal 9 while it embedded texts"
    ):
        list(stream)
    assert multiprocessing.active_children() == []


def test_a_model_that_has_changed_since_it_was_loaded_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    encoder = Encoder.load(copy, precision="float32")
    torch.manual_seed(4)
    TAESRModel(CONFIG).save_pretrained(copy)
    with pytest.raises(ModelMismatch, match="has changed since it was loaded"):
        encoder.encode_multiprocess(TEXTS, processes=2)
    shutil.rmtree(copy)
    with pytest.raises(Error, match="not a model folder"):
        encoder.encode_multiprocess(TEXTS, processes=2)


def run_script(tmp_path: Path, folder: Path, body: str) -> "subprocess.Popen[str]":
    script = tmp_path / "script.py"
    script.write_text(
        "import itertools, multiprocessing, os, sys\n"
        "from taesr import Encoder\n"
        f"encoder = Encoder.load({str(folder)!r}, precision='float32')\n{body}"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


ENDLESS = """
if __name__ == "__main__":
    for piece in encoder.encode_iter(itertools.repeat("reset password"), window=50, processes=2):
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
"""


def wait_for_end(pid: int) -> bool:
    """Whether the process has gone within ten seconds."""
    for _ in range(200):
        stat = Path(f"/proc/{pid}/stat")
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_processes_go_when_the_one_that_started_them_goes(folder: Path, tmp_path: Path, how: str) -> None:
    script = run_script(tmp_path, folder, ENDLESS)
    assert script.stdout is not None
    children = [int(pid) for pid in script.stdout.readline().split()]
    assert len(children) == 2
    if how == "interrupt":  # as Ctrl-C on a terminal: everybody of the group gets it
        os.killpg(script.pid, signal.SIGINT)
    else:
        script.kill()
    _, errors = script.communicate(timeout=60)
    assert all(wait_for_end(pid) for pid in children)
    if how == "interrupt":
        assert errors.count("Traceback") == 1, errors
        assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_every_process_leaves_ctrl_c_to_the_one_that_started_it(folder: Path, tmp_path: Path) -> None:
    script = run_script(tmp_path, folder, ENDLESS)
    assert script.stdout is not None
    children = [int(pid) for pid in script.stdout.readline().split()]
    assert len(children) == 2
    blocked = [
        int(line.split()[1], 16)
        for pid in children
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("SigBlk:")
    ]
    script.kill()
    script.communicate(timeout=60)
    assert [mask >> (signal.SIGINT - 1) & 1 for mask in blocked] == [1, 1]


def test_a_script_without_a_guard_is_told_so(folder: Path, tmp_path: Path) -> None:
    script = run_script(
        tmp_path, folder, "print(encoder.encode_multiprocess(['a'] * 9, processes=2).shape)\n"
    )
    output, errors = script.communicate(timeout=120)
    assert output == ""
    assert script.returncode == 1
    assert 'guarded with: if __name__ == "__main__":' in errors.splitlines()[-1]


COUNTING = """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def stream(count):
    texts = (f"text {i} " + "printer offline " * (i * 7 % 9) for i in range(count))
    return sum(len(piece.embeddings) for piece in encoder.encode_iter(texts, depth="easy"))

stream(80_000)  # what allocators keep for good, they keep by now
before = resident()
print(stream(50_000), (resident() - before) / 2**20)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat_over_fifty_thousand_texts(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, sharing="cycle", entry_layers=0, shared_layers=1, exit_layers=0)
    script = run_script(tmp_path, save_random(config, tmp_path), COUNTING)
    output, errors = script.communicate(timeout=240)
    assert script.returncode == 0, errors
    count, growth = output.split()
    assert int(count) == 50_000
    assert float(growth) < 4, "MiB"
