"""taesr eval: ablations, and tasks beside retrieval."""

import json
import sys
from pathlib import Path

import pytest
from fake_library import FakeEncoder, Run

pytestmark = pytest.mark.usefixtures("fake_library")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a small retrieval set."""
    folder = tmp_path / "letters"
    (folder / "qrels").mkdir(parents=True)
    rows = "".join(f'{{"_id": "d{n}", "text": "{"x" * n}"}}\n' for n in range(1, 6))
    (folder / "corpus.jsonl").write_text(rows, encoding="utf-8")
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "xx"}\n', encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("q\td3\t1\n", encoding="utf-8")
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Return sentence pairs; the fake encoder compares lengths."""
    path = tmp_path / "pairs.tsv"
    rows = ["sentence1\tsentence2\tscore", "aaa\tbbb\t5", "aaa\tbbbb\t3", "aaa\tbbbbb\t1"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    """Return texts to learn from and to test on."""
    rows = ["text,category", *(f"{'a' * (1 + 2 * (n % 2))},{'long' if n % 2 else 'short'}" for n in range(8))]
    paths = (tmp_path / "train.csv", tmp_path / "test.csv")
    for path in paths:
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return paths


def test_ablation_writes_its_files_and_prints_the_tables(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    outcome = run(
        "eval", folder, "--ablation", out, "--depths", "1,6", "--dims", "4, 8", "--precisions", "float32,int8"
    )
    assert outcome.code == 0
    assert {path.name for path in out.iterdir()} == {
        "ablation.json",
        "ablation.md",
        "quality_dimensions.png",
        "quality_flops.png",
    }
    assert "## nDCG@10 by depth and dimensions, letters" in outcome.out
    assert f"taesr: wrote {out / 'ablation.json'}" in outcome.err
    document = json.loads((out / "ablation.json").read_text(encoding="utf-8"))
    assert len(document["cells"]) == 2 * 2 * 2
    assert document["settings"]["fingerprint"] == "fa4e"


def test_ablation_prints_json_and_nothing_else(run: Run, folder: Path, tmp_path: Path) -> None:
    outcome = run("eval", folder, "--ablation", tmp_path / "r", "--router", "--no-plots", "--json")
    document = json.loads(outcome.out)
    assert document == json.loads((tmp_path / "r" / "ablation.json").read_text(encoding="utf-8"))
    assert document["router"][0]["mean_depth"] == 3
    assert {cell["depth"] for cell in document["cells"]} == {1, 3, 6, "auto"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depths", "1"], "--depths is for --ablation OUT_DIR only"),
        (["--router"], "--router is for --ablation OUT_DIR only"),
        (["--ablation", "r", "--depth", "1"], "--depth has no effect with --ablation; use --depths"),
        (["--ablation", "r", "--precision", "int8"], "use --precisions"),
        (["--ablation", "r", "--mode", "keyword"], "ablations measure dense search"),
        (["--ablation", "r", "--sts", "x"], "have no effect with --ablation; run them apart"),
        (["--ablation", "r", "--no-plots", "--depths", "7"], "depth 7 is not one that the model has: 1 to 6"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_without_effect_are_refused(
    run: Run, folder: Path, arguments: list[str], message: str
) -> None:
    outcome = run("eval", folder, *arguments)
    assert (outcome.code, outcome.out) == (1, "")
    assert message in outcome.err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--depths", "1,x", "'x' is not a whole number"),
        ("--dims", "64,64", "names one value twice"),
        ("--precisions", "int4", "'int4' is not one of float32, int8, binary"),
    ],
)
def test_malformed_list_is_wrong_usage(run: Run, folder: Path, option: str, value: str, message: str) -> None:
    outcome = run("eval", folder, "--ablation", "r", option, value)
    assert outcome.code == 2
    assert message in outcome.err


def test_missing_matplotlib_is_said_before_the_model_is_loaded(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = run("eval", folder, "--ablation", tmp_path / "r")
    assert outcome.code == 1
    assert "plots need matplotlib: pip install matplotlib" in outcome.err
    assert FakeEncoder.loaded == []
    assert run("eval", folder, "--ablation", tmp_path / "r", "--no-plots").code == 0


def test_tasks_run_without_retrieval_sets(run: Run, pairs: Path, labelled: tuple[Path, Path]) -> None:
    outcome = run("eval", "--sts", pairs, "--classification", *labelled, "--depth", "1", "--json")
    document = json.loads(outcome.out)
    assert document["sts"][str(pairs)]["spearman"] == pytest.approx(1)
    assert document["classification"][str(labelled[1])] == {"accuracy": 1.0, "macro_f1": 1.0}
    assert (document["datasets"], document["mean"]) == ({}, {})
    assert document["settings"]["depth"] == 1


def test_tasks_stand_beside_retrieval_sets(run: Run, folder: Path, pairs: Path) -> None:
    outcome = run("eval", folder, "--sts", pairs)
    assert outcome.out.startswith("x100")
    assert f"sts {pairs}: spearman 100.0" in outcome.out.splitlines()[-1]
    document = json.loads(run("eval", folder, "--sts", pairs, "--json").out)
    assert set(document) == {"datasets", "mean", "cost", "settings", "notes", "sts"}
    assert "sts" not in json.loads(run("eval", folder, "--json").out)


def test_malformed_task_is_said_before_the_model_is_loaded(run: Run, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.tsv"
    path.write_text("a\tb\n", encoding="utf-8")
    outcome = run("eval", folder, "--sts", path)
    assert (outcome.code, outcome.out) == (1, "")
    assert "broken.tsv:1: 2 columns; needs 7" in outcome.err
    assert "a file is given twice" in run("eval", "--sts", path, "--sts", path).err
    assert FakeEncoder.loaded == []


def test_nothing_to_measure_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    outcome = run("eval", "--ablation", tmp_path / "r")
    assert outcome.code == 2
    assert outcome.err.startswith("usage: taesr eval")
    assert "required: BEIR_DIR" in outcome.err.splitlines()[-1]
