"""Measures how the heads of a collection are best fused.

    python benchmarks/hybrid_search.py scifact cranfield trec-dl19-pool --collections kept

For each set nDCG@10, by searches of a collection of it: of each head alone; of reciprocal rank fusion with
equal weights, of dense and keyword and of all heads; and of weighted fusion, which adds standardised scores.
Its weights are equal, or were never fitted on the queries measured: they are fitted on the other half of the
set's queries (each half in turn), or on each of the other sets', whose mean is taken.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from kept_collections import filled

import taesr
from taesr.evaluation import RetrievalDataset, evaluate_rankings, load_beir, paired_test
from taesr.retrieval import FusionWeights, SearchOptions, fit_fusion

PAIR = ("dense", "keyword")
RRF_PAIR = "rrf, dense and keyword"
RRF = "rrf"
EQUAL = "equal weights"
OTHER_HALF = "fitted on other half"
OTHER_SETS = "fitted on other sets"

Values = npt.NDArray[np.float64]  # of the queries, in order
Weights = dict[str, float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("sets", nargs="+", type=Path, metavar="BEIR_DIR")
    parser.add_argument("--collections", type=Path, required=True, help="folder to keep the collections in")
    parser.add_argument("--model", type=Path, help="model folder (the bundled one)")
    parser.add_argument("--heads", default="sparse,late", help="beside dense and keyword (%(default)s)")
    parser.add_argument("--depth", default="hard", help="of passages and queries (%(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    arguments = parser.parse_args()
    encoder = taesr.Encoder.load(arguments.model)
    heads = [head for head in arguments.heads.split(",") if head]
    with ExitStack() as stack:
        sets: dict[str, tuple[taesr.Collection, RetrievalDataset]] = {}
        for dataset in map(load_beir, arguments.sets):
            opened = filled(arguments.collections, dataset, encoder, arguments.depth, heads)
            sets[dataset.name] = stack.enter_context(opened), dataset
        fits = {name: fit(*each, arguments.depth) for name, each in sets.items()}
        measured = {name: measure(*each, arguments.depth) for name, each in sets.items()}
        for name, each in sets.items():
            others = [found.weights for other, found in fits.items() if other != name]
            if others:
                measured[name][OTHER_SETS] = ndcg(*each, weighted(mean(others), arguments.depth))
    print_table(measured)
    for name, found in fits.items():
        print(f"{name}: weights {found.weights} fitted on all of its {found.queries} queries")
    print(f"their mean: {mean([found.weights for found in fits.values()])}")
    if arguments.json:
        report = {"depth": arguments.depth, "model": encoder.fingerprint, "sets": as_json(fits, measured)}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def fit(
    collection: taesr.Collection, dataset: RetrievalDataset, depth: str, part: slice = slice(None)
) -> FusionWeights:
    """Fit weights on a part of the set's queries."""
    queries = dict(list(zip(dataset.query_ids, dataset.queries, strict=True))[part])
    return fit_fusion(collection, queries, dataset.qrels, depth=depth)


def measure(collection: taesr.Collection, dataset: RetrievalDataset, depth: str) -> dict[str, Values]:
    """All that can be said of a set by itself."""
    heads = collection.heads
    options = {head: SearchOptions(k=100, depth=depth, mode=head) for head in heads}  # type: ignore[arg-type]
    if len(heads) > len(PAIR):
        pair = {head: float(head in PAIR) for head in heads}
        options[RRF_PAIR] = SearchOptions(k=100, depth=depth, fusion="rrf", weights=pair)
    options[RRF] = SearchOptions(k=100, depth=depth)
    options[EQUAL] = weighted(dict.fromkeys(heads, 1.0), depth)
    values = {method: ndcg(collection, dataset, each) for method, each in options.items()}
    halves = [fit(collection, dataset, depth, slice(first, None, 2)) for first in (1, 0)]
    others = [weighted(halves[index % 2].weights, depth) for index in range(len(dataset.queries))]
    return values | {OTHER_HALF: ndcg(collection, dataset, others)}


def weighted(weights: Weights, depth: str) -> SearchOptions:
    """Options of a search with these weights."""
    return SearchOptions(k=100, depth=depth, weights=weights)


def ndcg(
    collection: taesr.Collection, dataset: RetrievalDataset, options: SearchOptions | Sequence[SearchOptions]
) -> Values:
    """NDCG@10 of each query, by trec_eval's code, with one options for all or one for each."""
    results = collection.search_batch(dataset.queries, options)
    rankings = {
        query: list(dict.fromkeys(hit.document for hit in result))
        for query, result in zip(dataset.query_ids, results, strict=True)
    }
    rows = evaluate_rankings(dataset.qrels, rankings)
    return np.array([rows[query]["ndcg@10"] for query in dataset.query_ids])


def mean(weights: Sequence[Weights]) -> Weights:
    """The mean by head."""
    return {head: round(float(np.mean([each[head] for each in weights])), 4) for head in weights[0]}


def print_table(measured: Mapping[str, Mapping[str, Values]]) -> None:
    """Print nDCG@10 x 100, and by how much each fusion leads."""
    methods = list(next(iter(measured.values())))
    print(f"{'nDCG@10 x 100':24}" + "".join(f"{name:>16}" for name in measured) + f"{'mean':>8}")
    means = {}
    for method in methods:
        values = [100 * found[method].mean() for found in measured.values()]
        means[method] = float(np.mean(values))
        print(f"{method:24}" + "".join(f"{value:16.2f}" for value in values) + f"{means[method]:8.2f}")
    best = max(methods[: methods.index(RRF)], key=lambda method: "rrf" not in method and means[method])
    for method in methods[methods.index(RRF) + 1 :]:
        for other in (best, RRF):
            compared = [np.concatenate([found[m] for found in measured.values()]) for m in (method, other)]
            test = paired_test(*map(list, compared))
            print(
                f"{method} to {other}: {means[method] - means[other]:+.2f}; over all {len(compared[0])} "
                f"queries {100 * test.difference:+.2f} (95%: {100 * test.low:+.2f} to {100 * test.high:+.2f})"
            )


def as_json(
    fits: Mapping[str, FusionWeights], measured: Mapping[str, Mapping[str, Values]]
) -> dict[str, Any]:
    """The figures by set."""
    return {
        name: {
            "queries": found.queries,
            "weights": found.weights,
            "ndcg@10": {method: float(values.mean()) for method, values in measured[name].items()},
        }
        for name, found in fits.items()
    }


if __name__ == "__main__":
    main()
