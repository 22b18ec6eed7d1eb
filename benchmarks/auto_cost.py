"""Cost of depth "auto" on texts of all lengths, against what the depths that it chose should cost.

    python benchmarks/auto_cost.py MODEL --json auto_cost.json

MODEL is a model folder with a router (config field router_size). The same texts are encoded at depths easy,
medium, hard and auto in turn, round after round. Two predictions are made from the times of the fixed
depths: what auto's mean depth costs, on the straight line between the two depths around it; and what its
mix of depths costs, each with its share. Depths are weighted with their texts' tokens, as cost is.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import texts as samples
import torch
from machine import describe, headline

import taesr

NAMED = ("easy", "medium", "hard")


def main() -> int:
    """Measure, print, and write JSON if asked to."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    encoder = taesr.Encoder.load(arguments.model, precision=arguments.precision)
    if encoder.config.router_size == 0:
        print(
            f"auto_cost.py: '{arguments.model}' has no router (config field router_size is 0)",
            file=sys.stderr,
        )
        return 1
    machine = describe(arguments.threads)
    print(headline(machine))
    corpus = samples.mixed(samples.read_words(arguments.texts), arguments.count)
    times = measure(encoder, corpus, arguments.rounds)
    report = {
        "machine": machine,
        "command": " ".join(["python", *sys.argv]),
        "precision": encoder.precision,
        **compare(encoder, corpus, times),
        "seconds": times,
    }
    print_report(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("model", type=Path, help="model folder with a router")
    parser.add_argument("--texts", type=Path, help="text file to draw from (the sample knowledge base)")
    parser.add_argument("--count", type=int, default=512, help="texts (%(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="that count, after one that does not (%(default)s)"
    )
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="%(default)s")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser.parse_args()


def measure(encoder: taesr.Encoder, corpus: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds for the corpus by depth, one a round."""
    times: dict[str, list[float]] = {depth: [] for depth in (*NAMED, "auto")}
    for number in range(rounds + 1):
        for depth, found in times.items():
            print(f"\rround {number}/{rounds}: {depth:8}", end="", file=sys.stderr)
            begin = time.perf_counter()
            encoder.encode(corpus, depth=depth)
            if number:  # the first one warms up
                found.append(time.perf_counter() - begin)
    print(file=sys.stderr)
    return times


def compare(encoder: taesr.Encoder, corpus: list[str], times: dict[str, list[float]]) -> dict[str, Any]:
    """Ratios of what auto took to both predictions: medians over the rounds, each within its round."""
    detailed = encoder.encode_detailed(corpus)
    depths = np.array(detailed.depths)
    weights = np.array(detailed.token_counts) + 2.0
    steps = [encoder.config.recursion_steps[name] for name in NAMED]
    shares = {
        name: float(weights[depths == step].sum() / weights.sum())
        for name, step in zip(NAMED, steps, strict=True)
    }
    mean_depth = float(np.average(depths, weights=weights))
    by_mean, by_mix = [], []
    for i, seconds in enumerate(times["auto"]):
        fixed = [times[name][i] for name in NAMED]
        by_mean.append(seconds / float(np.interp(mean_depth, steps, fixed)))
        by_mix.append(seconds / sum(shares[name] * times[name][i] for name in NAMED))
    return {
        "texts": len(corpus),
        "tokens": int(weights.sum()),
        "shares": shares,
        "mean_depth": mean_depth,
        "to_mean_depth": statistics.median(by_mean),
        "to_mix": statistics.median(by_mix),
    }


def print_report(report: dict[str, Any]) -> None:
    """Print times and ratios."""
    mix = ", ".join(f"{share:.0%} {name}" for name, share in report["shares"].items())
    print(f"{report['texts']} texts, {report['tokens']} tokens, {report['precision']}: of the tokens {mix}")
    if max(report["shares"].values()) > 0.99:
        print("the router sends all to one depth: this shows the router's own cost only")
    for name, seconds in report["seconds"].items():
        print(f"{name:8} {statistics.median(seconds):7.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
    print(f"auto: {report['to_mean_depth']:.2f} of what its mean depth, {report['mean_depth']:.2f}, costs;")
    print(f"      {report['to_mix']:.2f} of what its mix of depths costs")


if __name__ == "__main__":
    sys.exit(main())
