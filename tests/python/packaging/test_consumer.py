"""A separate C++ project finds the library by find_package, from the wheel and from an install tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import taesr

ROOT = Path(__file__).parents[3]
CONSUMER = ROOT / "tests" / "consumer"
_LIMIT = 2400  # seconds; it takes five minutes on two cores with nothing else to do


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build_and_run(folder: Path, cmake_dir: Path, **environment: str) -> str:
    run("cmake", "-S", CONSUMER, "-B", folder / "build", "-G", "Ninja", f"-Dtaesr_DIR={cmake_dir}")
    run("cmake", "--build", folder / "build")
    return run(folder / "build" / "consumer", folder / "kb", **environment)


def assert_no_absolute_paths(cmake_dir: Path) -> None:
    for path in cmake_dir.glob("taesrTargets*.cmake"):
        text = re.sub(r"#.*", "", path.read_text())
        absolute = re.findall(r'"(/[^"]+)"', text)
        assert not absolute, f"{path.name}: {absolute}"


def package_cmake_dir() -> Path:
    try:
        return taesr.cmake_dir()
    except taesr.IoError:
        pytest.skip("taesr runs from the source tree, not from an installed package")


def test_consumer_builds_against_the_python_package(tmp_path: Path) -> None:
    cmake_dir = package_cmake_dir()
    assert_no_absolute_paths(cmake_dir)
    assert build_and_run(tmp_path, cmake_dir) == "1 x 256, depth 1\npasswords\n"


@pytest.mark.timeout(_LIMIT)  # it compiles the whole library
def test_consumer_builds_against_an_install_tree(tmp_path: Path) -> None:
    package_cmake_dir()
    run(
        "cmake",
        "-S",
        ROOT,
        "-B",
        tmp_path / "library",
        "-G",
        "Ninja",
        f"-DPython_EXECUTABLE={sys.executable}",
    )
    run("cmake", "--build", tmp_path / "library")
    run("cmake", "--install", tmp_path / "library", "--prefix", tmp_path / "prefix", "--strip")
    # The tree must work where it was not installed to, with its build gone.
    shutil.rmtree(tmp_path / "library")
    moved = (tmp_path / "prefix").rename(tmp_path / "moved")
    (cmake_dir,) = moved.rglob("cmake/taesr")
    assert_no_absolute_paths(cmake_dir)
    assert build_and_run(tmp_path, cmake_dir) == "1 x 256, depth 1\npasswords\n"
