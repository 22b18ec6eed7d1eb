"""Measures how the dense and the keyword head are best fused.

    python benchmarks/hybrid_search.py scifact cranfield trec-dl19-pool --collections kept

For each set nDCG@10 of either head, of reciprocal rank fusion with equal weights, and of the weighted
fusion with weights that were never fitted on the queries measured: fitted on the other half of the set's
queries (each half in turn), and on the queries of the other sets.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from kept_collections import filled

import taesr
from taesr.evaluation import RetrievalDataset, evaluate_rankings, load_beir
from taesr.retrieval import SearchOptions, cross_fit, fit_fusion

METHODS = ("dense", "keyword", "rrf", "weighted, other half", "weighted, other sets")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("sets", nargs="+", type=Path, metavar="BEIR_DIR")
    parser.add_argument("--collections", type=Path, required=True, help="folder to keep the collections in")
    parser.add_argument("--model", type=Path, help="model folder (the bundled one)")
    parser.add_argument("--depth", default="hard", help="of passages and queries (%(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    arguments = parser.parse_args()
    encoder = taesr.Encoder.load(arguments.model)
    datasets = [load_beir(folder) for folder in arguments.sets]
    report: dict[str, Any] = {"depth": arguments.depth, "model": encoder.fingerprint, "sets": {}}
    for dataset in datasets:
        with filled(arguments.collections, dataset, encoder, arguments.depth) as collection:
            report["sets"][dataset.name] = own_figures(collection, dataset, arguments.depth)
    for dataset in datasets:
        others = [found["weights"] for name, found in report["sets"].items() if name != dataset.name]
        if not others:
            continue
        weights = {head: float(np.mean([each[head] for each in others])) for head in others[0]}
        with filled(arguments.collections, dataset, encoder, arguments.depth) as collection:
            quality = with_weights(collection, dataset, arguments.depth, weights)
        report["sets"][dataset.name] |= {"weights of others": weights, "weighted, other sets": quality}
    print_report(report["sets"])
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def own_figures(collection: taesr.Collection, dataset: RetrievalDataset, depth: str) -> dict[str, Any]:
    """What can be said of a set by itself."""
    queries = dict(zip(dataset.query_ids, dataset.queries, strict=True))
    crossed = cross_fit(collection, queries, dataset.qrels, depth=depth)
    fit = fit_fusion(collection, queries, dataset.qrels, depth=depth)
    return {
        "queries": fit.queries,
        "weights": fit.weights,
        **{head: crossed[head] for head in ("dense", "keyword", "rrf")},
        "weighted, other half": crossed["weighted"],
        "weighted, same queries": fit.quality["weighted"],
    }


def with_weights(
    collection: taesr.Collection, dataset: RetrievalDataset, depth: str, weights: Mapping[str, float]
) -> float:
    """NDCG@10, by trec_eval's code, of searches with these weights."""
    options = SearchOptions(k=100, depth=depth, weights=weights)
    results = collection.search_batch(dataset.queries, options)
    rankings = {
        query: list(dict.fromkeys(hit.document for hit in result))
        for query, result in zip(dataset.query_ids, results, strict=True)
    }
    return float(np.mean([row["ndcg@10"] for row in evaluate_rankings(dataset.qrels, rankings).values()]))


def print_report(sets: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a table of nDCG@10 x 100, and by how much the best fusion leads."""
    methods = [method for method in METHODS if all(method in found for found in sets.values())]
    print(f"{'nDCG@10 x 100':24}" + "".join(f"{name:>16}" for name in sets) + f"{'mean':>8}")
    means = {}
    for method in methods:
        values = [100 * found[method] for found in sets.values()]
        means[method] = float(np.mean(values))
        print(f"{method:24}" + "".join(f"{value:16.2f}" for value in values) + f"{means[method]:8.2f}")
    best_heads = np.mean([100 * max(found["dense"], found["keyword"]) for found in sets.values()])
    print(f"{'each set`s better head':24}" + " " * 16 * len(sets) + f"{best_heads:8.2f}")
    for method in methods[3:]:
        better = means[method] - means["rrf"], means[method] - float(best_heads)
        print(f"{method}: {better[0]:+.2f} to rrf, {better[1]:+.2f} to each set's better head")
    for name, found in sets.items():
        print(f"{name}: weights {found['weights']} fitted on all of its {found['queries']} queries")


if __name__ == "__main__":
    main()
