"""Measuring the sparse and late-interaction heads, alone and together with the dense one."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from taesr.errors import Error, InvalidArgument
from taesr.evaluation import cost
from taesr.evaluation.beir import RetrievalDataset
from taesr.evaluation.fusion import FusionOptions, Head, model_weights
from taesr.evaluation.head_index import HeadIndex, TextOutputs
from taesr.evaluation.metrics import evaluate_rankings, mean_of, ranking_depth
from taesr.evaluation.retrieval import (
    EncodedTexts,
    Progress,
    RetrievalOptions,
    RetrievalResult,
    Role,
    dataset_notes,
    encoding_cost,
    tokens_read,
    truncation_notes,
)

if TYPE_CHECKING:
    from taesr import Encoder
    from taesr.encoder import Output

HeadMode = Literal["sparse", "sparse-idf", "late", "hybrid"]
HEAD_MODES: tuple[HeadMode, ...] = ("sparse", "sparse-idf", "late", "hybrid")


def evaluate_heads(
    dataset: RetrievalDataset,
    encoder: "Encoder",
    mode: HeadMode = "hybrid",
    options: RetrievalOptions | None = None,
    *,
    fusion: FusionOptions | None = None,
    progress: Progress | None = None,
) -> RetrievalResult:
    """Measure exact retrieval with other heads than the dense one.

    Parameters
    ----------
    dataset : RetrievalDataset
        From `taesr.evaluation.load_beir`.
    encoder : Encoder
    mode : str
        "sparse" (SPLADE); "sparse-idf", the same with queries made without an encoder; "late" (exact
        MaxSim on the candidates of the dense and, if there is one, the sparse head; of all documents
        in sets of up to 1,000); "hybrid" (the heads of `fusion.weights` together).
    options : RetrievalOptions, optional
        `precision` must be "float32".
    fusion : FusionOptions, optional
        For the hybrid mode, and the number of candidates for "late"; by default the heads weigh the same
        and sparse queries are made as the model's searches make them.
    progress : callable, optional
        Called with (what is being done, texts done, texts in all).

    Raises
    ------
    InvalidArgument
        Names the head that the model lacks, before anything is encoded.
    """
    options = options or RetrievalOptions()
    if options.precision != "float32":
        raise InvalidArgument(f"precision is {options.precision!r}; this mode has only 'float32'")
    fusion = _weighted(mode, fusion or FusionOptions(model_weights(encoder.config)))
    reader = _Reader(encoder, options, fusion)
    queries, read_queries = reader.read(dataset.queries, "query", f"{dataset.name} queries", progress)
    documents, read = reader.read(dataset.documents, "passage", f"{dataset.name} documents", progress)
    index = HeadIndex(documents, fusion)
    rankings: dict[str, list[str]] = {}
    for found in index.search(queries, ranking_depth(dataset.qrels)):
        rankings[dataset.query_ids[len(rankings)]] = [dataset.document_ids[position] for position in found]
        if progress is not None:
            progress(f"{dataset.name} search", len(rankings), queries.count)
    per_query = evaluate_rankings(dataset.qrels, rankings)

    def answer(text: str) -> None:
        list(index.search(reader.read([text], "query", "query")[0], 10))

    times = cost.latencies_ms(answer, dataset.queries)
    figures = {
        **encoding_cost(encoder, read_queries, read),
        "query_ms_p50": float(np.percentile(times, 50)),
        "query_ms_p95": float(np.percentile(times, 95)),
        "vector_bytes": float(index.nbytes),
        **index.entries_a_document,
        "peak_memory_bytes": float(cost.peak_memory_bytes()),
    }
    if not reader.outputs("query"):
        figures["query_flops"] = 0.0  # looked up, not computed
    return RetrievalResult(
        name=dataset.name,
        metrics=mean_of(list(per_query.values())),
        per_query=per_query,
        cost=figures,
        notes=[*truncation_notes(dataset, read_queries, read), *dataset_notes(dataset)],
    )


def _weighted(mode: HeadMode, fusion: FusionOptions) -> FusionOptions:
    if mode not in HEAD_MODES:
        raise InvalidArgument(f"mode {mode!r} is not one of {', '.join(HEAD_MODES)}")
    if mode != "hybrid":
        return FusionOptions({mode: 1.0}, fusion.method, fusion.candidates, fusion.rrf_k)
    if {"sparse", "sparse-idf"} <= set(fusion.weights):
        raise InvalidArgument("heads 'sparse' and 'sparse-idf' both have a weight; choose one")
    return fusion


class _Reader:
    """Texts to the outputs that a set of heads needs."""

    def __init__(self, encoder: "Encoder", options: RetrievalOptions, fusion: FusionOptions) -> None:
        self._encoder = encoder
        self._options = options
        self._heads: set[Head] = set(fusion.weights)
        if "late" in self._heads and not self._heads & {"dense", "sparse", "sparse-idf"}:
            # Alone, late interaction gets its candidates from the other heads.
            self._heads |= {"dense", "sparse"} if encoder.config.sparse_head else {"dense"}
        self._encode([], "passage", self.outputs("passage"))  # says which head is missing

    def outputs(self, role: Role) -> "list[Output]":
        """Return what texts of this role are encoded to; the IDF table needs no encoder."""
        wanted: list[Output] = []
        if "dense" in self._heads:
            wanted.append("dense")
        if "sparse" in self._heads or ("sparse-idf" in self._heads and role == "passage"):
            wanted.append("sparse")
        if "late" in self._heads:
            wanted.append("late")
        return wanted

    def read(
        self, texts: Sequence[str], role: Role, label: str, progress: Progress | None = None
    ) -> tuple[TextOutputs, EncodedTexts]:
        """Read `texts` in batches, reporting progress after each; return outputs and what it took."""
        parts: list[tuple[TextOutputs, EncodedTexts]] = []
        size = self._options.batch_size
        begin = time.perf_counter()
        for start in range(0, len(texts), size):
            parts.append(self._encode(texts[start : start + size], role, self.outputs(role)))
            if not _finite(parts[-1][0]):
                raise Error(
                    f"{label}: the model gave a vector that is not finite; its weights may be damaged"
                )
            if progress is not None:
                progress(label, min(start + size, len(texts)), len(texts))
        return _join(parts, time.perf_counter() - begin)

    def _encode(
        self, texts: Sequence[str], role: Role, wanted: "list[Output]"
    ) -> tuple[TextOutputs, EncodedTexts]:
        looked_up = role == "query" and "sparse-idf" in self._heads
        sparse = self._encoder.encode_sparse_query(texts) if looked_up else None
        if not wanted:
            counts = [self._encoder.count_tokens(text) for text in texts]
            nothing = np.empty((len(texts), 0), np.float32)
            zeros = [0] * len(texts)
            return TextOutputs(len(texts), None, sparse), EncodedTexts(nothing, zeros, counts, zeros, 0, 0.0)
        options = self._options
        encoded = self._encoder.encode_full(
            texts,
            outputs=wanted,
            role=role,
            depth=options.depth,
            dim=options.dim,
            on_overflow=options.on_overflow,
            max_tokens=options.max_tokens,
        )
        dense = encoded.embeddings if "dense" in wanted else None
        outputs = TextOutputs(len(texts), dense, encoded.sparse if sparse is None else sparse, encoded.late)
        return outputs, EncodedTexts(
            encoded.embeddings,
            encoded.depths,
            tokens_read(encoded.token_counts, options),
            encoded.windows,
            encoded.truncated,
            0.0,
            wanted,
        )


def _finite(outputs: TextOutputs) -> bool:
    arrays = [] if outputs.late is None else [*outputs.late]
    if outputs.dense is not None:
        arrays.append(outputs.dense)
    if outputs.sparse is not None:
        arrays.append(outputs.sparse.values)
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _join(
    parts: Sequence[tuple[TextOutputs, EncodedTexts]], seconds: float
) -> tuple[TextOutputs, EncodedTexts]:
    from taesr.sparse import SparseRows

    outputs = [part[0] for part in parts]
    read = [part[1] for part in parts]
    dense = [output.dense for output in outputs if output.dense is not None]
    sparse = [output.sparse for output in outputs if output.sparse is not None]
    late = [output.late for output in outputs if output.late is not None]
    joined = TextOutputs(
        sum(output.count for output in outputs),
        np.vstack(dense) if dense else None,
        SparseRows.stack(sparse) if sparse else None,
        [rows for rows_of_batch in late for rows in rows_of_batch] if late else None,
    )
    return joined, EncodedTexts(
        np.vstack([part.vectors for part in read]),
        [depth for part in read for depth in part.depths],
        [count for part in read for count in part.token_counts],
        [count for part in read for count in part.windows],
        sum(part.truncated for part in read),
        seconds,
        read[0].outputs,
    )
