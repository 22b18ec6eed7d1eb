"""Times the way from a folder of documents to a cited answer.

    python benchmarks/support_answers.py FOLDER --question "Outlook keeps asking for my password"

Ingests FOLDER into a new collection, asks each question eleven times, and prints the answer, the median
and the range of the times after the first (which loads nothing more, but warms caches).
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

import taesr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--question", action="append", required=True)
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    options = parser.parse_args()

    encoder = taesr.Encoder.load(precision=options.precision)
    print(f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, {encoder.precision}")
    with tempfile.TemporaryDirectory() as folder, taesr.Collection.open(folder, encoder=encoder) as kb:
        start = time.perf_counter()
        report = kb.ingest(options.folder)
        seconds = time.perf_counter() - start
        print(
            f"ingested {report.added} documents in {seconds:.1f} s "
            f"({report.chunks} chunks, {len(report.failed)} files failed)"
        )
        bot = taesr.SupportBot(kb)
        for question in options.question:
            ask(bot, question)
    return 0


def ask(bot: taesr.SupportBot, question: str) -> None:
    times = []
    for _ in range(11):
        start = time.perf_counter()
        answer = bot.ask(question)
        times.append(1000 * (time.perf_counter() - start))
    print(f"\n? {question}\n{answer.answer}")
    for citation in answer.citations:
        print(f"  [{citation.number}] {citation.document} > {citation.section}")
    median, warm = statistics.median(times[1:]), times[1:]
    print(
        f"  {median:.0f} ms (median of 10; {min(warm):.0f} to {max(warm):.0f}), confident: {answer.confident}"
    )


if __name__ == "__main__":
    sys.exit(main())
