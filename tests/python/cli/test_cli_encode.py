"""taesr encode."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from fake_library import DIMENSION, FakeEncoder, Run

from taesr.cli import encode

pytestmark = pytest.mark.usefixtures("fake_library")


def test_every_line_becomes_a_json_object(run: Run) -> None:
    outcome = run("encode", "--role", "query", "--depth", "6", stdin=b"one two\nthree\n")
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [(row["depth"], row["tokens"]) for row in rows] == [(6, 2), (6, 1)]
    expected = FakeEncoder().encode(["one two", "three"], role="query")
    assert np.array_equal(np.array([row["embedding"] for row in rows], np.float32), expected)
    assert outcome.err == ""


def test_npy_file_holds_the_same_rows(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    lines = [f"line {'x' * (number % 40)}" for number in range(1500)]
    outcome = run("encode", "--dim", "4", "--output", path, stdin="\n".join(lines).encode())
    vectors = np.load(path)
    assert outcome.out == f"1500 embeddings in {path}\n"
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, FakeEncoder().encode(lines, dim=4))


def test_jsonl_file_holds_the_same_rows(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "vectors.jsonl"
    assert run("encode", "--output", path, stdin=b"one\ntwo").code == 0
    assert len([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]) == 2


@pytest.mark.parametrize(
    ("stdin", "texts"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\rb\n", ["a\rb"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        ("a\u2028b\x0cc\n".encode(), ["a\u2028b\x0cc"]),
        (b"no newline at the end", ["no newline at the end"]),
    ],
)
def test_row_n_is_line_n_whatever_the_line_holds(
    run: Run, tmp_path: Path, stdin: bytes, texts: list[str]
) -> None:
    path = tmp_path / "vectors.npy"
    assert run("encode", "--output", path, stdin=stdin).code == 0
    vectors = np.load(path)
    assert vectors.shape == (len(texts), DIMENSION)
    if texts:
        assert np.array_equal(vectors, FakeEncoder().encode(texts))


def test_invalid_utf8_is_named_with_its_line(run: Run) -> None:
    outcome = run("encode", stdin=b"fine\ncaf\xe9\n")
    assert outcome.code == 1
    assert outcome.err == "taesr: standard input, line 2: not valid UTF-8 (byte 0xe9 at column 4)\n"


def test_failure_leaves_the_old_file_and_nothing_else(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    path.write_bytes(b"old")
    assert run("encode", "--output", path, stdin=b"fine\n" * 2000 + b"\xff\n").code == 1
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_new_file_has_the_usual_permissions_and_a_link_stays_a_link(run: Run, tmp_path: Path) -> None:
    target, link = tmp_path / "target.npy", tmp_path / "link.npy"
    link.symlink_to(target)
    run("encode", "--output", link, stdin=b"a\n")
    plain = tmp_path / "plain"
    plain.touch()
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_folder_of_the_output_must_exist(run: Run, tmp_path: Path) -> None:
    outcome = run("encode", "--output", tmp_path / "nowhere" / "v.npy", stdin=b"a\n")
    assert outcome.code == 1
    assert outcome.err.endswith("v.npy: its folder does not exist\n")
    assert FakeEncoder.loaded == []


def test_what_the_model_refuses_is_one_line(run: Run) -> None:
    outcome = run("encode", "--dim", "9", stdin=b"a\n")
    assert outcome == (1, "", "taesr: dim is 9; allowed: 1 to 8\n")


class EndlessStream:
    """A stream that fails when more is read than has been worked on."""

    def __init__(self) -> None:
        self.lines = 0

    def readline(self, _: int) -> bytes:
        """Return another line."""
        self.lines += 1
        return b"x" * 99 + b"\n"


def test_input_is_read_line_by_line() -> None:
    stream = EndlessStream()
    lines = encode._lines(stream, encode.Shard(1, 1))  # type: ignore[arg-type]
    assert next(lines) == "x" * 99
    assert stream.lines == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_shards_share_the_lines_among_them(run: Run, tmp_path: Path, count: int) -> None:
    lines = [f"line {'x' * number}" for number in range(11)]
    whole = FakeEncoder().encode(lines)
    for number in range(1, count + 1):
        path = tmp_path / f"{number}.npy"
        outcome = run(
            "encode", "--shard", f"{number}/{count}", "--output", path, stdin="\n".join(lines).encode()
        )
        assert outcome.code == 0
        assert np.array_equal(np.load(path), whole[number - 1 :: count])


def test_lines_of_other_shards_need_not_be_text_and_faults_keep_their_number(run: Run) -> None:
    assert run("encode", "--shard", "1/2", stdin=b"fine\n\xff\nfine\n").code == 0
    outcome = run("encode", "--shard", "2/2", stdin=b"fine\n\xff\nfine\n")
    assert outcome.err == "taesr: standard input, line 2: not valid UTF-8 (byte 0xff at column 1)\n"


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "-1/2", "a/b", "1/2/3", "", "1.0/2", "٣/٤"])
def test_shards_that_do_not_exist_are_wrong_usage(run: Run, shard: str) -> None:
    outcome = run("encode", f"--shard={shard}", stdin=b"a\n")
    assert outcome.code == 2
    assert "is not I/N with I from 1 to N" in outcome.err


@pytest.mark.parametrize("flops", ["0", "-1", "nan", "inf", "many", ""])
def test_flops_that_are_no_budget_are_wrong_usage(run: Run, flops: str) -> None:
    outcome = run("encode", f"--max-flops={flops}", stdin=b"a\n")
    assert outcome.code == 2
    assert "is not a finite number above 0" in outcome.err


def test_budget_and_processes_reach_the_encoder(run: Run) -> None:
    assert run("encode", "--max-flops", "5e9", "--processes", "3", stdin=b"a\n").code == 0
    assert FakeEncoder.streams == [(5e9, 3)]


def test_what_happened_to_long_lines_is_said(run: Run, tmp_path: Path) -> None:
    stdin = b"short\n" + b"word " * 300 + b"\nshort\n"
    outcome = run("encode", "--output", tmp_path / "v.npy", stdin=stdin)
    assert outcome.err == "taesr: 1 of 3 lines were longer than one pass; their windows were averaged\n"
    outcome = run("encode", "--on-overflow", "truncate", "--output", tmp_path / "v.npy", stdin=stdin)
    assert outcome.err == "taesr: 1 of 3 lines were longer than one pass; their ends were not read\n"
    rows = [json.loads(line) for line in run("encode", stdin=stdin).out.splitlines()]
    assert [row["windows"] for row in rows] == [1, 3, 1]


def test_line_without_an_end_is_refused_before_it_fills_the_memory(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "_MAX_LINE_BYTES", 1 << 20)
    outcome = run("encode", stdin=b"a\n" + b"x" * (2 << 20))
    assert outcome.err == "taesr: standard input, line 2: longer than 1 MiB\n"
