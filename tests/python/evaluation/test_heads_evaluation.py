"""Measuring the sparse and late-interaction heads, and fusion."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from taesr import Encoder, InvalidArgument, TAESRConfig, TAESRModel
from taesr.cli import main
from taesr.evaluation import FusionOptions, RetrievalOptions, evaluate_heads, evaluate_rankings, load_beir
from taesr.evaluation.fusion import fuse
from taesr.evaluation.head_index import HeadIndex, TextOutputs
from taesr.evaluation.maxsim import TokenStore
from taesr.sparse import SparseRows

MODES = ["sparse", "sparse-idf", "late", "hybrid"]


@pytest.fixture(scope="module")
def model_folder(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = TAESRConfig(
        vocab_size=encoder.config.vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_attention_heads=2,
        max_position_embeddings=24,
        embedding_size=16,
        matryoshka_dimensions=[4, 16],
        sparse_head=True,
        late_size=6,
    )
    model = TAESRModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        # The words of the set's queries, and few others, so that queries without an encoder find something.
        words = encoder.native.tokenizer.encode("forgotten password printer driver")
        model.get_parameter("sparse.bias").sub_(3)[words] += 4
        model.get_parameter("sparse.idf")[words] = torch.rand(len(words)) + 0.5
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    shutil.copyfile(encoder.source / "tokenizer.model", path / "tokenizer.model")
    return path


@pytest.fixture(scope="module")
def full(model_folder: Path) -> Encoder:
    return Encoder.load(model_folder, precision="float32")


def dense_rows(rows: SparseRows) -> np.ndarray:
    return rows.to_scipy().toarray()


def max_sim(query: np.ndarray, document: np.ndarray) -> float:
    return float((query @ document.T).max(1).sum())


@pytest.mark.parametrize("mode", MODES)
def test_rankings_are_those_of_a_full_sort(beir_folder: Path, full: Encoder, mode: str) -> None:
    dataset = load_beir(beir_folder)
    result = evaluate_heads(dataset, full, mode, RetrievalOptions(batch_size=3))
    documents = full.encode_full(dataset.documents, depth="hard", on_overflow="truncate")
    queries = full.encode_full(dataset.queries, role="query", depth="hard", on_overflow="truncate")
    idf = dense_rows(full.encode_sparse_query(dataset.queries))
    rankings = {}
    for i, query in enumerate(dataset.query_ids):
        scores = {
            "dense": documents.embeddings @ queries.embeddings[i],
            "sparse": dense_rows(documents.sparse) @ dense_rows(queries.sparse)[i],
            "sparse-idf": dense_rows(documents.sparse) @ idf[i],
            "late": np.array([max_sim(queries.late[i], rows) for rows in documents.late]),
        }
        if mode == "hybrid":
            parts = [(s - s.min()) / (s.max() - s.min()) for h, s in scores.items() if h != "sparse"]
            scores["hybrid"] = sum(parts)
        found = [p for p in np.argsort(-scores[mode]) if "sparse" not in mode or scores[mode][p] > 0]
        assert len(found) > 1
        rankings[query] = [dataset.document_ids[position] for position in found]
    assert result.per_query == evaluate_rankings(dataset.qrels, rankings)
    assert all(np.isfinite(value) for value in result.cost.values())
    assert (result.cost["query_depth"] == 0) == (mode == "sparse-idf")
    assert (result.cost["query_flops"] == 0) == (mode == "sparse-idf")
    assert ("document_sparse_weights" in result.cost) == (mode != "late" or full.config.sparse_head)
    assert ("document_token_vectors" in result.cost) == (mode in ("late", "hybrid"))


def outputs(count: int, *, seed: int = 0, vocabulary: int = 40) -> TextOutputs:
    """Random outputs; texts have 0 to 5 tokens."""
    random = np.random.default_rng(seed)
    dense = random.normal(size=(count, 8)).astype(np.float32)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    weights = np.maximum(random.normal(size=(count, vocabulary)) - 1, 0).astype(np.float32)
    pieces = [np.flatnonzero(row).astype(np.int32) for row in weights]
    sparse = SparseRows(
        np.cumsum([0, *map(len, pieces)], dtype=np.int64),
        np.concatenate(pieces),
        weights[weights > 0],
        vocabulary,
    )
    late = []
    for _ in range(count):
        rows = random.normal(size=(random.integers(0, 6), 4)).astype(np.float32)
        late.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return TextOutputs(count, dense, sparse, late)


def test_large_sets_are_rescored_among_the_candidates_of_both_heads() -> None:
    documents, queries = outputs(1500), outputs(70, seed=1)
    options = FusionOptions({"dense": 0.5, "sparse": 1.0, "late": 2.0}, candidates=20)
    index = HeadIndex(documents, options)
    dense = queries.dense @ documents.dense.T
    sparse = dense_rows(queries.sparse) @ dense_rows(documents.sparse).T
    for i, found in enumerate(index.search(queries, 10)):
        union = sorted({*np.argsort(-dense[i])[:20].tolist(), *np.argsort(-sparse[i])[:20].tolist()})
        late = TokenStore(documents.late).scores(queries.late[i], np.array(union))
        fused = fuse({"dense": dense[i, union], "sparse": sparse[i, union], "late": late}, options)
        assert found.tolist() == [union[position] for position in np.argsort(-fused, kind="stable")[:10]]


def test_sparse_search_leaves_out_documents_without_a_common_piece() -> None:
    rows = SparseRows(np.array([0, 1, 2, 2]), np.array([3, 1], np.int32), np.ones(2, np.float32), 5)
    query = SparseRows(np.array([0, 1, 1]), np.array([3], np.int32), np.ones(1, np.float32), 5)
    index = HeadIndex(TextOutputs(3, sparse=rows), FusionOptions({"sparse": 1.0}))
    assert [found.tolist() for found in index.search(TextOutputs(2, sparse=query), 10)] == [[0], []]


def test_max_sim_is_the_definition_and_knows_texts_without_tokens() -> None:
    documents, queries = outputs(50), outputs(10, seed=1)
    store = TokenStore(documents.late)
    chosen = np.array([7, 3, 3, 49, 0])
    for query in queries.late:
        expected = [
            max_sim(query, documents.late[i]) if len(documents.late[i]) else -len(query) for i in chosen
        ]
        np.testing.assert_allclose(store.scores(query, chosen), expected, atol=0.01)
    assert store.scores(queries.late[0], np.array([], np.int64)).shape == (0,)
    assert len(store) == 50


def test_fusion_by_hand() -> None:
    scores = {"dense": np.array([0.0, 1.0, 0.5], np.float32), "sparse": np.array([4.0, 2.0, 2.0], np.float32)}
    scaled = fuse(scores, FusionOptions({"dense": 2.0, "sparse": 1.0}))
    np.testing.assert_allclose(scaled, [1.0, 2.0, 1.0])
    ranks = fuse(scores, FusionOptions({"dense": 2.0, "sparse": 1.0}, method="rrf"))
    np.testing.assert_allclose(ranks, [2 / 63 + 1 / 61, 2 / 61 + 1 / 62, 2 / 62 + 1 / 63], rtol=1e-6)
    same = fuse({"dense": np.ones(3, np.float32)}, FusionOptions({"dense": 1.0}))
    np.testing.assert_array_equal(same, [0, 0, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {}}, "no head has a weight"),
        ({"weights": {"bm25": 1.0}}, "head 'bm25' is not one of dense, sparse, sparse-idf, late"),
        ({"weights": {"dense": 0.0}}, "weight of head 'dense' is 0.0"),
        ({"weights": {"dense": float("nan")}}, "weight of head 'dense' is nan"),
        ({"method": "sum"}, "fusion 'sum' is not one of minmax, rrf"),
        ({"candidates": 0}, "candidates is 0"),
        ({"rrf_k": 0}, "rrf_k is 0"),
    ],
)
def test_bad_fusion_is_named(options: dict, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        FusionOptions(**options)


def test_heads_that_the_model_lacks_are_named_before_anything_is_encoded(
    beir_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    config = TAESRConfig.from_json(
        json.dumps({**TAESRConfig.from_file(model_folder / "config.json").to_dict(), "sparse_head": False})
    )
    TAESRModel(config).save_pretrained(tmp_path)
    shutil.copyfile(model_folder / "tokenizer.model", tmp_path / "tokenizer.model")
    bare, dataset = Encoder.load(tmp_path), load_beir(beir_folder)
    seen: list[tuple[str, int, int]] = []
    for mode in ("sparse", "sparse-idf", "hybrid"):
        with pytest.raises(InvalidArgument, match="has no sparse head"):
            evaluate_heads(dataset, bare, mode, progress=lambda *step: seen.append(step))
    assert seen == []
    assert "document_sparse_weights" not in evaluate_heads(dataset, bare, "late").cost
    weights = FusionOptions({"dense": 1.0, "late": 1.0})
    assert evaluate_heads(dataset, bare, "hybrid", fusion=weights).metrics["recall@50"] == 1


def test_modes_that_do_not_fit_are_refused(beir_folder: Path, full: Encoder) -> None:
    dataset = load_beir(beir_folder)
    with pytest.raises(InvalidArgument, match="mode 'bm25' is not one of"):
        evaluate_heads(dataset, full, "bm25")
    with pytest.raises(InvalidArgument, match="has only 'float32'"):
        evaluate_heads(dataset, full, "sparse", RetrievalOptions(precision="int8"))
    both = FusionOptions({"sparse": 1.0, "sparse-idf": 1.0})
    with pytest.raises(InvalidArgument, match="choose one"):
        evaluate_heads(dataset, full, "hybrid", fusion=both)


@pytest.mark.parametrize(("queries", "head"), [("table", "sparse-idf"), ("encoder", "sparse")])
def test_fusion_takes_sparse_queries_as_the_models_searches_do(
    beir_folder: Path,
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    queries: str,
    head: str,
) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    config = {**json.loads((model_folder / "config.json").read_text()), "sparse_queries": queries}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    arguments = ["eval", str(beir_folder), "--model", str(tmp_path / "model"), "--mode", "hybrid", "--json"]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["settings"]["head_weights"] == {"dense": 1, head: 1, "late": 1}
    named = FusionOptions({"dense": 1.0, head: 1.0, "late": 1.0})
    model, dataset = Encoder.load(tmp_path / "model"), load_beir(beir_folder)
    explicit = evaluate_heads(dataset, model, "hybrid", fusion=named)
    assert evaluate_heads(dataset, model, "hybrid").per_query == explicit.per_query


@pytest.mark.parametrize("mode", MODES)
def test_the_command_reports_each_mode(
    beir_folder: Path, model_folder: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    arguments = ["eval", str(beir_folder), "--model", str(model_folder), "--mode", mode, "--json"]
    extra = ["--head-weights", "dense=1,late=0.5", "--fusion", "rrf"] if mode == "hybrid" else []
    assert main([*arguments, *extra]) == 0
    document = json.loads(capsys.readouterr().out)
    assert 0 <= document["mean"]["ndcg@10"] <= 1
    assert document["settings"]["mode"] == mode
    assert document["settings"].get("head_weights") == ({"dense": 1, "late": 0.5} if extra else None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mode", "sparse", "--fusion", "rrf"], "--fusion is for --mode hybrid only"),
        (["--candidates", "5"], "--candidates is for --mode hybrid and late only"),
        (["--mode", "late", "--candidates", "0"], "candidates is 0; it must be at least 1"),
        (["--mode", "hybrid", "--head-weights", "bm25=1"], "head 'bm25' is not one of"),
    ],
)
def test_the_command_refuses_options_that_do_not_fit(
    beir_folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["eval", str(beir_folder), *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_weight_that_is_no_number_is_a_usage_error(
    beir_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("dense", "dense=x", "dense=1,dense=2", "dense=nan"):
        assert main(["eval", str(beir_folder), "--mode", "hybrid", "--head-weights", text]) == 2
        assert "is not like dense=1,sparse=0.5" in capsys.readouterr().err
