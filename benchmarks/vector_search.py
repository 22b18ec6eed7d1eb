"""Approximate search of vectors, beside hnswlib, faiss and usearch: recall, queries a second, build, memory.

    python benchmarks/vector_search.py [--rows 100000] [--vectors FILE.npy] [--queries 500] [--json FILE]

All get the same unit vectors (random ones around random topics, or those of a file), M = 16 and
ef_construction = 200, and answer queries one by one on one thread. Each is measured at several widths of its
search (ef); what is compared is queries a second where recall@10, against an exact search of the float32
vectors, first reaches the target. Engines take turns, round after round; figures are medians. Peers that
are not installed are left out, with a line that says so. Filters: allowed positions, 1% and 20% of all.
"""

import argparse
import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from taesr._native import core

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
M, BUILD_WIDTH, K = 16, 200, 10
WIDTHS = (20, 40, 80, 160, 320, 640)


@dataclass
class Engine:
    """A built index."""

    name: str
    build_seconds: float
    kilobytes: int
    search: Callable[[Floats, int], Ints]  # queries and width to positions
    seconds: dict[int, list[float]] = field(default_factory=dict)
    recall: dict[int, float] = field(default_factory=dict)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--topics", type=int, default=1000)
    parser.add_argument("--vectors", type=Path, help="float32 [n, dim]; the last rows are the queries")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="for building; searches have one")
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    vectors, queries = make_vectors(arguments)
    exact = brute_force(vectors, queries)
    engines = []
    for build in (*(taesr(name) for name in ("int8", "float16", "float32")), hnswlib, faiss, usearch):
        try:
            engines.append(build(vectors, arguments.threads))
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
    for _ in range(arguments.rounds):
        for width in WIDTHS:
            for engine in engines:
                begin = time.perf_counter()
                found = [engine.search(query[None], width) for query in queries]
                engine.seconds.setdefault(width, []).append(time.perf_counter() - begin)
                engine.recall[width] = recall(np.concatenate(found), exact)
    report = {
        "rows": len(vectors),
        "dim": vectors.shape[1],
        "engines": [summary(engine, len(queries), arguments.target) for engine in engines],
        "filters": filters(vectors, queries),
    }
    print(json.dumps(report, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def make_vectors(arguments: argparse.Namespace) -> tuple[Floats, Floats]:
    """Return unit vectors to index and to ask for."""
    if arguments.vectors is not None:
        rows = np.load(arguments.vectors).astype(np.float32)
    else:
        random = np.random.default_rng(0)
        count = arguments.rows + arguments.queries
        topics = random.normal(size=(arguments.topics, arguments.dim)).astype(np.float32)
        rows = topics[random.integers(arguments.topics, size=count)]
        rows += random.normal(size=rows.shape).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[: -arguments.queries], rows[-arguments.queries :]


def brute_force(vectors: Floats, queries: Floats) -> Ints:
    """Return the K nearest of each query."""
    return np.stack([np.argsort(-(vectors @ query), kind="stable")[:K] for query in queries])


def recall(found: Ints, exact: Ints) -> float:
    """Mean share of the exact neighbours that were found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, exact, strict=True)]))


class Memory:
    """Resident memory that is there at the end of a block beyond its beginning."""

    def __enter__(self) -> "Memory":
        self._before = _resident()
        return self

    def __exit__(self, *_: object) -> None:
        self.kilobytes = _resident() - self._before


def _resident() -> int:
    """Kilobytes, after what was freed has gone back to the system."""
    ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def timed(name: str, build: Callable[[], Any], search: Callable[[Any, Floats, int], Ints]) -> Engine:
    """Build an index, measured."""
    with Memory() as memory:
        begin = time.perf_counter()
        index = build()
        seconds = time.perf_counter() - begin
    print(f"{name}: built in {seconds:.1f} s", file=sys.stderr)
    return Engine(name, seconds, memory.kilobytes, lambda queries, width: search(index, queries, width))


def taesr(form: str) -> Callable[[Floats, int], Engine]:
    """Return the builder of our index with vectors of a format; it uses all cores."""

    def build(vectors: Floats, _: int) -> Engine:
        def search(index: Any, queries: Floats, width: int) -> Ints:
            index.set_search_width(width)
            found: Ints = index.search(queries, K)
            return found

        return timed(f"taesr {form}", lambda: native_index(vectors, form), search)

    return build


def native_index(vectors: Floats, form: str) -> Any:
    """Return our index; vectors are handed over in pieces, so that no copy of all is made."""
    index = core.HnswIndex(vectors.shape[1], format=form, links=M, construction_width=BUILD_WIDTH)
    for begin in range(0, len(vectors), 4096):
        index.stage(vectors[begin : begin + 4096])
    index.link()
    return index


def hnswlib(vectors: Floats, threads: int) -> Engine:
    """Build hnswlib's index."""
    import hnswlib as library

    def make() -> Any:
        index = library.Index(space="ip", dim=vectors.shape[1])
        index.init_index(max_elements=len(vectors), M=M, ef_construction=BUILD_WIDTH)
        index.set_num_threads(threads)
        index.add_items(vectors)
        index.set_num_threads(1)
        return index

    def search(index: Any, queries: Floats, width: int) -> Ints:
        index.set_ef(width)
        return np.asarray(index.knn_query(queries, k=K)[0], np.int64)

    return timed("hnswlib float32", make, search)


def faiss(vectors: Floats, threads: int) -> Engine:
    """Build faiss's index."""
    import faiss as library

    def make() -> Any:
        library.omp_set_num_threads(threads)
        index = library.IndexHNSWFlat(vectors.shape[1], M, library.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD_WIDTH
        index.add(vectors)
        library.omp_set_num_threads(1)
        return index

    def search(index: Any, queries: Floats, width: int) -> Ints:
        index.hnsw.efSearch = width
        return np.asarray(index.search(queries, K)[1], np.int64)

    return timed("faiss float32", make, search)


def usearch(vectors: Floats, threads: int) -> Engine:
    """Build usearch's index."""
    from usearch.index import Index

    def make() -> Any:
        index = Index(
            ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=M, expansion_add=BUILD_WIDTH
        )
        index.add(np.arange(len(vectors)), vectors, threads=threads)
        return index

    def search(index: Any, queries: Floats, width: int) -> Ints:
        index.expansion_search = width
        return np.asarray(index.search(queries, K, threads=1).keys, np.int64).reshape(len(queries), -1)

    return timed("usearch float32", make, search)


def summary(engine: Engine, queries: int, target: float) -> dict[str, Any]:
    """Return an engine's figures, and its speed where its recall first reaches the target."""
    rates = {width: queries / statistics.median(seconds) for width, seconds in engine.seconds.items()}
    enough = [width for width in WIDTHS if engine.recall[width] >= target]
    return {
        "name": engine.name,
        "build_seconds": round(engine.build_seconds, 2),
        "megabytes": round(engine.kilobytes / 1024, 1),
        "recall_by_width": {width: round(value, 4) for width, value in engine.recall.items()},
        "queries_per_second_by_width": {width: round(value) for width, value in rates.items()},
        "queries_per_second_at_target": round(rates[enough[0]]) if enough else None,
    }


def filters(vectors: Floats, queries: Floats) -> dict[str, dict[str, float]]:
    """Return recall and time of filtered searches relative to one without a filter, int8 vectors."""
    native = native_index(vectors, "int8")
    native.set_search_width(128)
    begin = time.perf_counter()
    for query in queries:
        native.search(query[None], K)
    unfiltered = time.perf_counter() - begin
    random = np.random.default_rng(1)
    report = {}
    for share in (0.01, 0.2):
        allowed = np.sort(random.choice(len(vectors), int(share * len(vectors)), replace=False))
        exact = np.stack([allowed[row] for row in brute_force(vectors[allowed], queries)])
        prepared = native.prepare_filter(allowed.tolist())
        begin = time.perf_counter()
        found = np.concatenate([native.search(query[None], K, prepared) for query in queries])
        seconds = time.perf_counter() - begin
        report[f"{share:.0%}"] = {"recall": recall(found, exact), "times_unfiltered": seconds / unfiltered}
    return report


if __name__ == "__main__":
    raise SystemExit(main())
