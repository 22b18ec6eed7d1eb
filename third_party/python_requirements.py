"""Print requirements of pyproject.toml, a line each: `build`, `runtime`, or an optional group by name.

    python python_requirements.py build runtime app | pip install -r /dev/stdin

Installing them before the package itself lets the package be built without an isolated environment,
which would download torch a second time.
"""

import pathlib
import sys
import tomllib


def main(groups: list[str]) -> None:
    pyproject = tomllib.loads((pathlib.Path(__file__).parent.parent / "pyproject.toml").read_text())
    named = {
        "build": pyproject["build-system"]["requires"],
        "runtime": pyproject["project"]["dependencies"],
        **pyproject["project"]["optional-dependencies"],
    }
    for group in groups:
        print(*named[group], sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
