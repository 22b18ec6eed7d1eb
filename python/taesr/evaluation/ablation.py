"""Depth x slice x precision x router on one or several retrieval sets, each text encoded once a depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taesr.errors import InvalidArgument
from taesr.evaluation import cost
from taesr.evaluation.ablation_cells import Cell, Depth, Encodings, measure, slice_vectors
from taesr.evaluation.ablation_router import RouterResult, compare_router
from taesr.evaluation.beir import RetrievalDataset
from taesr.evaluation.exact import PRECISIONS
from taesr.evaluation.metrics import mean_of
from taesr.evaluation.retrieval import (
    EncodedTexts,
    Overflow,
    Progress,
    RetrievalOptions,
    Role,
    TextEncoder,
    dataset_notes,
    encode_as_asked,
    encode_texts,
)


@dataclass(frozen=True, kw_only=True)
class AblationOptions:
    """What is varied.

    Attributes
    ----------
    depths : sequence of int, optional
        Recursions; those that the model's config names by default.
    dims : sequence of int, optional
        Slices; the config's Matryoshka dimensions by default.
    precisions : sequence of str
        How document vectors are kept: "float32", "int8", "binary".
    router : bool
        Measure depth "auto" too, beside a random router with the same histogram of depths.
    passage_depth : int, optional
        Depth of the documents in every row; by default that of the queries.
    on_overflow : str
        As in `RetrievalOptions`, like the next.
    max_tokens : int, optional
    batch_size : int
        Texts given to the encoder between two reports of progress.
    trials : int
        Random routers. Each means a search where documents are routed too.
    """

    depths: Sequence[int] | None = None
    dims: Sequence[int] | None = None
    precisions: Sequence[str] = ("float32",)
    router: bool = False
    passage_depth: int | None = None
    on_overflow: Overflow = "truncate"
    max_tokens: int | None = None
    batch_size: int = 64
    trials: int = 20

    def __post_init__(self) -> None:
        for name, values in (("depths", self.depths), ("dims", self.dims), ("precisions", self.precisions)):
            if values is not None and (len(values) == 0 or len(set(values)) != len(values)):
                raise InvalidArgument(f"{name} is {list(values)}; it needs values, each once")
        for name, least in (("depths", self.depths), ("dims", self.dims)):
            if least is not None and min(least) < 1:
                raise InvalidArgument(f"{name} holds {min(least)}; allowed: 1 and more")
        for precision in self.precisions:
            if precision not in PRECISIONS:
                raise InvalidArgument(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        if self.trials < 1:
            raise InvalidArgument(f"trials is {self.trials}; it must be at least 1")

    def at(self, depth: Depth) -> RetrievalOptions:
        """How texts are encoded at one depth, at full length."""
        return RetrievalOptions(
            depth=depth,
            on_overflow=self.on_overflow,
            max_tokens=self.max_tokens,
            batch_size=self.batch_size,
        )


@dataclass(frozen=True)
class Ablation:
    """All cells, and the router's comparison where it was asked for."""

    cells: list[Cell]
    router: list[RouterResult]
    settings: dict[str, Any]
    notes: list[str]


def run_ablation(
    datasets: Sequence[RetrievalDataset],
    encoder: TextEncoder,
    options: AblationOptions | None = None,
    *,
    progress: Progress | None = None,
) -> Ablation:
    """Measure every combination.

    Raises
    ------
    InvalidArgument
        A depth or dimension that the model lacks, or a router that uses a depth that is not measured.
    """
    options = options or AblationOptions()
    depths, dims = _axes(encoder, options)
    cells: list[Cell] = []
    routers: list[RouterResult] = []
    notes: list[str] = []
    for dataset in datasets:
        encodings = _encode(dataset, encoder, options, depths, progress)
        measured = _cells(dataset, encoder, options, encodings, dims)
        cells += measured
        if options.router:
            routers.append(compare_router(dataset, encodings, measured, trials=options.trials))
        notes += dataset_notes(dataset)
        notes += _truncation_note(dataset, next(iter(encodings.documents.values())))
    settings = {
        "depths": depths,
        "dims": dims,
        "precisions": list(options.precisions),
        "router": options.router,
        "passage_depth": options.passage_depth,
        "long_texts": options.on_overflow,
        "max_tokens": options.max_tokens,
        "trials": options.trials if options.router else None,
    }
    return Ablation(cells, routers, settings, notes)


def _axes(encoder: TextEncoder, options: AblationOptions) -> tuple[list[int], list[int]]:
    config = encoder.config
    deepest = max(config.recursion_steps.values())
    depths = sorted(set(options.depths or config.recursion_steps.values()))
    dims = sorted(options.dims or config.matryoshka_dimensions)
    for depth in [*depths, *([options.passage_depth] if options.passage_depth is not None else [])]:
        if not 1 <= depth <= deepest:
            raise InvalidArgument(f"depth {depth} is not one that the model has: 1 to {deepest}")
    if dims[-1] > config.embedding_size:
        raise InvalidArgument(f"dim is {dims[-1]}; allowed: 1 to {config.embedding_size}")
    return depths, dims


def _encode(
    dataset: RetrievalDataset,
    encoder: TextEncoder,
    options: AblationOptions,
    depths: Sequence[int],
    progress: Progress | None,
) -> Encodings:
    def encode(texts: Sequence[str], role: Role, depth: Depth, what: str) -> EncodedTexts:
        label = f"{dataset.name} {what}, depth {depth}"
        return encode_texts(encoder, texts, role, options.at(depth), label, progress)

    asked: list[Depth] = [*depths, *(["auto"] if options.router else [])]
    passages: list[Depth] = asked if options.passage_depth is None else [options.passage_depth]
    return Encodings(
        queries={depth: encode(dataset.queries, "query", depth, "queries") for depth in asked},
        documents={depth: encode(dataset.documents, "passage", depth, "documents") for depth in passages},
        latency={depth: _latency(encoder, dataset.queries, depth, options) for depth in asked},
    )


def _latency(
    encoder: TextEncoder, queries: Sequence[str], depth: Depth, options: AblationOptions
) -> dict[str, float]:
    def encode(text: str) -> None:
        encode_as_asked(encoder, [text], "query", options.at(depth))

    times = cost.latencies_ms(encode, queries)
    return {f"query_ms_p{share}": float(np.percentile(times, share)) for share in (50, 95)}


def _cells(
    dataset: RetrievalDataset,
    encoder: TextEncoder,
    options: AblationOptions,
    encodings: Encodings,
    dims: Sequence[int],
) -> list[Cell]:
    cells = []
    for depth, queries in encodings.queries.items():
        passage_depth: Depth = depth if options.passage_depth is None else options.passage_depth
        documents = encodings.documents[passage_depth]
        figures = dict(encodings.latency[depth])
        for name, encoded in (("query", queries), ("document", documents)):
            figures[f"{name}_depth"] = float(np.mean(encoded.depths))
            figures[f"{name}_flops"] = cost.mean_flops(
                encoder.config, encoded.token_counts, encoded.depths, windows=encoded.windows
            )
        for dim in dims:
            query_slice = slice_vectors(queries.vectors, dim)
            document_slice = slice_vectors(documents.vectors, dim)
            for precision in options.precisions:
                per_query, size = measure(dataset, query_slice, document_slice, precision)
                cells.append(
                    Cell(
                        dataset=dataset.name,
                        depth=depth,
                        passage_depth=passage_depth,
                        dim=dim,
                        precision=precision,
                        metrics=mean_of(list(per_query.values())),
                        per_query=per_query,
                        cost={**figures, "vector_bytes": float(size)},
                    )
                )
    return cells


def _truncation_note(dataset: RetrievalDataset, documents: EncodedTexts) -> list[str]:
    if not documents.truncated:
        return []
    return [
        f"{dataset.name}: the end of {documents.truncated} of {len(dataset.documents)} documents was not "
        "read (longer than one pass)"
    ]
