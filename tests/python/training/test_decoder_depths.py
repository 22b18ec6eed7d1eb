"""Where compute goes: parts and classes of tokens, and the figures of a tiny routed model."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.python.training import squad_files
from tests.python.training.test_decoder_experiments import ROOT, environment
from tests.python.training.tiny_decoder import tiny_decoder, write_gguf

from taesr import Decoder
from taesr.answer.prompt import SYSTEM
from taesr.training.grounded import Example

TOOL = ROOT / "benchmarks" / "decoder_depths.py"
if str(TOOL.parent) not in sys.path:
    sys.path.append(str(TOOL.parent))
depths: Any = importlib.import_module("decoder_depths")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a routed model, and the same sizes without sharing as tokens.gguf beside it."""
    folder = tmp_path_factory.mktemp("routed")
    routed = tiny_decoder(sharing="middle_cycle", recursions=2, routing="expert_choice", max_positions=2048)
    with torch.no_grad():
        torch.nn.init.normal_(routed.model.router.weight)  # type: ignore[arg-type,union-attr]
    routed.save(folder / "model")
    write_gguf(folder / "tokens.gguf", tiny_decoder(max_positions=2048))
    return folder


def example(kind: str = "answerable") -> Example:
    content = "[1] Lamps\n> Ada's lamp, made in 1932 by the café.\n\nQuestion: When was it made?"
    reply = "In 1932 [1]" if kind == "answerable" else "I'm not sure."
    return Example(
        [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": content},
            {"role": "assistant", "content": reply},
        ],
        kind,
    )


def test_parts_are_those_of_the_prompt(model: Path) -> None:
    reader = Decoder.load(model / "tokens.gguf")
    for kind, last, reply in (("answerable", "answer", "In 1932 [1]"), ("near", "refusal", "I'm not sure.")):
        tokens, labels = depths.labelled(reader, example(kind))
        assert tokens == reader.encode_chat(example().messages[:2]) + reader.encode(reply)
        texts = {part: "".join(label.text for label in labels if label.part == part) for part in depths.PARTS}
        assert texts["context"] == "[1] Lamps\n> Ada's lamp, made in 1932 by the café."
        assert texts["question"].strip() == "Question: When was it made?"
        assert texts[last] == reply
        assert SYSTEM in texts["instructions"]
        assert "".join(label.text for label in labels) == reader.decode(tokens)
        marks = [label.part for label in labels if label.kind == "mark"]
        assert len(marks) >= 5
        assert set(marks) == {"instructions"}
        split = next(i for i, label in enumerate(labels) if label.text == "é")
        assert labels[split + 1] == depths.replace(labels[split], text="")  # the letter's second byte


@pytest.mark.parametrize(
    ("text", "piece", "kind"),
    [
        ("We saw |The| lamp", " The", "function word"),
        ("We saw |Ada| there", " Ada", "capitalised name"),
        ("It broke. |Lamps| do", " Lamps", "content word"),
        ("> |Lamps| do", " Lamps", "content word"),
        ("We said: |Lamps| do", " Lamps", "content word"),
        ("|Lamps| do", "Lamps", "content word"),
        ("the la|mp| there", "mp", "word continuation"),
        ("Mc|Donald| there", "Donald", "word continuation"),
        ("in |1932| there", " 1932", "number"),
        ("in 1|9|32", "9", "number"),
        ("the lamp|,| which", ",", "punctuation"),
        ("don|'t| do", "'t", "punctuation"),
        ("It |isn|'t so", " isn", "content word"),
        ("a\n|\n|b", "\n", "white space"),
        ("the |étage| of", " étage", "content word"),
    ],
)
def test_classes_go_by_the_word(text: str, piece: str, kind: str) -> None:
    before, token, after = text.split("|")
    whole = before + token + after
    at = len(before) - (len(piece) - len(token))
    assert whole[at : at + len(piece)] == piece
    assert depths.kind_of(whole, at, piece) == kind


def tool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)


def test_figures_are_the_traces_and_add_up(model: Path, tmp_path: Path) -> None:
    questions = squad_files.write(tmp_path / "q.jsonl")
    process = tool(
        model / "model", "--questions", questions, "--tokenizer", model / "tokens.gguf", "--examples", 7,
        "--max-tokens", 1900, "--json", tmp_path / "d.json",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    facts = json.loads((tmp_path / "d.json").read_text())
    assert facts["questions"] == 7
    assert sum(part["tokens"] for part in facts["parts"].values()) == facts["all"]["tokens"] > 1000
    assert sum(kind["tokens"] for kind in facts["classes"].values()) == facts["all"]["tokens"]
    assert facts["parts"]["answer"]["tokens"] > 0
    assert facts["parts"]["refusal"]["tokens"] > 0
    for part, classes in facts["classes_by_part"].items():
        counts = [kind["tokens"] for kind in classes.values()]
        assert sum(counts) == facts["parts"][part]["tokens"]
        mean = sum(kind["tokens"] * kind["mean_recursions"] for kind in classes.values()) / sum(counts)
        assert facts["parts"][part]["mean_recursions"] == pytest.approx(mean)
    decoder = Decoder.load(model / "model")
    reader = Decoder.load(model / "tokens.gguf")
    options = depths.argparse.Namespace(
        questions=str(questions), examples=7, max_tokens=1900, unanswerable=0.3, seed=0
    )
    passed: list[int] = []
    for one in depths.examples(reader, options):
        passed += decoder.trace(depths.labelled(reader, one)[0]).recursions
    assert facts["all"]["mean_recursions"] == pytest.approx(sum(passed) / len(passed))
    assert 1 < facts["all"]["mean_recursions"] < 2
    assert f"| all | {facts['parts']['instructions']['mean_recursions']:.2f} (" in process.stdout


def test_models_without_routers_or_tokenizer_are_refused(model: Path, tmp_path: Path) -> None:
    questions = squad_files.write(tmp_path / "q.jsonl")
    process = tool(model / "tokens.gguf", "--questions", questions)
    assert process.returncode == 1
    assert "tokens.gguf has no routers: every token passes 1 recursions" in process.stderr
    process = tool(model / "model", "--questions", questions)
    assert process.returncode == 1
    assert "tokenizer" in process.stderr
    assert "Traceback" not in process.stderr
