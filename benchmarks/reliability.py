"""Kills, write failures, readers beside a writer, damaged files: does a collection keep what it promises?

Runs the C++ tests of these with many more rounds than the test suite does. After a kill or a failure the
collection is opened, in under a second, and all of it compared with what was acknowledged; readers must
find what an exact search finds; files of indexes and codecs with bytes changed at random, half of them under
right checksums, must be refused or answer as their content says. `make sanitize` runs the last two under
sanitizers: there is no race, and no damaged file that makes undefined behaviour.

    python benchmarks/reliability.py --build build --kills 200

Prints a line for each test; the exit code is 0 when all of them passed.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

INDEX_KINDS = 6  # of files that the tests damage: vectors in three formats, keywords, sparse, late
CODECS = 9


@dataclass
class Check:
    """Tests that are run with settings of their own."""

    program: str
    tests: str
    text: str
    settings: dict[str, int]


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
        "--files", type=int, default=20_000, help="damaged, of all kinds (default: %(default)s)"
    )
    parser.add_argument("--only", default="", metavar="CHECK", help=f"one of {', '.join(checks(1, 1, 1, 1))}")
    arguments = parser.parse_args()
    known = checks(arguments.kills, arguments.step, arguments.seconds, arguments.files)
    if arguments.only and arguments.only not in known:
        parser.error(f"--only {arguments.only}: there are {', '.join(known)}")
    chosen = [known[arguments.only]] if arguments.only else list(known.values())
    return max(_run(arguments.build, check) for several in chosen for check in several)


def checks(kills: int, step: int, seconds: int, files: int) -> dict[str, list[Check]]:
    """Return what can be checked, by name."""
    a_kind = -(-files // (INDEX_KINDS + 1))  # codecs, all together, count as one
    fails = {"TAESR_WRITE_FAILURE_STEP": step}
    return {
        "kills": [
            Check(
                "test_collection",
                "Crash.*",
                "kill -9 during ingest, delete, update, compaction, snapshot and restore",
                {"TAESR_CRASH_CYCLES": kills},
            )
        ],
        "write-failures": [
            Check("test_collection", "WriteFailure.OfOneCall*", "one write, flush or rename fails", fails),
            Check(
                "test_collection", "WriteFailure.OfEveryCall*", "every one from some point on fails", fails
            ),
        ],
        "readers": [
            Check(
                "test_collection",
                "Concurrency.EightReaders*",
                "eight readers beside a writer",
                {"TAESR_CONCURRENCY_SECONDS": seconds},
            )
        ],
        "damaged-files": [
            Check("test_index", "*Mutated*", "damaged files of indexes", {"TAESR_MUTATED_FILES": a_kind}),
            Check(
                "test_compression",
                "*Mutated*",
                "damaged files of codecs",
                {"TAESR_MUTATED_FILES": -(-a_kind // CODECS)},
            ),
        ],
    }


def _run(build: Path, check: Check) -> int:
    program = next(build.rglob(check.program), None)
    if program is None:
        print(f"no {check.program} below {build}: build with -DTAESR_BUILD_TESTS=ON", file=sys.stderr)
        return 2
    begin = time.monotonic()
    environment = {**os.environ, **{name: str(value) for name, value in check.settings.items()}}
    process = subprocess.run(
        [program, f"--gtest_filter={check.tests}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    rounds = re.findall(r"^rounds: (.*)$", process.stdout, re.MULTILINE)
    verdict = "passed" if process.returncode == 0 and rounds else "FAILED"
    found = "\n  ".join(["", *rounds]) if len(rounds) > 1 else "".join(rounds) or "nothing was run"
    print(f"{check.text}, {verdict} in {time.monotonic() - begin:.0f} s: {found}", flush=True)
    if verdict == "FAILED":
        print(process.stdout, process.stderr, sep="\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
