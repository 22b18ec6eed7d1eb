"""Measuring the whole search path: chunks, indexes and fusion of a real collection."""

import math
import tempfile
import time
from typing import TYPE_CHECKING, Literal

import numpy as np

from taesr.evaluation import cost
from taesr.evaluation.beir import RetrievalDataset
from taesr.evaluation.metrics import evaluate_rankings, mean_of, ranking_depth
from taesr.evaluation.retrieval import Progress, RetrievalResult, dataset_notes

if TYPE_CHECKING:
    import taesr

SearchMode = Literal["dense", "keyword", "hybrid"]
_MOST_HITS = 10_000  # that a search returns


def evaluate_search(
    dataset: RetrievalDataset,
    encoder: "taesr.Encoder",
    *,
    mode: SearchMode = "hybrid",
    depth: str | int = "auto",
    dim: int | None = None,
    progress: Progress | None = None,
) -> RetrievalResult:
    """Measure `taesr.Collection.search` on a temporary collection of the whole corpus.

    A document ranks where the first of its chunks does. Nothing is truncated. Hybrid figures move a
    little with the number of hits asked for, as fusion sees as many candidates of each head.

    Parameters
    ----------
    dataset : RetrievalDataset
        From `taesr.evaluation.load_beir`.
    encoder : Encoder
    mode : str
        "dense" (through the approximate index), "keyword" or "hybrid".
    depth : str or int
        Of passages and queries.
    dim : int, optional
        Matryoshka prefix that the dense head compares; all by default.
    progress : callable, optional
        Called with (what is being done, texts done, texts in all).

    Returns
    -------
    RetrievalResult
    """
    import taesr

    with (
        tempfile.TemporaryDirectory(prefix="taesr-eval-") as folder,
        taesr.Collection.open(folder, encoder=encoder) as collection,
    ):
        seconds = _fill(collection, dataset, depth, progress)
        searches = _search_all(collection, dataset, mode, depth, dim, progress)
        chunk_count = collection.chunk_count
    rankings = {query: _documents(result) for query, result in searches.items()}
    per_query = evaluate_rankings(dataset.qrels, rankings)
    times = [result.timings["total"] for result in searches.values()]
    return RetrievalResult(
        name=dataset.name,
        metrics=mean_of(list(per_query.values())),
        per_query=per_query,
        cost={
            "document_count": float(len(dataset.documents)),
            "chunk_count": float(chunk_count),
            "document_per_second": len(dataset.documents) / max(seconds, 1e-9),
            "query_count": float(len(searches)),
            "query_depth": float(np.mean([result.depth for result in searches.values()])),
            "query_ms_p50": float(np.percentile(times, 50)),
            "query_ms_p95": float(np.percentile(times, 95)),
            "peak_memory_bytes": float(cost.peak_memory_bytes()),
        },
        notes=dataset_notes(dataset),
    )


def _fill(
    collection: "taesr.Collection", dataset: RetrievalDataset, depth: str | int, progress: Progress | None
) -> float:
    """Add the whole corpus; return the seconds that it took."""
    from taesr import Document

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(f"{dataset.name} documents", done, total)

    pairs = zip(dataset.document_ids, dataset.documents, strict=True)
    documents = [Document(identifier, text) for identifier, text in pairs]
    begin = time.perf_counter()
    collection.add(documents, depth=depth, progress=report)
    return time.perf_counter() - begin


def _search_all(
    collection: "taesr.Collection",
    dataset: RetrievalDataset,
    mode: SearchMode,
    depth: str | int,
    dim: int | None,
    progress: Progress | None,
) -> dict[str, "taesr.SearchResult"]:
    """Search for every query, with enough hits that the measures' cuts hold for documents."""
    chunks_per_document = collection.chunk_count / max(collection.document_count, 1)
    k = min(_MOST_HITS, math.ceil(ranking_depth(dataset.qrels) * chunks_per_document))
    results = {}
    for identifier, query in zip(dataset.query_ids, dataset.queries, strict=True):
        results[identifier] = collection.search(query, k=k, mode=mode, depth=depth, dim=dim)
        if progress is not None:
            progress(f"{dataset.name} queries", len(results), len(dataset.queries))
    return results


def _documents(result: "taesr.SearchResult") -> list[str]:
    """Return documents in the order of their best chunks."""
    return list(dict.fromkeys(hit.document for hit in result.hits))
