"""What compressed vectors cost in quality: bytes a vector and retained nDCG@10, by codec."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from taesr.compression import VectorCodec
from taesr.errors import InvalidArgument
from taesr.evaluation.beir import RetrievalDataset
from taesr.evaluation.exact import Floats, Indices
from taesr.evaluation.metrics import evaluate_rankings, mean_of, ranking_depth
from taesr.evaluation.retrieval import Progress, RetrievalOptions, TextEncoder, encode_texts

_REFERENCE = "float32"


@dataclass(frozen=True)
class CodecResult:
    """One codec on one set.

    Attributes
    ----------
    codec : str
        Name, see `taesr.compression.VectorCodec`.
    bytes_per_vector : int
    ratio : float
        How many times smaller than float32.
    ndcg : float
        nDCG@10 of an exact search over the codes.
    retained : float
        `ndcg` by that of the float32 vectors; 1 is all.
    overlap : float
        Share of the ten best documents of the float32 vectors that are among the ten best, too.
    fit_seconds, encode_per_second, scores_per_second : float
        Cost of the codec; scores are one query's, on one thread.
    codec_bytes : int
        Size of the codec itself, once for all vectors.
    """

    codec: str
    bytes_per_vector: int
    ratio: float
    ndcg: float
    retained: float
    overlap: float
    fit_seconds: float
    encode_per_second: float
    scores_per_second: float
    codec_bytes: int


@dataclass(frozen=True)
class CompressionResult:
    """All codecs on one set, float32 first."""

    name: str
    codecs: list[CodecResult]


def evaluate_compression(
    dataset: RetrievalDataset,
    encoder: TextEncoder,
    codecs: Sequence[str],
    options: RetrievalOptions | None = None,
    *,
    progress: Progress | None = None,
) -> CompressionResult:
    """Measure codecs, fitted to the documents' vectors, on a retrieval set.

    Queries stay float32, as they do in a search. Codecs that the set's documents are too few to be fitted
    to raise InvalidArgument before anything is encoded.
    """
    options = options or RetrievalOptions()
    if options.precision != "float32":
        raise InvalidArgument(f"precision is {options.precision!r}; compression is measured against float32")
    dimension = options.dim or int(encoder.config.embedding_size)
    # Names are checked by fitting to noise: an hour's encoding should not end in a typing error.
    noise = np.random.default_rng(0).normal(size=(min(len(dataset.documents), 256), dimension))
    for name in codecs:
        VectorCodec.fit(name, noise.astype(np.float32), iterations=1)
    queries = encode_texts(encoder, dataset.queries, "query", options, f"{dataset.name} queries", progress)
    documents = encode_texts(
        encoder, dataset.documents, "passage", options, f"{dataset.name} documents", progress
    )
    return compare_codecs(dataset, queries.vectors, documents.vectors, codecs)


def compare_codecs(
    dataset: RetrievalDataset, queries: Floats, documents: Floats, codecs: Sequence[str]
) -> CompressionResult:
    """Measure codecs on vectors that are there already: queries [q, dim] and documents [n, dim]."""
    rows: list[CodecResult] = []
    best: Indices = np.empty((0, 0), dtype=np.int64)
    for name in dict.fromkeys([_REFERENCE, *codecs]):
        begin = time.perf_counter()
        codec = VectorCodec.fit(name, documents)
        fitted = time.perf_counter()
        codes = codec.encode(documents)
        encoded = time.perf_counter()
        found, _ = codec.search(queries, codes, k=ranking_depth(dataset.qrels), rescore=_rescore(name))
        searched = time.perf_counter()
        if name == _REFERENCE:
            best = found[:, :10]
        ndcg = _ndcg(dataset, found)
        reference = rows[0].ndcg if rows else ndcg
        rows.append(
            CodecResult(
                codec=name,
                bytes_per_vector=codec.code_size,
                ratio=codec.ratio,
                ndcg=ndcg,
                retained=ndcg / reference if reference > 0 else 1.0,
                overlap=_overlap(best, found[:, :10]),
                fit_seconds=fitted - begin,
                encode_per_second=len(documents) / max(encoded - fitted, 1e-9),
                scores_per_second=len(documents) * len(queries) / max(searched - encoded, 1e-9),
                codec_bytes=len(codec.to_bytes()),
            )
        )
    return CompressionResult(dataset.name, rows)


class CompressionReport:
    """Results of several sets, at least one, with the same codecs."""

    def __init__(self, results: Sequence[CompressionResult], settings: dict[str, Any]) -> None:
        if not results:
            raise InvalidArgument("a report of no results does not exist")
        self.results = list(results)
        self.settings = settings

    @property
    def mean_retained(self) -> dict[str, float]:
        """Retained nDCG@10 by codec, mean of the sets."""
        names = [row.codec for row in self.results[0].codecs]
        return {
            name: float(
                np.mean(
                    [row.retained for result in self.results for row in result.codecs if row.codec == name]
                )
            )
            for name in names
        }

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"compression": {set: [row, ...]}, "mean_retained": {codec: share}, "settings"}``."""
        return {
            "compression": {result.name: [asdict(row) for row in result.codecs] for result in self.results},
            "mean_retained": self.mean_retained,
            "settings": self.settings,
        }

    def to_text(self) -> str:
        """Return a table for a terminal; nDCG@10 and retained in percent."""
        names = [result.name for result in self.results]
        heading = ["codec", "bytes", "smaller", *(f"{name} nDCG@10 (kept)" for name in names), "mean kept"]
        lines = [heading]
        for i, row in enumerate(self.results[0].codecs):
            cells = [result.codecs[i] for result in self.results]
            lines.append(
                [
                    row.codec,
                    f"{row.bytes_per_vector}",
                    f"{row.ratio:.1f}x",
                    *(f"{100 * cell.ndcg:.1f} ({100 * cell.retained:.1f})" for cell in cells),
                    f"{100 * self.mean_retained[row.codec]:.1f}",
                ]
            )
        widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def _rescore(name: str) -> int:
    """Four times k, as `taesr.evaluation.exact` has it for binary vectors."""
    return 4 if name.split("-")[-1] == "binary" else 0


def _ndcg(dataset: RetrievalDataset, found: Indices) -> float:
    rankings = {
        query: [dataset.document_ids[position] for position in row]
        for query, row in zip(dataset.query_ids, found, strict=True)
    }
    return mean_of(list(evaluate_rankings(dataset.qrels, rankings).values()))["ndcg@10"]


def _overlap(best: Indices, found: Indices) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(best, found, strict=True)]))
