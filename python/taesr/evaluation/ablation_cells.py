"""One combination of an ablation: what was measured, and how."""

from dataclasses import dataclass

import numpy as np

from taesr.evaluation.beir import RetrievalDataset
from taesr.evaluation.exact import Floats, make_store, search
from taesr.evaluation.metrics import evaluate_rankings, ranking_depth
from taesr.evaluation.retrieval import EncodedTexts

QUALITY = "ndcg@10"
PerQuery = dict[str, dict[str, float]]
Depth = int | str  # a number of recursions, or "auto"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination on one set.

    Attributes
    ----------
    dataset : str
    depth, passage_depth : int or str
        As asked for, of queries and documents.
    dim, precision
    metrics : dict of str to float
        Means over the queries, 0 to 1.
    per_query : dict
        Query id to measure to value.
    cost : dict of str to float
        ``query_depth`` and ``document_depth`` (means), ``query_flops`` and ``document_flops`` (means),
        ``vector_bytes`` of the whole set, ``query_ms_p50`` and ``query_ms_p95`` (encoding alone).
    """

    dataset: str
    depth: Depth
    passage_depth: Depth
    dim: int
    precision: str
    metrics: dict[str, float]
    per_query: PerQuery
    cost: dict[str, float]


@dataclass(frozen=True)
class Encodings:
    """Whole vectors of one set by depth."""

    queries: dict[Depth, EncodedTexts]
    documents: dict[Depth, EncodedTexts]
    latency: dict[Depth, dict[str, float]]


def slice_vectors(vectors: Floats, dim: int) -> Floats:
    """Return the first `dim` values of each row, made unit again; a zero row stays zero."""
    prefix = vectors[:, :dim]
    norms = np.maximum(np.linalg.norm(prefix, axis=1, keepdims=True), 1e-12)
    unit: Floats = (prefix / norms).astype(np.float32)
    return unit


def measure(
    dataset: RetrievalDataset, queries: Floats, documents: Floats, precision: str
) -> tuple[PerQuery, int]:
    """Search exactly; return the measures of each query and the bytes of the document vectors."""
    store = make_store(documents, precision)
    found = search(store, queries, ranking_depth(dataset.qrels))
    rankings = {
        query: [dataset.document_ids[position] for position in row]
        for query, row in zip(dataset.query_ids, found, strict=True)
    }
    return evaluate_rankings(dataset.qrels, rankings), store.nbytes
