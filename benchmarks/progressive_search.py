"""Quality against time of a progressive search, for one retrieval set or several.

    python benchmarks/progressive_search.py scifact cranfield --collections kept --plot progressive.png

Quality is that of all queries, with each effort from 0 to 1 and, for comparison, at each fixed depth. Times
are those of some of them, searched one at a time for ten hits: all settings take turns within a round, so
that what else the machine does falls on all of them, and a query's time is the least of its rounds. Prints
the margins' quantiles, too, which src/retrieval/effort.cc holds.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from kept_collections import filled

import taesr
from taesr.evaluation import RetrievalDataset, evaluate_rankings, load_beir
from taesr.evaluation.plots import require_matplotlib
from taesr.retrieval import SearchOptions

EFFORTS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
DEPTHS = ("easy", "medium", "hard")
MARGIN_AT = 10
QUANTILES = 8


def main() -> None:
    """Measure, print and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("sets", nargs="+", type=Path, metavar="BEIR_DIR")
    parser.add_argument("--collections", type=Path, required=True, help="folder to keep the collections in")
    parser.add_argument("--model", type=Path, help="model folder (the bundled one)")
    parser.add_argument("--depth", default="hard", help="of the passages (%(default)s)")
    parser.add_argument("--mode", choices=("dense", "hybrid"), default="dense")
    parser.add_argument("--timed", type=int, default=50, help="queries of each set, at most (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the fastest counts (%(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="draw the curves to this PNG file")
    arguments = parser.parse_args()
    if arguments.plot:
        require_matplotlib()
    encoder = taesr.Encoder.load(arguments.model)
    report: dict[str, Any] = {"machine": machine.describe(torch.get_num_threads()), "mode": arguments.mode}
    report["sets"] = {}
    print(machine.headline(report["machine"]))
    margins: list[float] = []
    for folder in arguments.sets:
        dataset = load_beir(folder)
        with filled(arguments.collections, dataset, encoder, arguments.depth) as collection:
            points = measure(collection, dataset, arguments.mode, arguments.timed, arguments.rounds)
            margins += margins_of(collection, dataset)
        report["sets"][dataset.name] = points
        print_points(dataset.name, points)
    cuts = statistics.quantiles(margins, n=QUANTILES, method="inclusive")
    report["margin_quantiles"] = [round(cut, 4) for cut in cuts]
    print("quantiles of the margin at depth easy, every eighth:", report["margin_quantiles"])
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        draw(report["sets"], arguments.plot)


def measure(
    collection: taesr.Collection, dataset: RetrievalDataset, mode: str, timed: int, rounds: int
) -> list[dict[str, Any]]:
    """A point for each effort and each fixed depth."""
    settings: list[dict[str, Any]] = [*({"effort": e} for e in EFFORTS), *({"depth": d} for d in DEPTHS)]
    options = [SearchOptions(k=100, mode=mode, **setting) for setting in settings]  # type: ignore[arg-type]
    times = np.zeros((len(settings), rounds, min(timed, len(dataset.queries))))
    for number in range(rounds):
        for place in range(times.shape[2]):
            for index, each in enumerate(options):
                ten = dataclasses.replace(each, k=10)
                (result,) = collection.search_batch([dataset.queries[place]], ten)
                times[index, number, place] = result.timings["total"]
        print(f"\r{dataset.name}: round {number + 1}/{rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    points = []
    for setting, each, taken in zip(settings, options, times, strict=True):
        results = collection.search_batch(dataset.queries, each)
        rankings = {
            query: list(dict.fromkeys(hit.document for hit in result))
            for query, result in zip(dataset.query_ids, results, strict=True)
        }
        quality = [row["ndcg@10"] for row in evaluate_rankings(dataset.qrels, rankings).values()]
        points.append(
            {
                **({"setting": setting["depth"]} if "depth" in setting else setting),
                "ndcg@10": float(np.mean(quality)),
                "milliseconds": float(taken.min(axis=0).mean()),
                "depth": float(np.mean([result.depth for result in results])),
            }
        )
    return points


def margins_of(collection: taesr.Collection, dataset: RetrievalDataset) -> list[float]:
    """How far the best chunk of each query is above the eleventh, at depth easy."""
    shallow = SearchOptions(k=MARGIN_AT + 1, mode="dense", depth="easy")
    results = collection.search_batch(dataset.queries, shallow)
    return [r.hits[0].score - r.hits[MARGIN_AT].score for r in results if len(r) > MARGIN_AT]


def print_points(name: str, points: list[dict[str, Any]]) -> None:
    """Print one line for each."""
    print(f"{name}: setting, nDCG@10 x 100, ms a query, mean depth of the last step")
    for point in points:
        label = f"effort {point['effort']:.3f}" if "effort" in point else f"always {point['setting']}"
        print(f"  {label:14}{100 * point['ndcg@10']:8.2f}{point['milliseconds']:9.2f}{point['depth']:7.2f}")


def draw(sets: Mapping[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw, for each set, a line through the efforts and a cross for each fixed depth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(sets), 3.6), layout="constrained")
    for axes, (name, points) in zip(
        figure.subplots(1, len(sets), squeeze=False)[0], sets.items(), strict=True
    ):
        efforts = [point for point in points if "effort" in point]
        fixed = [point for point in points if "effort" not in point]
        for line, style, label in ((efforts, "o-", "effort 0 to 1"), (fixed, "x", "fixed depths")):
            times = [point["milliseconds"] for point in line]
            axes.plot(times, [100 * point["ndcg@10"] for point in line], style, label=label)
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel("milliseconds a query")
        axes.set_ylabel("nDCG@10 x 100")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
