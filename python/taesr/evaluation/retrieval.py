"""Measuring an encoder on a retrieval set: encode, search exactly, compare with the judgements."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from taesr.errors import Error, InvalidArgument
from taesr.evaluation import cost
from taesr.evaluation.beir import RetrievalDataset
from taesr.evaluation.exact import PRECISIONS, Floats, VectorStore, make_store, search
from taesr.evaluation.metrics import evaluate_rankings, mean_of, ranking_depth

Role = Literal["query", "passage"]
Overflow = Literal["chunk", "truncate"]
Progress = Callable[[str, int, int], None]  # what is being done, texts done, texts in all


class Encoded(Protocol):
    """What `taesr.Encoder.encode_detailed` returns."""

    @property
    def embeddings(self) -> Floats: ...
    @property
    def depths(self) -> Sequence[int]: ...
    @property
    def token_counts(self) -> Sequence[int]: ...
    @property
    def windows(self) -> Sequence[int]: ...
    @property
    def truncated(self) -> int: ...


class TextEncoder(Protocol):
    """The part of `taesr.Encoder` that measuring needs."""

    @property
    def config(self) -> Any: ...
    def encode_detailed(
        self,
        texts: Sequence[str],
        *,
        role: Role,
        depth: str | int,
        dim: int | None,
        on_overflow: Overflow,
        max_tokens: int | None,
    ) -> Encoded: ...


@dataclass(frozen=True)
class RetrievalOptions:
    """How a set is encoded and searched.

    Attributes
    ----------
    depth : str or int
        Of queries and documents: "easy", "medium", "hard", "auto" or a number of recursions.
    dim : int, optional
        Matryoshka prefix of the vectors; all by default.
    precision : str
        How document vectors are kept: "float32", "int8" or "binary" (see `taesr.evaluation.exact`).
    on_overflow : str
        "truncate" reads the first pass of a long text, as published figures do; "chunk" reads all
        of it in windows.
    max_tokens : int, optional
        Tokens of one pass, as of `taesr.Encoder.encode`; published figures are of 256 to 512.
    batch_size : int
        Texts given to the encoder between two reports of progress.
    """

    depth: str | int = "hard"
    dim: int | None = None
    precision: str = "float32"
    on_overflow: Overflow = "truncate"
    max_tokens: int | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InvalidArgument(f"precision {self.precision!r} is not one of {', '.join(PRECISIONS)}")
        if self.batch_size < 1:
            raise InvalidArgument(f"batch_size is {self.batch_size}; it must be at least 1")


@dataclass(frozen=True)
class EncodedTexts:
    """Vectors of some texts and what it took to make them."""

    vectors: Floats  # unit rows [texts, dim]
    depths: list[int]
    token_counts: list[int]  # that were read
    windows: list[int]  # passes, by text
    truncated: int
    seconds: float
    outputs: Sequence[str] = ("dense",)  # heads that were computed, for the FLOPs


@dataclass(frozen=True)
class RetrievalResult:
    """What one set showed.

    Attributes
    ----------
    name : str
        Name of the set.
    metrics : dict of str to float
        Means over its queries, 0 to 1.
    per_query : dict
        Query id to measure to value, for paired tests.
    cost : dict of str to float
        Sizes, token counts, depths used, speed, latency (milliseconds), memory (bytes) and FLOPs.
    notes : list of str
        What a reader of the figures should know about the set.
    """

    name: str
    metrics: dict[str, float]
    per_query: dict[str, dict[str, float]]
    cost: dict[str, float]
    notes: list[str]


def evaluate_retrieval(
    dataset: RetrievalDataset,
    encoder: TextEncoder,
    options: RetrievalOptions | None = None,
    *,
    progress: Progress | None = None,
) -> RetrievalResult:
    """Measure exact dense retrieval.

    Parameters
    ----------
    dataset : RetrievalDataset
        From `taesr.evaluation.load_beir`.
    encoder : Encoder
    options : RetrievalOptions, optional
    progress : callable, optional
        Called with (what is being done, texts done, texts in all).

    Returns
    -------
    RetrievalResult
    """
    options = options or RetrievalOptions()
    queries = encode_texts(encoder, dataset.queries, "query", options, f"{dataset.name} queries", progress)
    documents = encode_texts(
        encoder, dataset.documents, "passage", options, f"{dataset.name} documents", progress
    )
    store = make_store(documents.vectors, options.precision)
    found = search(store, queries.vectors, ranking_depth(dataset.qrels))
    rankings = {
        query: [dataset.document_ids[position] for position in row]
        for query, row in zip(dataset.query_ids, found, strict=True)
    }
    per_query = evaluate_rankings(dataset.qrels, rankings)
    return RetrievalResult(
        name=dataset.name,
        metrics=mean_of(list(per_query.values())),
        per_query=per_query,
        cost={
            **encoding_cost(encoder, queries, documents),
            **_query_latency(encoder, dataset.queries, store, options),
            "vector_bytes": float(store.nbytes),
            "peak_memory_bytes": float(cost.peak_memory_bytes()),
        },
        notes=[*truncation_notes(dataset, queries, documents), *dataset_notes(dataset)],
    )


def encode_texts(
    encoder: TextEncoder,
    texts: Sequence[str],
    role: Role,
    options: RetrievalOptions,
    label: str,
    progress: Progress | None = None,
) -> EncodedTexts:
    """Encode `texts` in batches of `options.batch_size`, reporting progress after each."""
    vectors: list[Floats] = []
    depths: list[int] = []
    token_counts: list[int] = []
    windows: list[int] = []
    truncated = 0
    begin = time.perf_counter()
    for start in range(0, len(texts), options.batch_size):
        encoded = encode_as_asked(encoder, texts[start : start + options.batch_size], role, options)
        batch = encoded.embeddings
        if not np.isfinite(batch).all():
            raise Error(f"{label}: the model gave a vector that is not finite; its weights may be damaged")
        vectors.append(batch)
        depths.extend(encoded.depths)
        token_counts.extend(tokens_read(encoded.token_counts, options))
        windows.extend(encoded.windows)
        truncated += encoded.truncated
        if progress is not None:
            progress(label, len(depths), len(texts))
    seconds = time.perf_counter() - begin
    return EncodedTexts(np.vstack(vectors), depths, token_counts, windows, truncated, seconds)


def encode_as_asked(
    encoder: TextEncoder, texts: Sequence[str], role: Role, options: RetrievalOptions
) -> Encoded:
    """Encode `texts` in one call."""
    return encoder.encode_detailed(
        texts,
        role=role,
        depth=options.depth,
        dim=options.dim,
        on_overflow=options.on_overflow,
        max_tokens=options.max_tokens,
    )


def tokens_read(counts: Sequence[int], options: RetrievalOptions) -> list[int]:
    """Tokens that were read of texts of so many."""
    if options.max_tokens is None or options.on_overflow == "chunk":
        return list(counts)
    return [min(count, options.max_tokens) for count in counts]


def encoding_cost(encoder: TextEncoder, queries: EncodedTexts, documents: EncodedTexts) -> dict[str, float]:
    """Return counts, lengths, depths, FLOPs and speed of both sides."""
    figures: dict[str, float] = {}
    for name, encoded in (("query", queries), ("document", documents)):
        figures[f"{name}_count"] = float(len(encoded.depths))
        figures[f"{name}_tokens"] = float(np.mean(encoded.token_counts))
        figures[f"{name}_depth"] = float(np.mean(encoded.depths))
        figures[f"{name}_flops"] = cost.mean_flops(
            encoder.config,
            encoded.token_counts,
            encoded.depths,
            windows=encoded.windows,
            outputs=encoded.outputs,
        )
        figures[f"{name}_truncated"] = float(encoded.truncated)
        figures[f"{name}_per_second"] = len(encoded.depths) / max(encoded.seconds, 1e-9)
    return figures


def _query_latency(
    encoder: TextEncoder, queries: Sequence[str], store: VectorStore, options: RetrievalOptions
) -> dict[str, float]:
    """Time one query from text to its ten best documents."""

    def answer(text: str) -> None:
        search(store, encode_as_asked(encoder, [text], "query", options).embeddings, 10)

    times = cost.latencies_ms(answer, queries)
    return {
        "query_ms_p50": float(np.percentile(times, 50)),
        "query_ms_p95": float(np.percentile(times, 95)),
    }


def dataset_notes(dataset: RetrievalDataset) -> list[str]:
    """Return what a reader of any figures on `dataset` should know."""
    notes = []
    if dataset.unjudged_queries:
        notes.append(f"{dataset.name}: {dataset.unjudged_queries} queries without judgements were left out")
    if dataset.missing_documents:
        notes.append(
            f"{dataset.name}: {dataset.missing_documents} relevant judgements name documents that the "
            "corpus lacks; they count as not found"
        )
    return notes


def truncation_notes(dataset: RetrievalDataset, queries: EncodedTexts, documents: EncodedTexts) -> list[str]:
    """Return how many texts were not read to their end, if any."""
    if not documents.truncated and not queries.truncated:
        return []
    return [
        f"{dataset.name}: the end of {documents.truncated} of {len(dataset.documents)} documents and "
        f"{queries.truncated} of {len(dataset.queries)} queries was not read (longer than one pass)"
    ]
