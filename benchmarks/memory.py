"""Resident memory: of a C++ program that encodes one text, and over a long stream of texts.

    python benchmarks/memory.py --cpp BUILD/benchmarks/cpp/taesr_encode_lines --json memory.json

The program links the shared library and nothing else. Of its memory the anonymous part is its own; mapped
files are the libraries' code, which processes share and the system drops when memory is short. The most is
reached while the weights are packed. The stream goes through `Encoder.encode_iter` at depth easy: growth
counts from the first tenth of it on.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import texts as samples
import torch
from machine import describe, headline, resident_kilobytes

import taesr

RUNS = 5
PARTS = ("all", "anonymous", "files", "peak")
SAMPLES = 100


def main() -> int:
    """Measure, print, and write JSON if asked to."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    machine = describe(arguments.threads)
    print(headline(machine))
    report: dict[str, Any] = {"machine": machine, "command": " ".join(["python", *sys.argv])}
    if arguments.cpp:
        report["program"] = {
            precision: weigh_program(arguments, precision) for precision in arguments.precisions
        }
        print("\n| C++ program, MB resident | loaded | one text encoded | its own | mapped files | at most |")
        print("|---|---|---|---|---|---|")
        for precision, found in report["program"].items():
            print(
                f"| {precision} | {found['loaded']['all']:.0f} | {found['encoded']['all']:.0f} | "
                f"{found['encoded']['anonymous']:.0f} | {found['encoded']['files']:.0f} | "
                f"{found['encoded']['peak']:.0f} |"
            )
    if arguments.texts > 0:
        report["stream"] = weigh_stream(arguments)
        found = report["stream"]
        print(
            f"\n{found['texts']} texts in {found['seconds']:.0f} s: {found['start_mb']:.0f} MB after a tenth "
            f"of them, at most {found['peak_mb']:.0f} MB later: growth {found['growth_mb']:+.1f} MB"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", default="", help="model folder (the bundled one)")
    parser.add_argument(
        "--cpp", default="", help="the program taesr_encode_lines; without it only the stream"
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["bfloat16", "float32", "int8"],
        help="of the program; the first, of the stream",
    )
    parser.add_argument(
        "--texts", type=int, default=100_000, help="streamed (%(default)s; a million for the record; 0: none)"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="%(default)s")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser.parse_args()


def weigh_program(arguments: argparse.Namespace, precision: str) -> dict[str, dict[str, float]]:
    """Megabytes after loading and after one text, medians of RUNS."""
    runs = [run_program(arguments, precision) for _ in range(RUNS)]
    return {
        moment: {part: statistics.median(run[moment][part] for run in runs) for part in runs[0][moment]}
        for moment in runs[0]
    }


def run_program(arguments: argparse.Namespace, precision: str) -> dict[str, dict[str, float]]:
    """Encode one line with the program: megabytes before and after."""
    command = [arguments.cpp, "--precision", precision, "--depth", "easy"]
    done = subprocess.run(
        command + (["--model", arguments.model] if arguments.model else []),
        input="How do I reset my password?\n",
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(arguments.threads)},
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"memory.py: {arguments.cpp} failed: {done.stderr.strip()}")
    found = {}
    for moment, line in zip(("loaded", "encoded"), done.stdout.splitlines(), strict=True):
        kilobytes = map(int, line.split()[1:])
        found[moment] = {part: value / 1024 for part, value in zip(PARTS, kilobytes, strict=True)}
    return found


def weigh_stream(arguments: argparse.Namespace) -> dict[str, Any]:
    """Encode texts one window after the other, and look at the memory about a hundred times."""
    encoder = taesr.Encoder.load(arguments.model or None, precision=arguments.precisions[0])
    words = samples.read_words()
    done = 0
    seen: list[tuple[int, float]] = []
    begin = time.perf_counter()
    for piece in encoder.encode_iter(samples.stream(words, arguments.texts), depth="easy"):
        done += len(piece.embeddings)
        if done * SAMPLES >= arguments.texts * (len(seen) + 1):
            seen.append((done, resident_kilobytes()["all"] / 1024))
            print(f"\r{done}/{arguments.texts} texts, {seen[-1][1]:.0f} MB", end="", file=sys.stderr)
    seconds = time.perf_counter() - begin
    print(file=sys.stderr)
    after = [megabytes for count, megabytes in seen if count * 10 >= arguments.texts]
    return {
        "precision": encoder.precision,
        "texts": done,
        "seconds": seconds,
        "start_mb": after[0],
        "peak_mb": max(after),
        "growth_mb": max(after) - after[0],
        "samples": seen,
    }


if __name__ == "__main__":
    sys.exit(main())
