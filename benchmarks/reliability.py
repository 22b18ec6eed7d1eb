"""Kills, write failures and readers beside a writer: does a collection keep what it promises?

Runs the C++ tests of these with many more rounds than the test suite does. After a kill or a failure the
collection is opened, in under a second, and all of it compared with what was acknowledged; readers must
find what an exact search finds. With `--build` a ThreadSanitizer build, the last one finds races too.

    python benchmarks/reliability.py --build build --kills 200

Prints a line for each test; the exit code is 0 when all of them passed.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

TESTS = {
    "Crash.*": "kill -9 during ingest, delete, update, compaction, snapshot and restore",
    "WriteFailure.OfOneCall*": "one write, flush or rename fails",
    "WriteFailure.OfEveryCall*": "every one from some point on fails",
    "Concurrency.EightReaders*": "eight readers beside a writer",
}


def main() -> int:
    """Run the tests and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--build", type=Path, default=Path("build"), help="CMake's build folder")
    parser.add_argument("--kills", type=int, default=200, help="kill -9 this often (default: %(default)s)")
    parser.add_argument("--step", type=int, default=1, help="fail every STEP-th call (default: each)")
    parser.add_argument(
        "--seconds", type=int, default=180, help="of reading beside a writer (default: %(default)s)"
    )
    parser.add_argument(
        "--only", default="", metavar="TEST", help="only tests whose names begin so, such as Crash"
    )
    arguments = parser.parse_args()
    program = next(arguments.build.rglob("test_collection"), None)
    if program is None:
        parser.error(f"no test_collection below {arguments.build}: build with -DTAESR_BUILD_TESTS=ON")
    environment = {
        **os.environ,
        "TAESR_CRASH_CYCLES": str(arguments.kills),
        "TAESR_WRITE_FAILURE_STEP": str(arguments.step),
        "TAESR_CONCURRENCY_SECONDS": str(arguments.seconds),
    }
    chosen = {name: text for name, text in TESTS.items() if name.startswith(arguments.only)}
    if not chosen:
        parser.error(f"--only {arguments.only}: there are {', '.join(TESTS)}")
    return max(_run(program, name, text, environment) for name, text in chosen.items())


def _run(program: Path, name: str, text: str, environment: dict[str, str]) -> int:
    begin = time.monotonic()
    process = subprocess.run(
        [program, f"--gtest_filter={name}"], env=environment, capture_output=True, text=True, check=False
    )
    rounds = ", ".join(re.findall(r"^rounds: (.*)$", process.stdout, re.MULTILINE))
    verdict = "passed" if process.returncode == 0 and rounds else "FAILED"
    print(f"{text}: {rounds or 'nothing was run'}, {verdict} in {time.monotonic() - begin:.0f} s", flush=True)
    if verdict == "FAILED":
        print(process.stdout, process.stderr, sep="\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
