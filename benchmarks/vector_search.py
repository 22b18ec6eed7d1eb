"""Approximate search of vectors, beside hnswlib, faiss, usearch and chromadb.

    python benchmarks/vector_search.py [--rows 100000] [--vectors FILE.npy] [--only int8 hnswlib]

All get the same unit vectors, M = 16 and ef_construction = 200, and answer queries one by one on one thread.
Measured are rows a second and memory of the build; recall@10, against an exact search of the float32
vectors, and queries a second at several widths of the search (ef), from which follows the rate at equal
recall; filters that leave 1% and 20% of the rows, at one width; and recall after half of the rows were
deleted and added again. Engines take turns, round after round; figures are medians. Peers that are not
installed are left out, with a line that says so.

Vectors are those of a file, its last rows being the queries, or made to resemble embeddings of texts:
topics of uneven size, half of the variance within them, and variances that fall with a power of the
dimension. Their spectrum and distances to neighbours are near those of 5,000 to 15,000 passages encoded by
the first bundled model (participation ratio 72 beside 68 to 83, local intrinsic dimension 16 beside 17 to 28,
cosine of the tenth neighbour 0.59 beside 0.52 to 0.60).
"""

import argparse
import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, headline, resident_kilobytes
from vector_engines import Floats, Index, Ints, K, engines

WIDTHS = (10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 640)
FILTER_WIDTH = 128  # a collection's
SHARES = (0.01, 0.2)
STAGES = ("search", "filter", "replace")
DECAY = 0.4  # of a dimension's typical size


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--vectors", type=Path, help="float32 [n, dim]; the last rows are the queries")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="for building, of the peers; searches have one"
    )
    parser.add_argument("--target", type=float, default=0.95, help="recall (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=engines(), default=list(engines()), metavar="ENGINE")
    parser.add_argument(
        "--measure", nargs="+", choices=STAGES, default=list(STAGES), help="beside the build (default: all)"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    machine = describe(arguments.threads)
    print(headline(machine), file=sys.stderr)
    vectors, queries = make_vectors(arguments)
    ranks = np.random.default_rng(1).random(len(vectors)).astype(np.float32)
    bench = Bench(vectors, queries, ranks, arguments.rounds)
    for name in arguments.only:
        bench.build(engines()[name], arguments.threads)
    if "search" in arguments.measure:
        bench.search(arguments.target)
    if "filter" in arguments.measure:
        bench.filter()
    if "replace" in arguments.measure:
        bench.replace()
    report = {
        "rows": len(vectors),
        "dim": vectors.shape[1],
        "machine": machine,
        "load_average_at_end": round(os.getloadavg()[0], 2),
        "engines": bench.figures,
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
        count, topics = arguments.rows + arguments.queries, max(10, arguments.rows // 100)
        sizes = np.arange(1, arguments.dim + 1, dtype=np.float32) ** -DECAY
        centres = random.standard_normal((topics, arguments.dim), np.float32) * sizes
        share = np.arange(1, topics + 1) ** -0.5
        rows = centres[random.choice(topics, count, p=share / share.sum())]
        rows += random.standard_normal(rows.shape, np.float32) * sizes
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[: -arguments.queries], rows[-arguments.queries :]


def brute_force(vectors: Floats, queries: Floats) -> Ints:
    """Return the K nearest of each query."""
    return np.stack([np.argsort(-(vectors @ query), kind="stable")[:K] for query in queries])


def recall(found: list[Ints], exact: Ints) -> float:
    """Mean share of the exact neighbours that were found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, exact, strict=True)]))


def resident() -> int:
    """Kilobytes, after what was freed has gone back to the system."""
    ctypes.CDLL(None).malloc_trim(0)
    return resident_kilobytes()["all"]


class Bench:
    """Indexes of the same vectors and what was measured of them, by name."""

    def __init__(self, vectors: Floats, queries: Floats, ranks: Floats, rounds: int) -> None:
        self.figures: dict[str, dict[str, Any]] = {}
        self._indexes: list[Index] = []
        self._vectors, self._queries, self._ranks, self._rounds = vectors, queries, ranks, rounds
        self._exact = brute_force(vectors, queries)

    def build(self, index: Index, threads: int) -> None:
        """Build an index and measure that; an engine that is not installed is left out."""
        try:
            index.load()
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
            return
        before, begin = resident(), time.perf_counter()
        index.build(self._vectors, self._ranks, threads)
        seconds = time.perf_counter() - begin
        self._indexes.append(index)
        self.figures[index.name] = {
            "build_seconds": round(seconds, 1),
            "rows_per_second": round(len(self._vectors) / seconds),
            "megabytes": round((resident() - before) / 1024),
            "load_average": round(os.getloadavg()[0], 2),
        }
        print(f"{index.name}: {self.figures[index.name]}", file=sys.stderr, flush=True)

    def _ask(self, search: Callable[[Floats], Ints]) -> tuple[list[Ints], float]:
        """Return what each query finds, and queries a second."""
        search(self._queries[:1])
        begin = time.perf_counter()
        found = [search(query[None]) for query in self._queries]
        return found, len(found) / (time.perf_counter() - begin)

    def search(self, target: float) -> None:
        """Measure recall and speed by width."""
        rates: dict[tuple[str, int], list[float]] = {}
        recalls: dict[str, dict[int, float]] = {index.name: {} for index in self._indexes}
        for _ in range(self._rounds):
            for width in WIDTHS:
                for index in self._indexes:
                    index.set_width(width)
                    found, rate = self._ask(index.search)
                    rates.setdefault((index.name, width), []).append(rate)
                    recalls[index.name][width] = recall(found, self._exact)
        for name, by_width in recalls.items():
            rate_by_width = {width: statistics.median(rates[name, width]) for width in WIDTHS}
            self.figures[name]["recall_by_width"] = {w: round(r, 4) for w, r in by_width.items()}
            self.figures[name]["queries_per_second_by_width"] = {
                w: round(r) for w, r in rate_by_width.items()
            }
            at_target = rate_at(target, list(by_width.values()), list(rate_by_width.values()))
            self.figures[name]["queries_per_second_at_target"] = at_target and round(at_target)

    def filter(self) -> None:
        """Measure filtered searches beside unfiltered ones."""
        allowed = {share: np.flatnonzero(self._ranks < share) for share in SHARES}
        exact = {s: rows[brute_force(self._vectors[rows], self._queries)] for s, rows in allowed.items()}
        for index in self._indexes:
            index.set_width(FILTER_WIDTH)
            try:
                filters = {share: index.prepare(self._ranks, share) for share in SHARES}
            except NotImplementedError:
                continue
            rates: dict[float, list[float]] = {}
            recalls = {}
            for _ in range(self._rounds):
                rates.setdefault(1, []).append(self._ask(index.search)[1])
                for share, prepared in filters.items():
                    found, rate = self._ask(partial(index.search_filtered, prepared=prepared))
                    rates.setdefault(share, []).append(rate)
                    recalls[share] = recall(found, exact[share])
            median = {share: statistics.median(values) for share, values in rates.items()}
            self.figures[index.name]["filters"] = {
                f"{share:.0%}": {
                    "recall": round(recalls[share], 4),
                    "queries_per_second": round(median[share]),
                    "times_unfiltered": round(median[1] / median[share], 2),
                }
                for share in SHARES
            }

    def replace(self) -> None:
        """Delete and add half of the rows again; beside it, recall and speed before."""
        positions = np.random.default_rng(2).permutation(len(self._vectors))[: len(self._vectors) // 2]
        for index in self._indexes:
            index.set_width(FILTER_WIDTH)
            before, rate_before = self._ask(index.search)
            begin = time.perf_counter()
            try:
                index.replace(positions, self._vectors[positions])
            except NotImplementedError:
                continue
            seconds = time.perf_counter() - begin
            index.set_width(FILTER_WIDTH)
            after, rate_after = self._ask(index.search)
            self.figures[index.name]["half_replaced"] = {
                "seconds": round(seconds, 1),
                "recall_before": round(recall(before, self._exact), 4),
                "recall_after": round(recall(after, self._exact), 4),
                "queries_per_second_before": round(rate_before),
                "queries_per_second_after": round(rate_after),
            }
            print(f"{index.name}: {self.figures[index.name]['half_replaced']}", file=sys.stderr, flush=True)


def rate_at(target: float, recalls: list[float], rates: list[float]) -> float | None:
    """Return queries a second at a recall, on the line between the two widths around it."""
    for i, reached in enumerate(recalls):
        if reached < target:
            continue
        if i == 0:
            return rates[0]
        share = (target - recalls[i - 1]) / (reached - recalls[i - 1])
        return rates[i - 1] + share * (rates[i] - rates[i - 1])
    return None


if __name__ == "__main__":
    raise SystemExit(main())
