"""taesr ingest."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_library import FakeCollection, Run

pytestmark = pytest.mark.usefixtures("fake_library")


def _report(**changes: object) -> SimpleNamespace:
    counts: dict[str, object] = {
        "added": 0,
        "updated": 0,
        "unchanged": 0,
        "removed": 0,
        "skipped": 0,
        "chunks": 0,
        "failed": [],
    }
    return SimpleNamespace(**(counts | changes))


def test_what_was_done_is_told(run: Run, tmp_path: Path) -> None:
    outcome = run("ingest", tmp_path, "--collection", tmp_path / "kb")
    assert outcome.code == 0
    assert outcome.out == (
        "2 added, 0 updated, 1 unchanged, 0 removed, 0 of other types skipped, 0 not read; "
        "7 chunks embedded. "
        f"{tmp_path / 'kb'} has 3 documents in 9 chunks.\n"
    )
    assert outcome.err == ""


def test_options_reach_the_collection(run: Run, tmp_path: Path) -> None:
    run(
        *("ingest", tmp_path, "--collection", "kb", "--replace", "--chunk-tokens", "300", "--overlap", "60"),
        *("--depth", "hard"),
    )
    _, paths, options = FakeCollection.calls[0]
    del options["progress"]
    assert paths == [tmp_path]
    assert options == {"replace": True, "chunk_tokens": 300, "overlap": 60, "depth": "hard"}


def test_sizes_that_were_not_given_are_left_to_the_library(run: Run, tmp_path: Path) -> None:
    run("ingest", tmp_path, "--collection", "kb")
    assert set(FakeCollection.calls[0][2]) == {"replace", "depth", "progress"}


def test_heads_are_added_before_documents(run: Run, tmp_path: Path) -> None:
    assert run("ingest", tmp_path, "--collection", "kb", "--heads", "sparse, late").code == 0
    assert [name for name, *_ in FakeCollection.calls] == ["add_heads", "ingest"]
    assert FakeCollection.calls[0][1] == ["sparse", "late"]


@pytest.mark.parametrize("heads", ["sprase", "sparse,sparse", ""])
def test_heads_that_there_are_not_are_wrong_usage(run: Run, tmp_path: Path, heads: str) -> None:
    outcome = run("ingest", tmp_path, "--collection", "kb", "--heads", heads)
    assert outcome.code == 2
    assert "--heads" in outcome.err
    assert FakeCollection.calls == []


def test_path_that_does_not_exist_opens_nothing(run: Run, tmp_path: Path) -> None:
    outcome = run("ingest", tmp_path, tmp_path / "nowhere", "--collection", tmp_path / "kb")
    assert outcome == (1, "", f"taesr: {tmp_path / 'nowhere'}: no such file or folder\n")
    assert FakeCollection.opened == []


def test_interrupt_says_what_is_kept(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeCollection, "ingest", interrupted)
    outcome = run("ingest", tmp_path, "--collection", "kb")
    assert outcome.code == 130
    assert outcome.err.startswith("taesr: interrupted; what was ingested so far is kept")


def test_bad_file_in_a_folder_is_listed_and_no_failure(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = [(tmp_path / "x.pdf", "is encrypted")]
    monkeypatch.setattr(FakeCollection, "report", _report(added=4, failed=failed))
    outcome = run("ingest", tmp_path, "--collection", "kb")
    assert outcome.code == 0
    assert outcome.err == f"taesr: not read: {tmp_path / 'x.pdf'}: is encrypted\n"


def test_bad_file_that_was_named_is_a_failure(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "x.pdf"
    bad.touch()
    monkeypatch.setattr(FakeCollection, "report", _report(added=4, failed=[(str(bad), "is encrypted")]))
    outcome = run("ingest", tmp_path, bad, "--collection", "kb")
    assert outcome.code == 1
    assert outcome.err == f"taesr: not read: {bad}: is encrypted\n"


def test_folder_of_which_nothing_could_be_read_is_a_failure(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = [(tmp_path / "a.md", "is empty"), (tmp_path / "b.md", "is binary")]
    monkeypatch.setattr(FakeCollection, "report", _report(failed=failed))
    assert run("ingest", tmp_path, "--collection", "kb").code == 1


def test_json_lists_counts_and_failures(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = [(tmp_path / "a.md", "is empty")]
    monkeypatch.setattr(FakeCollection, "report", _report(added=1, chunks=2, failed=failed))
    outcome = run("ingest", tmp_path, "--collection", "kb", "--json")
    assert json.loads(outcome.out) == {
        "added": 1,
        "updated": 0,
        "unchanged": 0,
        "removed": 0,
        "skipped": 0,
        "chunks": 2,
        "failed": [{"path": str(tmp_path / "a.md"), "reason": "is empty"}],
        "documents": 3,
        "total_chunks": 9,
        "heads": ["dense", "keyword"],
    }
