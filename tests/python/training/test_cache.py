"""The cache folder: made once, made anew when it no longer fits, never half valid."""

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.python.training.pools import RULES, make_records, small_pool, write_pool

from taesr import ChecksumError, Error, FormatError, InvalidArgument, IoError
from taesr.training import cache as cache_module
from taesr.training.cache import Cache, locked, prepare_cache
from taesr.training.options import DataOptions, LongTextOptions, TeacherOptions
from taesr.training.pool import Role
from taesr.training.teachers import Floats, encode_pool, load_teacher, teacher_targets, token_batches


def make_options(folder: Path, **changes) -> DataOptions:
    values = {
        "pools": [write_pool(folder / "pool.jsonl", make_records())],
        "cache": str(folder / "cache"),
        "processes": 1,
        "long_texts": LongTextOptions(count=3, min_tokens=60, max_tokens=120),
    }
    return DataOptions(**(values | changes))


def stamp(cache: Cache) -> int:
    """Changes when the cache is made anew."""
    return cache.path("tokens.npy").stat().st_ino


def test_a_cache_that_fits_is_reused_and_gives_the_same_pool(tmp_path: Path) -> None:
    options = make_options(tmp_path)
    first = prepare_cache(options, RULES, seed=0)
    second = prepare_cache(options, RULES, seed=0)
    assert stamp(first) == stamp(second)
    assert first.pool_size == len(make_records())
    assert len(second.long) == 3
    for name in ("tokens", "starts", "role", "parent", "document"):
        assert np.array_equal(getattr(first.pool, name), getattr(second.pool, name)), name


def test_another_pool_limit_tokenizer_or_seed_makes_the_cache_anew(tmp_path: Path) -> None:
    options = make_options(tmp_path)
    seen = {stamp(prepare_cache(options, RULES, seed=0))}
    changes = [
        (options, dataclasses.replace(RULES, limits=(32, 16)), 0),
        (dataclasses.replace(options, long_texts=LongTextOptions(count=0)), RULES, 0),
        (options, RULES, 7),
    ]
    for changed, rules, seed in changes:
        cache = prepare_cache(changed, rules, seed=seed)
        cache.store_array("mark.npy", {}, np.zeros(1))
        again = prepare_cache(options, RULES, seed=0)
        assert not again.path("mark.npy").exists()
        seen.add(stamp(again))
    with open(options.pools[0], "a") as file:
        file.write('{"text": "one more", "role": "passage"}\n')
    assert prepare_cache(options, RULES, seed=0).pool_size == len(make_records()) + 1
    assert not list(tmp_path.glob(".cache.building*"))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    options = make_options(tmp_path)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "diary.txt").write_text("mine")
    with pytest.raises(InvalidArgument, match="not a cache of taesr; name another folder"):
        prepare_cache(options, RULES, seed=0)
    assert (tmp_path / "cache" / "diary.txt").read_text() == "mine"


def test_a_bad_pool_leaves_the_old_cache_and_nothing_else(tmp_path: Path) -> None:
    options = make_options(tmp_path)
    prepare_cache(options, RULES, seed=0)
    with open(options.pools[0], "a") as file:
        file.write("nonsense\n")
    with pytest.raises(FormatError):
        prepare_cache(options, RULES, seed=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "pool.jsonl"]
    assert (tmp_path / "cache" / "cache.json").exists()


@pytest.mark.parametrize("name", ["tokens.npy", "starts.npy", "meta.npz"])
def test_a_file_changed_or_lost_is_found(tmp_path: Path, name: str) -> None:
    options = make_options(tmp_path)
    path = prepare_cache(options, RULES, seed=0).path(name)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChecksumError, match=rf"{name} has changed"):
        prepare_cache(options, RULES, seed=0)
    path.unlink()
    with pytest.raises(ChecksumError, match=rf"{name} is missing"):
        prepare_cache(options, RULES, seed=0)


def test_a_damaged_or_newer_index_is_refused(tmp_path: Path) -> None:
    options = make_options(tmp_path)
    index = prepare_cache(options, RULES, seed=0).path("cache.json")
    content = json.loads(index.read_text())
    index.write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(FormatError, match=r"cache\.json is of another version"):
        prepare_cache(options, RULES, seed=0)
    index.write_text("{")
    with pytest.raises(FormatError, match=r"cache\.json is damaged"):
        prepare_cache(options, RULES, seed=0)


def _build_and_hang(options: DataOptions, ready: "multiprocessing.synchronize.Event") -> None:
    def hang(*_: object) -> None:
        ready.set()
        time.sleep(60)

    cache_module._write_index = hang  # everything but the index is written
    prepare_cache(options, RULES, seed=0)


def test_a_build_that_is_killed_leaves_no_cache_and_the_next_one_clears_up(tmp_path: Path) -> None:
    options = make_options(tmp_path)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_build_and_hang, args=(options, ready))
    process.start()
    assert ready.wait(60)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "cache").exists()
    assert (tmp_path / ".cache.building" / "tokens.npy").exists()
    assert prepare_cache(options, RULES, seed=0).pool_size == len(make_records())
    assert not (tmp_path / ".cache.building").exists()


def test_a_file_counts_only_when_it_is_whole(tmp_path: Path) -> None:
    cache = prepare_cache(make_options(tmp_path), RULES, seed=0)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        cache.store("targets/x.npy", {"a": 1}, fail)
    assert not cache.has("targets/x.npy", {"a": 1})
    assert list(cache.path("targets").iterdir()) == []
    cache.store_array("targets/x.npy", {"a": (1, 2)}, np.arange(3))
    assert cache.has("targets/x.npy", {"a": (1, 2)})
    assert not cache.has("targets/x.npy", {"a": (1, 3)})
    assert cache.load("targets/x.npy").tolist() == [0, 1, 2]
    cache.path("targets/x.npy").write_bytes(b"?")
    with pytest.raises(ChecksumError, match=r"x\.npy has changed"):
        cache.load("targets/x.npy")


def test_only_one_process_at_a_time_prepares(tmp_path: Path) -> None:
    import fcntl

    with (
        locked(tmp_path / "deep" / "cache"),
        open(tmp_path / "deep" / ".cache.lock") as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(tmp_path / "deep" / ".cache.lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


class LengthTeacher:
    """[length of the text, 1 for a query]: known for every row."""

    def encode(self, texts: Sequence[str], role: Role) -> Floats:
        return np.array([[len(text), role == "query"] for text in texts], np.float32)


def test_a_teachers_vectors_are_unit_rows_in_the_order_of_the_pool(tmp_path: Path) -> None:
    records = make_records()
    path = write_pool(tmp_path / "pool.jsonl", records)
    reports: list[tuple[str, int, int | None]] = []
    encode_pool(LengthTeacher(), "t", [path], len(records), tmp_path / "t.npy", lambda *r: reports.append(r))
    found = np.load(tmp_path / "t.npy")
    expected = np.array([[len(r["text"]), r["role"] == "query"] for r in records], float)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert found.dtype == np.float16
    assert np.allclose(found, expected, atol=1e-3)
    assert reports[-1] == ("teacher t", len(records), len(records))


def test_a_teacher_that_gives_nonsense_is_named(tmp_path: Path) -> None:
    class Broken:
        def encode(self, texts: Sequence[str], role: Role) -> Floats:
            return np.full((len(texts), 2), np.nan, np.float32)

    path = write_pool(tmp_path / "pool.jsonl", make_records())
    with pytest.raises(FormatError, match="teacher bad gives vectors that are not finite"):
        encode_pool(Broken(), "bad", [path], 100, tmp_path / "t.npy")


def test_a_taesr_teacher_gives_what_the_library_gives_and_is_run_once(tmp_path: Path) -> None:
    import taesr

    model = Path(taesr.__file__).parent / "models" / "default"
    records = make_records(topics=2, passages=2, queries=1)
    pool = small_pool(tmp_path, records=records, long_texts=LongTextOptions(count=0))
    options = TeacherOptions(
        name="own", kind="taesr", path=str(model), prompts={"query": "river: "}, batch_tokens=256
    )
    cache = prepare_cache(pool.options, RULES, seed=0)
    vectors, identity = teacher_targets(options, cache, pool.options.pools, torch.device("cpu"), None)
    encoder = taesr.Encoder.load(model, precision="float32")
    for record, vector in zip(records, vectors, strict=True):
        text = ("river: " if record["role"] == "query" else "") + record["text"]
        expected = encoder.encode([text], role=record["role"], depth="hard")[0]
        assert float(vector.astype(np.float32) @ expected) > 0.9999
    made = cache.path("targets/own.npy").stat().st_mtime_ns
    again = teacher_targets(options, cache, pool.options.pools, torch.device("cpu"), None)
    assert again[1] == identity
    assert cache.path("targets/own.npy").stat().st_mtime_ns == made
    changed = dataclasses.replace(options, prompts={})
    assert teacher_targets(changed, cache, pool.options.pools, torch.device("cpu"), None)[1] != identity


def test_cached_vectors_must_fit_the_pool_and_their_digest(tmp_path: Path) -> None:
    cache = prepare_cache(make_options(tmp_path), RULES, seed=0)
    path = tmp_path / "t.npy"
    options = TeacherOptions(name="t", kind="cached", path=str(path))

    def load(o: TeacherOptions = options) -> object:
        return teacher_targets(o, cache, [], torch.device("cpu"), None)

    with pytest.raises(IoError, match=r"t\.npy"):
        load()
    path.write_bytes(b"no array")
    with pytest.raises(FormatError, match=r"is not a \.npy file"):
        load()
    np.save(path, np.zeros(4, np.float16))
    with pytest.raises(FormatError, match="must be float16 or float32"):
        load()
    np.save(path, np.zeros((5, 4), np.float16))
    with pytest.raises(FormatError, match=rf"has 5 rows, the pool {cache.pool_size} texts"):
        load()
    np.save(path, np.zeros((cache.pool_size, 4), np.float16))
    load()
    with pytest.raises(FormatError, match="has SHA-256"):
        load(dataclasses.replace(options, sha256="0" * 64))


def test_a_teacher_whose_package_or_folder_is_missing_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = TeacherOptions(name="t", kind="sentence-transformers", path=str(tmp_path / "none"))
    with pytest.raises(IoError, match=r"teacher t: .*none' is not a folder"):
        load_teacher(options, torch.device("cpu"))
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(Error, match="pip install sentence-transformers"):
        load_teacher(dataclasses.replace(options, path=str(tmp_path)), torch.device("cpu"))


def test_token_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 333)
    batches = token_batches(lengths, 200)
    assert sorted(np.concatenate(batches).tolist()) == list(range(333))
    assert all(len(rows) * lengths[rows].max() <= 200 for rows in batches)
