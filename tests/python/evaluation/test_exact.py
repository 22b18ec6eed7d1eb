"""Exact search and the representations of document vectors."""

import numpy as np
import pytest

from taesr.errors import InvalidArgument
from taesr.evaluation import exact


def _unit(rows: int, dim: int, seed: int) -> exact.Floats:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_blocks_give_the_same_hits_as_one_full_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    documents, queries = _unit(500, 24, seed=1), _unit(30, 24, seed=2)
    monkeypatch.setattr(exact, "_QUERY_BLOCK", 7)
    monkeypatch.setattr(exact, "_DOCUMENT_BLOCK", 33)
    found = exact.search(exact.make_store(documents, "float32"), queries, 20)
    expected = np.argsort(-(queries.astype(np.float64) @ documents.T.astype(np.float64)), axis=1)[:, :20]
    assert found.tolist() == expected.tolist()


def test_equal_scores_come_in_corpus_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_DOCUMENT_BLOCK", 4)
    documents = np.tile(np.float32([[1, 0]]), (11, 1))
    found = exact.search(exact.make_store(documents, "float32"), np.float32([[1, 0]]), 5)
    assert found.tolist() == [[0, 1, 2, 3, 4]]


def test_fewer_documents_than_asked_for_are_all_returned() -> None:
    for precision in exact.PRECISIONS:
        found = exact.search(exact.make_store(_unit(3, 16, seed=3), precision), _unit(2, 16, seed=4), 10)
        assert sorted(found[0]) == [0, 1, 2]
        assert found.shape == (2, 3)


def test_int8_is_the_integer_product_of_codes_with_one_scale() -> None:
    documents, queries = _unit(200, 32, seed=5), _unit(9, 32, seed=6)
    scale = 127 / np.percentile(np.abs(documents), 99.9)
    codes = [np.clip(np.rint(part * scale), -127, 127).astype(np.int64) for part in (queries, documents)]
    expected = np.argsort(-(codes[0] @ codes[1].T), axis=1, kind="stable")[:, :10]
    store = exact.make_store(documents, "int8")
    assert store.nbytes == 200 * 32
    assert exact.search(store, queries, 10).tolist() == expected.tolist()


def test_int8_keeps_nearly_all_neighbours() -> None:
    documents, queries = _unit(2000, 128, seed=7), _unit(50, 128, seed=8)
    full = exact.search(exact.make_store(documents, "float32"), queries, 10)
    small = exact.search(exact.make_store(documents, "int8"), queries, 10)
    kept = np.mean([len(set(a) & set(b)) for a, b in zip(full, small, strict=True)])
    assert 9.3 < kept <= 10


@pytest.mark.parametrize("dim", [32, 37])  # 37 bits do not fill their last byte
def test_binary_orders_by_hamming_distance_then_rescores(dim: int) -> None:
    documents, queries = _unit(300, dim, seed=9), _unit(8, dim, seed=10)
    hamming = ((queries > 0)[:, None, :] != (documents > 0)[None, :, :]).sum(axis=2)
    candidates = np.argsort(hamming, axis=1, kind="stable")[:, :20]
    signs = np.where(documents > 0, 1.0, -1.0)
    store = exact.make_store(documents, "binary")
    found = exact.search(store, queries, 5)
    assert store.nbytes == 300 * ((dim + 7) // 8)
    for row, query, candidate in zip(found, queries, candidates, strict=True):
        scores = {int(position): float(signs[position] @ query) for position in candidate}
        assert list(row) == sorted(scores, key=lambda position: -scores[position])[:5]


def test_vectors_of_zeros_have_a_representation() -> None:
    for precision in exact.PRECISIONS:
        store = exact.make_store(np.zeros((4, 8), np.float32), precision)
        assert exact.search(store, np.zeros((1, 8), np.float32), 2).tolist() == [[0, 1]]


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="'int4' is not one of float32, int8, binary"):
        exact.make_store(np.zeros((1, 8), np.float32), "int4")
