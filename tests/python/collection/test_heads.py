"""Collections with sparse and late-interaction embeddings, of a small random model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import taesr
from taesr import Collection, Document, Encoder
from taesr.cli import main
from taesr.errors import InvalidArgument
from taesr.maintenance import check_collection, compact_collection, export_collection, import_collection
from tests.python.small_models import save, small_config

TEXTS = {
    "printer": "The printer is offline. Restart it, then wait a minute.",
    "password": "Reset the password on the account page.",
    "invoice": "Invoices are sent on the first day of the month.",
    "router": "The router has a red light when the line is down.",
    "empty-ish": "?",
}


def random_model(sparse_queries: str) -> taesr.TAESRModel:
    torch.manual_seed(0)
    config = small_config(sparse_head=True, sparse_queries=sparse_queries, late_size=8, router_size=4)
    model = taesr.TAESRModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A random model's passages need not hold the pieces of a query, but its expansions meet.
    return save(random_model("encoder"), tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def full(folder: Path) -> Encoder:
    return Encoder.load(folder)


def documents() -> list[Document]:
    return [Document(name, text) for name, text in TEXTS.items()]


def test_a_new_collection_keeps_the_heads_that_it_was_made_with(tmp_path: Path, full: Encoder) -> None:
    with Collection.open(tmp_path / "kb", encoder=full, heads=["sparse", "late"]) as kb:
        kb.add(documents())
    with Collection.open(tmp_path / "kb", encoder=full) as kb:
        assert kb.heads == ["dense", "keyword", "late", "sparse"]
        assert kb.notes == []
        assert "late" in kb.search("printer").hits[0].ranks
    assert check_collection(tmp_path / "kb").problems == []


@pytest.mark.parametrize("queries", ["table", "encoder"])
def test_scores_are_those_of_the_encoder_s_own_outputs(tmp_path: Path, queries: str) -> None:
    full = Encoder.load(save(random_model(queries), tmp_path / "model"))
    query = "printer password"
    asked = full.encode_full([query], outputs=["sparse", "late"], role="query")
    if queries == "table":
        asked = replace(asked, sparse=full.encode_sparse_query([query]))
    with Collection.open(tmp_path / "kb", encoder=full, heads=["sparse", "late"]) as kb:
        kb.add(documents())
        sparse = {hit.document: hit.score for hit in kb.search(query, mode="sparse")}
        late = {hit.document: hit.score for hit in kb.search(query, mode="late")}
    assert set(late) == set(TEXTS)
    for name, text in TEXTS.items():
        read = full.encode_full([text], outputs=["sparse", "late"])
        product = np.asarray((asked.sparse.to_scipy() @ read.sparse.to_scipy().T).todense()).item()
        assert sparse.get(name, 0.0) == pytest.approx(product, rel=5e-3)
        exact = float((asked.late[0] @ read.late[0].T).max(axis=1).sum())
        assert late[name] == pytest.approx(exact, abs=0.15 * len(asked.late[0]))


def test_heads_are_added_to_a_collection_that_lacks_them(tmp_path: Path, full: Encoder) -> None:
    with Collection.open(tmp_path / "kb", encoder=full) as kb:
        kb.add(documents())
        with pytest.raises(InvalidArgument, match="ingest --heads sparse"):
            kb.search("printer", mode="sparse")
        seen: list[tuple[int, int]] = []
        assert kb.add_heads(["sparse"], progress=lambda done, total: seen.append((done, total))) == len(TEXTS)
        assert seen == [(len(TEXTS), len(TEXTS))]
        assert kb.heads == ["dense", "keyword", "sparse"]
        first = kb.search("printer", mode="sparse").hits[0]
        assert first.ranks == {"sparse": 1}


def test_heads_that_the_model_lacks_are_refused(tmp_path: Path) -> None:
    bare = Encoder.load(save(taesr.TAESRModel(small_config()), tmp_path / "bare"))
    with pytest.raises(InvalidArgument, match="no late and sparse head"):
        Collection.open(tmp_path / "kb", encoder=bare, heads=["sparse", "late"])
    with (
        Collection.open(tmp_path / "kb", encoder=bare) as kb,
        pytest.raises(InvalidArgument, match="no sparse head"),
    ):
        kb.add_heads(["sparse"])


def test_hybrid_contributions_of_all_heads_add_up(tmp_path: Path, full: Encoder) -> None:
    with Collection.open(tmp_path / "kb", encoder=full, heads=["sparse", "late"]) as kb:
        kb.add(documents())
        for weights in (None, {"dense": 1.0, "keyword": 0.5, "late": 2.0, "sparse": 0.0}):
            for hit in kb.search("printer password", weights=weights, explain=True):
                assert list(hit.explanation.contributions) == ["dense", "keyword", "late", "sparse"]
                assert sum(hit.explanation.contributions.values()) == hit.score
        with pytest.raises(InvalidArgument, match="no weight for head 'late'"):
            kb.search("printer", weights={"dense": 1.0, "keyword": 1.0})


def test_the_command_line_does_it_all(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in TEXTS.items():
        (docs / f"{name}.txt").write_text(text)
    kb, out, back = tmp_path / "kb", tmp_path / "out", tmp_path / "back"
    common = ["--collection", str(kb), "--model", str(folder), "--json"]
    assert main(["ingest", str(docs), *common]) == 0
    assert json.loads(capsys.readouterr().out)["heads"] == ["dense", "keyword"]
    assert main(["ingest", str(docs), *common, "--heads", "sparse,late"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["heads"] == ["dense", "keyword", "late", "sparse"]
    assert report["unchanged"] == len(TEXTS)
    export_collection(kb, out)
    import_collection(out, back)
    compact_collection(back)
    for collection in (kb, back):
        for mode in ("sparse", "late", "hybrid"):
            options = ["--collection", str(collection), "--model", str(folder), "--mode", mode, "--json"]
            assert main(["search", "The printer is offline", *options]) == 0
            hits = json.loads(capsys.readouterr().out)["hits"]
            assert {"sparse", "late"} & set(hits[0]["ranks"])
        assert check_collection(collection).problems == []


def test_the_command_line_names_the_head_that_is_missing(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Collection.open(tmp_path / "kb", encoder=Encoder.load(folder)) as kb:
        kb.add(documents())
    options = ["--collection", str(tmp_path / "kb"), "--model", str(folder), "--mode", "late"]
    assert main(["search", "printer", *options]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no late head" in error
    assert "--heads late" in error
