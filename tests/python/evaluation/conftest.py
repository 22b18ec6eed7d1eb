"""A small retrieval set in BEIR layout, to be changed by tests."""

import json
from pathlib import Path

import pytest

DOCUMENTS = [
    ("d1", "Password reset", "Open the sign in page and choose forgotten password"),
    ("d2", "Printer", "The printer needs paper and a driver to print"),
    ("d3", "", "Mail is kept in folders"),
    ("d4", "Password rules", "A password has twelve letters"),
]
QUERIES = [("q1", "forgotten password"), ("q2", "printer driver"), ("q3", "nobody judged this")]
JUDGEMENTS = [("q1", "d1", 2), ("q1", "d4", 1), ("q2", "d2", 1), ("q2", "d3", 0)]


@pytest.fixture
def beir_folder(tmp_path: Path) -> Path:
    """Return a well-formed folder."""
    folder = tmp_path / "helpdesk"
    (folder / "qrels").mkdir(parents=True)
    corpus = [json.dumps({"_id": i, "title": title, "text": text}) for i, title, text in DOCUMENTS]
    queries = [json.dumps({"_id": i, "text": text}) for i, text in QUERIES]
    judgements = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in JUDGEMENTS)]
    (folder / "corpus.jsonl").write_text("\n".join(corpus) + "\n", encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries) + "\n", encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("\n".join(judgements) + "\n", encoding="utf-8")
    return folder
