"""Ray Data, run in a process of its own."""

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from taesr import Encoder, InvalidArgument, TAESRModel
from tests.python.small_models import save, small_config

pytest.importorskip("ray.data", reason="needs Ray Data: pip install 'taesr[ray]'")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'taesr[ray]'")
arrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'taesr[ray]'")
from taesr.integrations.ray import (  # noqa: E402
    EncodeColumn,
    Workers,
    _BatchEncoder,
    _FileEncoder,
    encode_dataset,
    encode_files,
)

PROGRAM = Path(__file__).with_name("ray_program.py")
# Ray listens at every address of a machine: it gets a network of its own, with nothing else in it.
# With process numbers of its own, too, all that it starts ends with it.
ALONE = [
    *("unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("sh", "-c", 'ip link set lo up && exec "$@"', "sh"),
]


@functools.cache
def _can_be_alone() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return save(TAESRModel(small_config()), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def outcome(model: Path) -> Iterator[dict[str, Any]]:
    """What ray_program.py found."""
    if not _can_be_alone():
        pytest.skip("Ray needs a network of its own here: unshare and ip, with user namespaces allowed")
    # Ray's sockets lie in its folder, and their paths must be short.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        _write_inputs(Path(folder) / "in")
        python_path = os.pathsep.join([str(PROGRAM.parents[3]), *filter(None, sys.path)])
        environment = os.environ | {"HOME": folder, "PYTHONPATH": python_path, "RAY_TMPDIR": folder}
        done = subprocess.run(
            [*ALONE, sys.executable, str(PROGRAM), folder, str(model)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        result: dict[str, Any] = json.loads((Path(folder) / "result.json").read_text())
        yield result


def _write_inputs(folder: Path) -> None:
    folder.mkdir()
    texts = [f"text {i} — ü" for i in range(10)] + [""]
    parquet.write_table(arrow.table({"id": list(range(11)), "text": texts}), folder / "a.parquet")
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": text, "x": 1}) + "\n" for text in texts[:4]))
    parquet.write_table(arrow.table({"text": arrow.array([], arrow.string())}), folder / "empty.parquet")
    parquet.write_table(arrow.table({"text": ["ok", None]}), folder / "null.parquet")
    parquet.write_table(arrow.table({"body": ["no text"]}), folder / "other.parquet")
    (folder / "broken.jsonl").write_text("{")


@pytest.mark.timeout(600)  # Ray starts an interpreter with torch for each of three pools of actors
def test_datasets_get_the_encoders_vectors(outcome: dict[str, Any]) -> None:
    found = outcome["datasets"]
    assert found["same"]
    assert found["texts"]
    assert found["dtype"] == "float32"
    assert outcome["usage"] == "0"


def test_files_are_encoded_and_a_second_call_goes_on(outcome: dict[str, Any]) -> None:
    found = outcome["files"]
    first, second = found["reports"]
    assert first[:3] == [3, 15, 0]
    reasons = {Path(path).name: reason for path, reason in first[3]}
    assert set(reasons) == {"null.parquet", "other.parquet", "broken.jsonl"}
    assert "row 1 of a batch: a NoneType" in reasons["null.parquet"]
    assert "there is no column 'text'; there are body" in reasons["other.parquet"]
    assert second[:3] == [2, 5, 2]
    assert {Path(path).name for path, _ in second[3]} == {"null.parquet", "other.parquet"}
    assert found["progress"][:6] == [[i, 6] for i in range(1, 7)]
    assert found["same"]
    assert found["type"] == "fixed_size_list<element: float>[16]"
    assert found["columns"] == ["id", "text", "embedding"]
    assert found["empty"] == 0
    assert found["listed"] == ["a.parquet", "b.parquet", "broken.parquet", "empty.parquet"]


def test_outputs_are_those_of_the_same_call_only(model: Path, tmp_path: Path) -> None:
    column = EncodeColumn(model=str(model), role="query")
    _write_inputs(tmp_path / "in")
    (tmp_path / "out").mkdir()
    source, target = tmp_path / "in" / "a.parquet", tmp_path / "out" / "a.parquet"
    encode = _FileEncoder(column, 4)
    assert encode({"input": str(source), "output": str(target)})["rows"] == 11
    assert encode_files([source], tmp_path / "out", column).done_before == 1
    for other in (
        EncodeColumn(model=str(model)),
        dataclasses.replace(column, dim=4),
        dataclasses.replace(column, depth=1),
    ):
        with pytest.raises(InvalidArgument, match="another model, other options or another"):
            encode_files([source], tmp_path / "out", other)
    os.utime(source, ns=(1, 1))
    with pytest.raises(InvalidArgument, match="another model, other options or another"):
        encode_files([source], tmp_path / "out", column)


def test_batches_without_text_are_refused(model: Path) -> None:
    encode = _BatchEncoder(EncodeColumn(text="body", output="vector", model=str(model)))
    with pytest.raises(InvalidArgument, match="there is no column 'body'; there are id, text"):
        encode({"text": ["x"], "id": [1]})
    with pytest.raises(InvalidArgument, match="column 'body', row 1 of a batch: a NoneType"):
        encode({"body": ["x", None]})
    with pytest.raises(InvalidArgument, match="column 'vector' already"):
        encode({"body": ["x"], "vector": [1]})


def test_wrong_use_is_refused_before_ray_starts(model: Path, tmp_path: Path) -> None:
    column = EncodeColumn(model=str(model))
    assert Encoder.load(model).dimension == 16
    (tmp_path / "a.parquet").write_bytes(b"not Parquet")
    (tmp_path / "a.jsonl").write_text("{}")
    for inputs, folder, message in (
        ([tmp_path / "a.csv"], "out", "csv: allowed are files"),
        ([tmp_path / "a.parquet", tmp_path / "a.jsonl"], "out", "would both be encoded"),
        ([tmp_path / "a.parquet"], ".", "would replace it"),
        ([tmp_path / "a.jsonl"], ".", "not a Parquet file"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            encode_files(inputs, tmp_path / folder, column)
    with pytest.raises(InvalidArgument, match=r"workers\.count is 0"):
        encode_files([], tmp_path / "out", column, workers=Workers(count=0))
    with pytest.raises(InvalidArgument, match="batch_size is 0"):
        encode_dataset(None, column, batch_size=0)  # type: ignore[arg-type]
    assert encode_files([], tmp_path / "out", column).encoded == 0
