"""Collections as wholes, through Python and the command line."""

import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taesr
from taesr import Collection, Document, Encoder
from taesr.cli import main
from taesr.maintenance import (
    check_collection,
    compact_collection,
    copy_collection,
    create_snapshot,
    export_collection,
    import_collection,
    list_collections,
    list_snapshots,
    remove_documents,
    restore_snapshot,
)


def documents(count: int = 5) -> list[Document]:
    return [
        Document(
            id=f"doc{i}",
            title=f"Tïtle {i}",
            text=f"The printer number{i} is offline.\nRestart it.",
            metadata={"even": i % 2 == 0, "year": 2020 + i, "half": 0.5, "none": None},
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    """A collection that no test changes."""
    path = tmp_path_factory.mktemp("originals") / "kb"
    with Collection.open(path, encoder=encoder) as kb:
        kb.add(documents())
    return path


@pytest.fixture
def path(tmp_path: Path, original: Path) -> Path:
    """A copy of it."""
    copy_collection(original, tmp_path / "kb")
    return tmp_path / "kb"


def content(path: Path, encoder: Encoder) -> dict[str, Document | None]:
    with Collection.open(path, encoder=encoder, read_only=True) as kb:
        return {info.id: kb.document(info.id) for info in kb.documents()}


def test_collections_are_listed(path: Path, encoder: Encoder) -> None:
    (path.parent / "damaged").mkdir()
    (path.parent / "damaged" / "collection.sqlite").write_bytes(b"x" * 5000)
    damaged, whole = list_collections(path.parent)
    assert (whole.directory, whole.documents, whole.chunks, whole.problem) == (path, 5, 5, "")
    assert (whole.fingerprint, whole.dimension) == (encoder.fingerprint, encoder.dimension)
    assert "not an SQLite database" in damaged.problem
    with pytest.raises(taesr.IoError, match="not a folder"):
        list_collections(path.parent / "none")


def test_an_export_is_read_with_json_and_numpy_and_imported_as_it_was(
    path: Path, tmp_path: Path, encoder: Encoder
) -> None:
    calls: list[tuple[int, int]] = []
    report = export_collection(path, tmp_path / "out", progress=lambda *call: calls.append(call))
    assert (report.documents, report.chunks, calls) == (5, 5, [(5, 5)])
    lines = [json.loads(line) for line in (tmp_path / "out/documents.jsonl").read_text().splitlines()]
    assert lines[1]["metadata"] == {"even": False, "year": 2021, "half": 0.5, "none": None}
    chunks = [json.loads(line) for line in (tmp_path / "out/chunks.jsonl").read_text().splitlines()]
    vectors = np.load(tmp_path / "out/dense.npy")
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(chunks), encoder.dimension)
    with Collection.open(path, encoder=encoder, read_only=True) as kb:
        best = kb.native.search_dense(vectors[3], 1)
        assert kb.native.chunks([best[0][0]])[0].document == chunks[3]["document"]
    import_collection(tmp_path / "out", tmp_path / "back")
    assert content(tmp_path / "back", encoder) == content(path, encoder)
    with pytest.raises(taesr.IoError, match="exists already"):
        import_collection(tmp_path / "out", tmp_path / "back")


def test_an_array_that_was_changed_is_refused(path: Path, tmp_path: Path) -> None:
    export_collection(path, tmp_path / "out")
    vectors = np.load(tmp_path / "out/dense.npy")
    np.save(tmp_path / "out/dense.npy", vectors[::-1])
    with pytest.raises(taesr.ChecksumError, match=r"dense\.npy"):
        import_collection(tmp_path / "out", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_restore_goes_back_to_a_name_or_a_time(path: Path, encoder: Encoder) -> None:
    whole = content(path, encoder)
    first = create_snapshot(path)
    made = datetime.datetime.fromtimestamp(first.milliseconds / 1000, datetime.UTC)
    with Collection.open(path, encoder=encoder) as kb:
        assert kb.remove(["doc1", "doc2", "unknown"]) == 2
        kb.create_snapshot()
        assert kb.remove(filter={"even": True}) == 2
        assert kb.restore_snapshot().name == kb.snapshots()[1].name
        assert kb.document_count == 3
        with pytest.raises(taesr.InvalidArgument, match="until 2000"):
            kb.restore_snapshot(at=datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
        with pytest.raises(taesr.IoError, match=f"process {os.getpid()}"):
            restore_snapshot(path)
    assert restore_snapshot(path, at=made).name == first.name
    assert content(path, encoder) == whole
    assert len(list_snapshots(path)) == 4


def test_old_snapshots_are_dropped_beyond_a_number(path: Path) -> None:
    names = [create_snapshot(path, keep=2).name for _ in range(4)]
    assert [snapshot.name for snapshot in list_snapshots(path)] == names[2:]
    with pytest.raises(taesr.InvalidArgument, match="keep is -1"):
        create_snapshot(path, keep=-1)


def test_metadata_changes_without_embedding_again(path: Path, encoder: Encoder) -> None:
    with Collection.open(path, encoder=encoder) as kb:
        assert kb.update_metadata("doc1", {"year": 1999, "tag": "new"})
        assert not kb.update_metadata("unknown", {})
        assert kb.document("doc1").metadata == {"year": 1999, "tag": "new"}
        assert [hit.document for hit in kb.search("printer", filter={"year": 1999})] == ["doc1"]
        assert kb.search("printer", filter={"year": 2021}).hits == []


def test_removal_without_a_model_takes_ids_or_a_filter(path: Path, encoder: Encoder) -> None:
    with pytest.raises(taesr.InvalidArgument, match="would remove every document"):
        remove_documents(path, filter={})
    with pytest.raises(taesr.InvalidArgument, match="ids and a filter"):
        remove_documents(path, ["doc1"], filter={"even": True})
    assert remove_documents(path, filter={"even": True, "year": 2020}) == 1
    assert remove_documents(path, ["doc1", "doc0"]) == 1
    assert sorted(content(path, encoder)) == ["doc2", "doc3", "doc4"]
    assert compact_collection(path).bytes_after > 0
    assert check_collection(path).problems == []


def _run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["collection", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def _json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    code, out, err = _run(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_every_action_of_the_command_line(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = _json(capsys, "list", tmp_path)["collections"]
    assert [(entry["directory"], entry["documents"]) for entry in listed] == [(str(path), 5)]
    made = _json(capsys, "snapshot", path)
    assert datetime.datetime.fromisoformat(made["time"]) <= datetime.datetime.now(datetime.UTC)
    assert _json(capsys, "remove", path, "--filter", "even=true") == {"removed": 3}
    assert _json(capsys, "copy", path, tmp_path / "copy") == {"target": str(tmp_path / "copy")}
    assert _json(capsys, "restore", path, made["name"])["name"] == made["name"]
    assert len(_json(capsys, "snapshot", path, "--list")["snapshots"]) == 2
    assert _json(capsys, "export", path, tmp_path / "out")["documents"] == 5
    assert _json(capsys, "import", tmp_path / "out", tmp_path / "back")["chunks"] == 5
    assert set(_json(capsys, "compact", tmp_path / "copy")) == {"bytes_before", "bytes_after"}
    checked = _json(capsys, "check", tmp_path / "copy")
    assert checked == {"documents": 2, "chunks": 2, "problems": [], "notes": []}
    code, out, _ = _run(capsys, "list", tmp_path)
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == [
        str(tmp_path / n) for n in ("back", "copy", "kb")
    ]


def test_failures_of_the_command_line_say_why(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(capsys, "copy", path, path)[0] == 1
    assert _run(capsys, "remove", path)[:2] == (1, "")
    assert _run(capsys, "restore", path)[2].startswith("taesr: there is no snapshot")
    assert _run(capsys, "restore", path, "--at", "yesterday")[0] == 2
    assert _run(capsys, "remove", path, "--filter", "a=1", "--filter", "a=2")[0] == 1
    assert _run(capsys, "unknown")[0] == 2
    (path / "collection.sqlite").write_bytes((path / "collection.sqlite").read_bytes()[:9000])
    code, out, err = _run(capsys, "check", path)
    assert code == 1
    assert "damaged" in err or "database" in err
    assert "problems" in out


_WRITER = """
import sys, taesr
from taesr import Collection, Document
with Collection.open(sys.argv[1]) as kb:
    for i in range(10_000):
        kb.add([Document(id=f"new{i}", text=f"Another text, number {i}.")])
        print(i, flush=True)
"""


def test_a_killed_writer_leaves_what_it_acknowledged(path: Path, encoder: Encoder) -> None:
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(3):
            writer.stdout.readline()
        with pytest.raises(taesr.IoError, match=f"process {writer.pid}"):
            compact_collection(path)
        create_snapshot(path)  # beside it
        writer.send_signal(signal.SIGKILL)
        acknowledged = 3 + len(writer.stdout.read().splitlines())
    with Collection.open(path, encoder=encoder) as kb:
        new = {info.id for info in kb.documents() if info.id.startswith("new")}
    assert new in ({f"new{i}" for i in range(acknowledged)}, {f"new{i}" for i in range(acknowledged + 1)})
    assert check_collection(path).problems == []
