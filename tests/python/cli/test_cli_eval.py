"""taesr eval."""

import json
from pathlib import Path

import pytest
from fake_library import FakeEncoder, Run

pytestmark = pytest.mark.usefixtures("fake_library")


def _write_set(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    rows = "".join(f'{{"_id": "d{n}", "text": "{"x" * n}"}}\n' for n in range(1, 6))
    (folder / "corpus.jsonl").write_text(rows, encoding="utf-8")
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "xx"}\n', encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td3\t1\n", encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a retrieval set in which the fake encoder puts d3 first: queries count one letter more."""
    return _write_set(tmp_path / "letters")


def test_json_has_every_set_and_the_mean(run: Run, folder: Path, tmp_path: Path) -> None:
    other = _write_set(tmp_path / "more")
    (other / "qrels" / "test.tsv").write_text("q\tgone\t1\n", encoding="utf-8")
    outcome = run("eval", folder, other, "--json")
    document = json.loads(outcome.out)
    assert outcome.code == 0
    assert {"ndcg@10", "mrr@10", "recall@50", "recall@100", "map@100"} <= set(document["mean"])
    assert document["datasets"]["letters"]["ndcg@10"] == pytest.approx(1)
    assert document["datasets"]["more"]["ndcg@10"] == 0
    assert document["mean"]["ndcg@10"] == pytest.approx(0.5)
    assert document["settings"]["depth"] == "hard"
    assert document["settings"]["precision"] == "float32"


def test_text_is_a_table(run: Run, folder: Path) -> None:
    outcome = run("eval", folder, "--precision", "int8", "--depth", "1", "--dim", "4")
    lines = outcome.out.splitlines()
    assert lines[0].startswith("x100")
    assert lines[2].split()[:2] == ["letters", "100.0"]
    assert "depth 1, dim 4, precision int8" in outcome.out


def test_two_folders_of_one_name_are_told_apart(run: Run, tmp_path: Path) -> None:
    folders = [_write_set(tmp_path / parent / "same") for parent in ("a", "b")]
    document = json.loads(run("eval", *folders, "--json").out)
    assert list(document["datasets"]) == [str(folder) for folder in folders]


def test_folder_given_twice_is_refused(run: Run, folder: Path) -> None:
    assert run("eval", folder, folder) == (1, "", "taesr: a folder is given twice\n")


def test_every_set_is_read_before_the_model_is_loaded(run: Run, folder: Path, tmp_path: Path) -> None:
    broken = _write_set(tmp_path / "broken")
    (broken / "queries.jsonl").write_text("{\n", encoding="utf-8")
    outcome = run("eval", folder, broken, "--json")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"taesr: {broken / 'queries.jsonl'}:1: not valid JSON")
    assert FakeEncoder.loaded == []


def test_missing_split_is_one_line(run: Run, folder: Path) -> None:
    outcome = run("eval", folder, "--split", "dev")
    assert outcome.code == 1
    assert "dev.tsv: missing; splits that are there: test" in outcome.err


def test_precision_is_refused_where_it_does_not_apply(run: Run, folder: Path) -> None:
    outcome = run("eval", folder, "--mode", "keyword", "--precision", "int8")
    assert outcome == (1, "", "taesr: --precision int8 is for --mode dense only\n")
