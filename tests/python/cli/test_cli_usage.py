"""Help, wrong usage and start-up."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_library import Run

import taesr

COMMANDS = [
    "ingest",
    "search",
    "ask",
    "chat",
    "app",
    "encode",
    "eval",
    "eval-answers",
    "build-answers",
    "quantise-decoder",
    "info",
    "doctor",
]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_is_printed_on_stdout(run: Run, command: list[str]) -> None:
    outcome = run(*command, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"usage: {' '.join(['taesr', *command])}")
    assert outcome.err == ""


def test_main_help_names_every_command_and_the_exit_codes(run: Run) -> None:
    out = run("--help").out
    assert all(re.search(rf"^    {command}( |$)", out, re.MULTILINE) for command in COMMANDS)
    assert "exit codes: 0 done, 1 failed" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a command is needed"),
        (["seach"], "invalid choice: 'seach'"),
        (["search", "x"], "required: --collection"),
        (["search", "--collection", "kb"], "required: query"),
        (["search", " ", "--collection", "kb"], "argument query: is empty"),
        (["search", "x", "--coll", "kb"], "required: --collection"),
        (["search", "x", "--collection", "kb", "-k", "0"], "'0' is not a whole number from 1 on"),
        (["search", "x", "--collection", "kb", "--mode", "fuzzy"], "invalid choice: 'fuzzy'"),
        (
            ["search", "x", "--collection", "kb", "--depth", "deep"],
            "'deep' is not one of easy, medium, hard, auto",
        ),
        (["search", "x", "--collection", "kb", "--depth", "-1"], "'-1' is not one of"),
        (["search", "x", "--collection", "kb", "--filter", "product"], "'product' is not KEY=VALUE"),
        (["search", "x", "--collection", "kb", "--dim", "1.5"], "'1.5' is not a whole number"),
        (["ask", "", "--collection", "kb"], "argument question: is empty"),
        (["ingest", "--collection", "kb"], "required: PATH"),
        (["encode", "--role", "title"], "invalid choice: 'title'"),
        (["encode", "--output", "vectors.txt"], "does not end with .npy or .jsonl"),
        (["app", "--collection", "kb", "--port", "70000"], "70000 is not a port"),
        (["eval"], "required: BEIR_DIR"),
        (["eval", "scifact", "--precision", "int4"], "invalid choice: 'int4'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(run: Run, arguments: list[str], message: str) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("usage: taesr")
    assert message in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("command", [["search", "x"], ["ask", "x"], ["chat"], ["app"]], ids=str)
def test_collection_that_does_not_exist_is_one_clear_line(
    run: Run, tmp_path: Path, command: list[str]
) -> None:
    missing = tmp_path / "nowhere"
    outcome = run(*command, "--collection", missing)
    assert (outcome.code, outcome.out) == (1, "")
    remedy = f"make one with: taesr ingest PATH --collection {missing}"
    assert outcome.err == f"taesr: collection {missing} does not exist; {remedy}\n"
    assert not missing.exists()


def test_collection_that_is_a_file_is_one_clear_line(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "kb"
    path.touch()
    assert "kb is not a folder" in run("ask", "x", "--collection", path).err


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["search", "--help"], ["seach"], ["ask", "x", "--collection", "/nowhere"]],
    ids=str,
)
def test_help_and_mistakes_do_not_load_torch_or_numpy(arguments: list[str]) -> None:
    code = (
        "import sys; from taesr.cli import main; main(sys.argv[1:]); "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'numpy', 'taesr._core')))"
    )
    assert subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True).returncode == 0


def test_cmake_dir_is_printed_by_the_module(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(taesr), "cmake_dir", lambda: Path("/somewhere/cmake/taesr"))
    assert run("--cmake-dir").out == "/somewhere/cmake/taesr\n"
