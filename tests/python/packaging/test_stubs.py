"""The stubs of the compiled extension say what is in it."""

import subprocess
import sys
from pathlib import Path

import taesr

STUB = Path(taesr.__file__).parent / "_core.pyi"


def test_stubs_are_those_of_the_binary(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pybind11_stubgen", "taesr._core", "--output-dir", str(tmp_path)],
        check=True,
        capture_output=True,
    )
    generated = (tmp_path / "taesr" / "_core.pyi").read_text()
    assert generated == STUB.read_text(), (
        "python/taesr/_core.pyi is out of date; run: "
        "python -m pybind11_stubgen taesr._core --output-dir python"
    )
