"""BM25 search, beside bm25s on the same tokens: agreement of the rankings and time a query.

    python benchmarks/sparse_search.py BEIR_DIR [--repeat 5] [--copies 1] [--json FILE]

Both get the same documents as numbers of terms (lower case, words of letters and digits, no stemming), method
lucene, k1 = 1.5, b = 0.75, k = 10. Engines take turns, round after round; figures are
medians. bm25s is measured as it comes and with its compiled backend (numba) where that is installed.
Rankings are compared document by document: where they differ, scores must differ by less than the
tolerance that float32 sums and weights of 16 bits leave.
"""

import argparse
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bm25s
import numpy as np

from taesr._native import core
from taesr.evaluation import load_beir

K1, B, K = 1.5, 0.75, 10
TOLERANCE = 2e-4  # of a score: weights are rounded to 2^-16 of their term's largest, and there are several


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--copies", type=int, default=1, help="of the corpus, shuffled words: a larger index")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    dataset = load_beir(arguments.folder, split="test")
    documents = [words(text) for text in dataset.documents]
    documents = grow(documents, arguments.copies)
    queries = [found for found in (words(text) for text in dataset.queries) if found]
    vocabulary = {
        word: i for i, word in enumerate(dict.fromkeys(word for text in documents for word in text))
    }
    queries = [[word for word in query if word in vocabulary] for query in queries]
    queries = [query for query in queries if query]
    engines = {
        "taesr": taesr_engine(documents, queries, vocabulary, bits=16),
        "taesr, 8 bits": taesr_engine(documents, queries, vocabulary, bits=8),
        "taesr, 16 bits, not pruned": taesr_engine(documents, queries, vocabulary, bits=16, pruned=False),
        "bm25s": bm25s_engine(documents, queries, vocabulary, backend="numpy"),
    }
    try:
        engines["bm25s, numba"] = bm25s_engine(documents, queries, vocabulary, backend="numba")
    except ImportError:
        print("numba is not installed: bm25s is measured without it")
    results = {name: engine() for name, engine in engines.items()}  # the first round does not count
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(arguments.repeat):
        for name, engine in engines.items():
            begin = time.perf_counter()
            engine()
            seconds[name].append((time.perf_counter() - begin) / len(queries))
    report = {
        "documents": len(documents),
        "queries": len(queries),
        "ranked_alike": agreement(results["taesr"], results["bm25s"]),
        "overlap_8_bits": overlap(results["taesr, 8 bits"], results["bm25s"]),
        "ms_per_query": {name: 1000 * statistics.median(values) for name, values in seconds.items()},
    }
    fastest_peer = min(value for name, value in report["ms_per_query"].items() if name.startswith("bm25s"))
    report["times_as_fast_as_fastest_bm25s"] = fastest_peer / report["ms_per_query"]["taesr"]
    print(json.dumps(report, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def words(text: str) -> list[str]:
    """Return the words of a text, as both engines get them."""
    return re.findall(r"[a-z0-9]+", text.lower())


def grow(documents: list[list[str]], copies: int) -> list[list[str]]:
    """Return the documents and `copies - 1` more of each, half of their words drawn from the corpus."""
    if copies == 1:
        return documents
    random = np.random.default_rng(0)
    pool = np.array([word for document in documents for word in document])
    grown = list(documents)
    for _ in range(copies - 1):
        for document in documents:
            drawn = pool[random.integers(len(pool), size=len(document) // 2)]
            grown.append([*document[: len(document) - len(drawn)], *drawn.tolist()])
    return grown


Results = list[list[tuple[int, float]]]


def taesr_engine(
    documents: list[list[str]],
    queries: list[list[str]],
    vocabulary: dict[str, int],
    *,
    bits: int,
    pruned: bool = True,
) -> Callable[[], Results]:
    """Return a function that answers all queries, one by one."""
    index = core.ImpactIndex.build(*rows(documents, vocabulary), bits=bits, bm25=True, k1=K1, b=B)
    asked = [rows([query], vocabulary) for query in queries]
    return lambda: [index.search(*query, k=K, pruned=pruned)[0] for query in asked]


def rows(texts: list[list[str]], vocabulary: dict[str, int]) -> tuple[Any, Any, Any]:
    """Return how often each term is in each text as compressed sparse rows."""
    indptr, indices, values = [0], [], []
    for text in texts:
        counts = sorted(Counter(vocabulary[word] for word in text).items())
        indices += [piece for piece, _ in counts]
        values += [count for _, count in counts]
        indptr.append(len(indices))
    return np.array(indptr, np.int64), np.array(indices, np.int32), np.array(values, np.float32)


def bm25s_engine(
    documents: list[list[str]], queries: list[list[str]], vocabulary: dict[str, int], *, backend: str
) -> Callable[[], Results]:
    """Return a function that answers all queries, one by one."""
    if backend == "numba":
        import numba  # noqa: F401
    engine = bm25s.BM25(method="lucene", k1=K1, b=B, backend=backend)
    engine.index(documents, show_progress=False)
    known = [[engine.vocab_dict[word] for word in query] for query in queries]

    def answer() -> Results:
        found = []
        for query in known:
            ids, scores = engine.retrieve([query], k=K, show_progress=False, n_threads=0, sorted=True)
            found.append([(int(i), float(s)) for i, s in zip(ids[0], scores[0], strict=True) if s > 0])
        return found

    return answer


def agreement(ours: Results, theirs: Results) -> float:
    """Share of queries whose rankings are the same, documents whose scores tie apart."""
    alike = 0
    for a, b in zip(ours, theirs, strict=True):
        scores = {**dict(b), **dict(a)}
        alike += len(a) == len(b) and all(
            i == j or abs(scores[i] - scores[j]) <= TOLERANCE * abs(scores[j])
            for (i, _), (j, _) in zip(a, b, strict=True)
        )
    return alike / len(ours)


def overlap(ours: Results, theirs: Results) -> float:
    """Mean share of the documents of `theirs` that are in `ours`."""
    shares = [
        len({i for i, _ in a} & {i for i, _ in b}) / max(1, len(b)) for a, b in zip(ours, theirs, strict=True)
    ]
    return float(np.mean(shares))


if __name__ == "__main__":
    raise SystemExit(main())
