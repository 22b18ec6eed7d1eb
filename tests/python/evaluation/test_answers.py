"""F1, exact match and refusals, against values worked out by hand and SQuAD's own script."""

import json
import lzma
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from taesr.answer import ExtractiveGenerator, ModelGenerator, Passage, Statement
from taesr.answer.prompt import REFUSAL, Message
from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.evaluation.answers import Trial, draw_questions, evaluate_answers
from taesr.evaluation.squad import Paragraph, Question, exact_match, f1, normalise, read_squad

PARAGRAPHS = [
    Paragraph(
        "Lamp",
        f"The works in Corby made lamp {n} in {1900 + n}. It was sold in {2000 + n}.",
        (
            Question(f"In what year was lamp {n} made?", (str(1900 + n), f"in {1900 + n}")),
            Question(f"Who designed lamp {n}?", ()),
        ),
    )
    for n in range(20)
]


class Knowing:
    """A model that knows when lamps were made, wrongly for the first ten, and refuses all else."""

    context_tokens = 4096

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return 100

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        question = messages[1]["content"].rsplit("Question: ", 1)[1]
        made = re.fullmatch(r"In what year was lamp (\d+) made\?", question)
        year = 0 if made is None else (2000 if int(made[1]) < 10 else 1900) + int(made[1])
        yield f"{year} [1]" if made else REFUSAL


def test_figures_of_a_model_whose_answers_are_known() -> None:
    trials: list[Trial] = []
    steps: list[tuple[str, int, int | None]] = []
    quality = evaluate_answers(
        ModelGenerator(Knowing()),
        PARAGRAPHS,
        progress=lambda *step: steps.append(step),
        on_trial=trials.append,
    )
    assert (quality.answerable, quality.unanswerable) == (20, 20)
    assert quality.f1 == quality.exact_match == quality.text_f1 == 0.5
    assert quality.refused_answerable == 0
    assert quality.refused_unanswerable == 1
    assert len(trials) == 40
    assert {trial.answer for trial in trials if not trial.gold} == {""}
    assert steps[-1] == ("questions", 40, 40)


class Copying(Knowing):
    """A model that names the first source, whatever the question."""

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        yield "The works in Corby made it [1]"


def test_sources_beside_the_right_one_do_not_hold_the_answer_and_the_named_one_counts() -> None:
    seen: list[list[str]] = []

    class Watching(Copying):
        def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
            seen.append(re.findall(r"^> .* lamp (\d+) in", messages[1]["content"], re.MULTILINE))
            return super().stream(messages, max_tokens=max_tokens)

    trials: list[Trial] = []
    quality = evaluate_answers(ModelGenerator(Watching()), PARAGRAPHS, sources=3, on_trial=trials.append)
    assert all(len(set(lamps)) == 3 for lamps in seen)
    for trial, lamps in zip(trials, seen, strict=True):
        own = re.findall(r"\d+", trial.question)[0]
        assert own in lamps
        assert trial.right_source == (lamps[0] == own)
    assert 0.1 < quality.right_source < 0.6
    assert evaluate_answers(ModelGenerator(Copying()), PARAGRAPHS).right_source == 1


def test_extraction_answers_everything_with_a_sentence() -> None:
    quality = evaluate_answers(ExtractiveGenerator(), PARAGRAPHS, answerable=5, unanswerable=5)
    assert (quality.answerable, quality.unanswerable) == (5, 5)
    assert quality.refused_unanswerable == 0
    assert 0 < quality.f1 < 0.5


class Silent:
    def generate(self, question: str, passages: Sequence[Passage], *, max_statements: int) -> list[Statement]:
        return []


def test_a_generator_that_refuses_everything_has_no_f1() -> None:
    quality = evaluate_answers(Silent(), PARAGRAPHS)
    assert (quality.f1, quality.exact_match) == (0, 0)
    assert (quality.refused_answerable, quality.refused_unanswerable) == (1, 1)


def test_equal_seeds_draw_equal_questions() -> None:
    first, second, third = (draw_questions(PARAGRAPHS, 4, 3, seed=seed) for seed in (1, 1, 2))
    assert first == second != third
    assert [bool(q.answers) for _, q in first].count(True) == 4
    assert len(first) == 7
    assert len(draw_questions(PARAGRAPHS, 999, 0, seed=0)) == 20
    with pytest.raises(InvalidArgument, match="no questions"):
        evaluate_answers(Silent(), [])


def official_f1(prediction: str, truth: str) -> float:
    """compute_f1 of SQuAD's evaluation script, for answers that are not empty."""

    def tokens(text: str) -> list[str]:
        text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    common = Counter(tokens(prediction)) & Counter(tokens(truth))
    same = sum(common.values())
    if same == 0:
        return 0.0
    precision, recall = same / len(tokens(prediction)), same / len(tokens(truth))
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("the Eiffel Tower", "Eiffel Tower!"),
        ("a tower in Paris", "the tower of Paris, France"),
        ("12,000 ft", "12000 feet"),
        ("co-operate", "cooperate"),
        ("An apple a day", "the day"),
        ("London", "Paris"),
        ("Paris Paris London", "Paris London London"),
        ("\u00e9t\u00e9", "\u00c9t\u00e9"),
    ],
)
def test_f1_is_that_of_squads_script(answer: str, gold: str) -> None:
    assert f1(answer, [gold]) == pytest.approx(official_f1(answer, gold))
    assert exact_match(answer, [gold]) == float(normalise(answer) == normalise(gold))


def test_the_best_of_several_right_answers_counts() -> None:
    assert f1("in 1905", ["1905", "in 1905"]) == 1
    assert exact_match("The 1905", ["x", "1905"]) == 1
    assert f1("", ["1905"]) == 0
    assert f1("anything", []) == 0


def test_files_are_read_compressed_or_not(tmp_path: Path) -> None:
    record = {
        "title": "The_lamp",
        "context": "It is red.",
        "qas": [
            {"id": "1", "question": " What  colour? ", "answers": ["red"]},
            {"question": "Why?", "answers": []},
        ],
    }
    text = f"{json.dumps(record)}\n\n".encode()
    (tmp_path / "a.jsonl").write_bytes(text)
    (tmp_path / "a.jsonl.xz").write_bytes(lzma.compress(text))
    expected = [
        Paragraph("The lamp", "It is red.", (Question("What colour?", ("red",)), Question("Why?", ())))
    ]
    assert read_squad(tmp_path / "a.jsonl") == read_squad(tmp_path / "a.jsonl.xz") == expected
    (tmp_path / "cut.jsonl.xz").write_bytes(lzma.compress(text)[:-20])
    with pytest.raises(FormatError, match="damaged or cut short"):
        read_squad(tmp_path / "cut.jsonl.xz")
    with pytest.raises(IoError, match=r"absent\.jsonl"):
        read_squad(tmp_path / "absent.jsonl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"a\.jsonl:2: not JSON"),
        ("[]", r"a\.jsonl:2: not a JSON object"),
        ('{"title": "x", "qas": []}', r'a\.jsonl:2: needs texts "title" and "context"'),
        ('{"context": "x", "qas": [{"question": "y"}]}', r'every entry of "qas"'),
        ('{"context": "x", "qas": [{"question": "y", "answers": [3]}]}', r'every entry of "qas"'),
        ('{"context": "x", "qas": ["y"]}', r'every entry of "qas"'),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"context": "x", "qas": []}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        read_squad(tmp_path / "a.jsonl")
