"""The commands as a user runs them: processes, the real library and the bundled model."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taesr

ARTICLES = {
    "password.md": "# Passwords\n\n## Reset\n\nTo reset a forgotten password, choose Forgotten password on "
    "the sign-in page. A link arrives by mail and is valid for one hour.\n",
    "printer.md": "# Printers\n\n## Paper jam\n\nOpen the rear door of the printer and pull the paper out "
    "slowly. Close the door and print a test page.\n",
    "invoice.txt": "Invoices are sent on the first day of each month. Ask the accounting team for a copy.\n",
}


def _taesr(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "taesr", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)


def _json(process: subprocess.CompletedProcess[bytes]) -> Any:
    """Return the one document on stdout; anything else there fails."""
    assert process.returncode == 0, process.stderr.decode()
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of articles."""
    folder = tmp_path_factory.mktemp("articles")
    for name, text in ARTICLES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def collection(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection that holds the articles."""
    folder = tmp_path_factory.mktemp("collections") / "kb"
    report = _json(_taesr("ingest", documents, "--collection", folder, "--json"))
    assert (report["added"], report["documents"], report["failed"]) == (3, 3, [])
    return folder


@pytest.mark.parametrize("mode", ["hybrid", "dense", "keyword"])
def test_search_finds_the_article(collection: Path, mode: str) -> None:
    found = _json(
        _taesr(
            "search", "forgotten password", "--collection", collection, "--mode", mode, "-k", "2", "--json"
        )
    )
    assert found["hits"][0]["document"] == "password.md"
    assert len(found["hits"]) <= 2
    assert found["depth"] == (0 if mode == "keyword" else 3)
    assert found["timings"]["total"] > 0


def test_search_prints_text_for_people(collection: Path) -> None:
    process = _taesr("search", "paper jam", "--collection", collection)
    assert process.stdout.decode().startswith("1. printer.md")
    assert process.stderr == b""


def test_ask_answers_with_its_source(collection: Path) -> None:
    answer = _json(
        _taesr("ask", "How do I reset a forgotten password?", "--collection", collection, "--json")
    )
    assert "password.md" in [citation["document"] for citation in answer["citations"]]
    assert answer["timings"]["total"] > 0


def test_chat_on_a_terminal_greets_answers_and_ends(collection: Path) -> None:
    try:
        terminal, stdin = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminals here: {error}")
    command = [sys.executable, "-m", "taesr", "chat", "--collection", str(collection)]
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        os.close(stdin)
        os.write(terminal, b"How do I clear a paper jam?\nquit\n")
        out, err = process.communicate(timeout=120)
        os.close(terminal)
    assert process.returncode == 0, err
    assert out.decode().startswith("3 documents. Ask a question")
    assert "printer.md" in out.decode()


def test_second_ingest_changes_nothing(collection: Path, documents: Path) -> None:
    report = _json(_taesr("ingest", documents, "--collection", collection, "--json"))
    assert (report["added"], report["updated"], report["unchanged"], report["chunks"]) == (0, 0, 3, 0)


def test_file_that_cannot_be_read_is_one_line_and_exit_code_1(collection: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.md"
    bad.write_bytes(b"\x7fELF\x00\x01\x02" * 100)
    process = _taesr("ingest", bad, "--collection", collection)
    assert process.returncode == 1
    assert process.stderr.decode().count("\n") == 1
    assert "bad.md" in process.stderr.decode()
    assert _json(_taesr("search", "password", "--collection", collection, "--json"))["hits"]


def test_damaged_model_is_one_line_and_leaves_the_collection(collection: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    process = _taesr("search", "password", "--collection", collection, "--model", model)
    assert process.returncode == 1
    assert process.stderr.startswith(b"taesr: ")
    assert process.stderr.count(b"\n") == 1
    assert _json(_taesr("search", "password", "--collection", collection, "--json"))["hits"]


def test_encode_gives_the_vectors_of_the_library(tmp_path: Path) -> None:
    lines = ["reset a password", "", "drucken ☃"]
    output = tmp_path / "vectors.npy"
    stdin = "\n".join(lines).encode()
    process = _taesr(
        "encode", "--role", "query", "--depth", "1", "--dim", "64", "--output", output, stdin=stdin
    )
    assert (process.returncode, process.stderr) == (0, b"")
    expected = taesr.Encoder.load().encode(lines, role="query", depth=1, dim=64)
    np.testing.assert_allclose(np.load(output), expected, atol=1e-6)


def test_encode_refuses_a_dimension_that_the_model_lacks() -> None:
    process = _taesr("encode", "--dim", "100000", stdin=b"a\n")
    assert process.returncode == 1
    assert process.stdout == b""
    assert b"dim is 100000; allowed: 1 to 384" in process.stderr


@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid", "search"])
def test_eval_measures_through_the_real_encoder(tmp_path: Path, mode: str) -> None:
    folder = tmp_path / "articles"
    (folder / "qrels").mkdir(parents=True)
    corpus = [json.dumps({"_id": name, "text": text}) for name, text in ARTICLES.items()]
    (folder / "corpus.jsonl").write_text("\n".join(corpus), encoding="utf-8")
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "pull out jammed paper"}', encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("q\tprinter.md\t1\n", encoding="utf-8")
    report = _json(_taesr("eval", folder, "--depth", "3", "--mode", mode, "--json"))
    assert report["datasets"]["articles"]["ndcg@10"] == pytest.approx(1)
    assert report["settings"]["mode"] == mode


def test_info_and_doctor_describe_this_machine() -> None:
    info = _json(_taesr("info", "--json"))
    assert info["version"] == taesr.__version__
    assert info["model"]["dimension"] == 384
    doctor = _json(_taesr("doctor", "--json"))
    assert doctor["ok"] is True


def test_missing_model_is_one_line_naming_the_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "TAESR_MODEL": str(tmp_path / "nowhere")}
    command = [sys.executable, "-m", "taesr", "encode"]
    process = subprocess.run(command, input=b"a\n", capture_output=True, env=environment, check=False)
    assert process.returncode == 1
    assert process.stderr.count(b"\n") == 1
    assert str(tmp_path / "nowhere").encode() in process.stderr


def test_a_device_that_is_not_there_is_one_line() -> None:
    process = _taesr("encode", "--device", "cuda:99", stdin=b"a line\n")
    assert process.returncode == 1
    assert process.stdout == b""
    assert process.stderr.count(b"\n") == 1
    assert b"cuda:99" in process.stderr
