"""Commands that answer with language models, measure answers and make data for them."""

import io
import json
from pathlib import Path

import pytest
from fake_library import Run
from tests.python import small_gguf

from taesr.answer import generator_names
from taesr.answer.prompt import REFUSAL
from taesr.cli import generator_options, live

PARAGRAPH = {
    "title": "Lamp",
    "context": "The works in Corby made the red lamp in 1905. Ada Corbyson left before the war.",
    "qas": [
        {"question": "In what year was the red lamp made?", "answers": ["1905"]},
        {"question": "Who painted the red lamp?", "answers": []},
    ],
}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "squad.jsonl"
    lines = [json.dumps(PARAGRAPH | {"title": f"Lamp {n}"}) for n in range(8)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_gguf.write(tmp_path / "small.gguf")


def test_eval_answers_prints_figures_and_writes_trials(run: Run, questions: Path, model: Path) -> None:
    trials = questions.with_name("trials.jsonl")
    outcome = run(
        *("eval-answers", questions, "--answerable", "2", "--unanswerable", "1", "--json"),
        *("--generator", "smollm2", "--generator-model", model, "--generator-max-tokens", "8"),
        *("--generator-context-tokens", "2048", "--trials", trials),
    )
    assert outcome.code == 0, outcome.err
    quality = json.loads(outcome.out)
    assert (quality["answerable"], quality["unanswerable"]) == (2, 1)
    assert 0 <= quality["f1"] <= 1
    asked = [json.loads(line) for line in trials.read_text(encoding="utf-8").splitlines()]
    assert [set(t) for t in asked] == [{"question", "gold", "answer", "text"}] * 3
    assert "F1" in run("eval-answers", questions, "--answerable", "1").out


def test_refusals_are_calibrated_on_questions_and_on_what_build_answers_held_back(
    run: Run, questions: Path, model: Path, tmp_path: Path
) -> None:
    conversations = tmp_path / "valid.jsonl"
    with conversations.open("w", encoding="utf-8") as file:
        for n, answer in enumerate(["1905 [1]", REFUSAL, "red [1]", REFUSAL, "1906 [1]"]):
            messages = [
                {"role": "user", "content": f"Question {n}?"},
                {"role": "assistant", "content": answer},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    mor = ("--generator", "mor", "--generator-model", model, "--generator-context-tokens", "4000")
    wanted = ("--answerable", "2", "--unanswerable", "1", "--calibrate-refusals", "0.5")
    for file in (questions, conversations):
        outcome = run("eval-answers", file, *wanted, *mor, "--json")
        assert outcome.code == 0, outcome.err
        figures = json.loads(outcome.out)
        assert (figures["answerable"], figures["unanswerable"]) == (2, 1)
        (point,) = (p for p in figures["curve"] if p["refusal_bias"] == figures["refusal_bias"])
        assert point["refused_answerable"] <= 0.5
        printed = run("eval-answers", file, *wanted, *mor).out
        assert printed.splitlines()[-1].endswith(f'{{"refusal_bias": {figures["refusal_bias"]}}}')
    conversations.write_text(json.dumps({"messages": [*messages, messages[0]]}), encoding="utf-8")
    outcome = run("eval-answers", conversations, *wanted, *mor)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert "ends without an answer" in outcome.err


def test_build_answers_writes_both_files(run: Run, questions: Path, model: Path, tmp_path: Path) -> None:
    outcome = run(
        *("build-answers", questions, "--decoder", model, "--output", tmp_path / "sft", "--json"),
        *("--examples", "5", "--validation", "1", "--max-tokens", "2000"),
    )
    assert outcome.code == 0, outcome.err
    train, valid = json.loads(outcome.out)["files"]
    assert sum(train["examples"].values()) == 5
    assert sum(valid["examples"].values()) == 1
    assert len((tmp_path / "sft" / "train.jsonl").read_text(encoding="utf-8").splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval-answers", "absent.jsonl"], "absent.jsonl: No such file"),
        (["build-answers", "x.jsonl", "--decoder", "absent.gguf", "--output", "o"], "absent.gguf"),
        (["ask", "x", "--collection", ".", "--generator", "openai"], 'the generator "openai" needs a url'),
        (
            ["ask", "x", "--collection", ".", "--generator", "smollm2", "--generator-model", "absent.gguf"],
            "language model absent.gguf does not exist",
        ),
        (["ask", "x", "--collection", ".", "--generator-url", "http://h/v1"], '"extractive" takes no url'),
        (["app", "--collection", ".", "--generator", "mor", "--generator-url", "u"], '"mor" takes no url'),
        (["ask", "x", "--collection", ".", "--generator-refusal-bias", "1"], "takes no refusal_bias"),
        (
            ["ask", "x", "--collection", ".", "--generator", "mor", "--generator-refusal-bias", "nan"],
            "refusal_bias is nan; allowed: -100 to 100",
        ),
        (
            ["eval-answers", "x.jsonl", "--calibrate-refusals", "0.2"],
            'the generator "extractive" has no refusal bias',
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_is_one_line(
    run: Run, fake_library: None, arguments: list[str], message: str
) -> None:
    outcome = run(*arguments)
    assert outcome.code == 1
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--generator", "gpt"], ["--generator-timeout", "0"], ["--generator-max-tokens", "-1"]],
    ids=" ".join,
)
def test_wrong_options_of_the_generator_are_wrong_usage(run: Run, arguments: list[str]) -> None:
    assert run("ask", "x", "--collection", "kb", *arguments).code == 2


def test_the_command_line_knows_all_generators() -> None:
    assert list(generator_options.NAMES) == generator_names()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_end_of_the_text_and_clears_it() -> None:
    terminal = Terminal()
    live.show(iter(["one ", "two\n\x1b[31m", "x" * 500]), terminal)
    shown = terminal.getvalue()
    assert "one two  [31m" in shown
    assert shown.endswith("\r\x1b[K")
    assert "\x1b[31m" not in shown
    assert "…x" in shown


def test_elsewhere_nothing_is_shown() -> None:
    stream = io.StringIO()
    live.show(iter(["one ", "two"]), stream)
    assert stream.getvalue() == ""
