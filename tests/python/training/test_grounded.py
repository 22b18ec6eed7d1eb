"""Training data for grounded answers: what is in it, and what must never be."""

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import squad_files

from taesr.answer.draft import check, refuses
from taesr.answer.prompt import REFUSAL, SYSTEM, Message
from taesr.errors import InvalidArgument, IoError
from taesr.evaluation.near import NearParagraphs
from taesr.evaluation.squad import Paragraph, Question, normalise, read_squad
from taesr.training.alter import Alterations
from taesr.training.grounded import Example, GroundedExamples, GroundedOptions
from taesr.training.grounded_files import split_articles, write_examples

SOURCE = re.compile(r"^\[(\d)\] (.*)\n> (.*)$", re.MULTILINE)


def count_words(messages: Sequence[Message]) -> int:
    return sum(len(message["content"].split()) for message in messages)


@pytest.fixture
def paragraphs(tmp_path: Path) -> list[Paragraph]:
    return read_squad(squad_files.write(tmp_path / "squad.jsonl", articles=20))


def examples_of(paragraphs: list[Paragraph], **options: float) -> list[Example]:
    made = GroundedExamples(paragraphs, count_words, GroundedOptions(**options)).make()  # type: ignore[arg-type]
    return [example for example in made if example is not None]


def parts(example: Example) -> tuple[list[tuple[str, str]], str, str]:
    """Sources by title and text, question, reply."""
    user, reply = example.messages[1]["content"], example.messages[2]["content"]
    found = SOURCE.findall(user)
    assert [int(number) for number, _, _ in found] == list(range(1, len(found) + 1))
    return [(title, text) for _, title, text in found], user.rsplit("Question: ", 1)[1], reply


def test_every_answer_stands_in_the_source_that_it_names_and_in_no_other(paragraphs: list[Paragraph]) -> None:
    own = {q.text: (p.text, q.answers[0]) for p in paragraphs for q in p.questions}
    examples = examples_of(paragraphs)
    assert len(examples) == sum(len(p.questions) for p in paragraphs)
    for example in examples:
        sources, question, reply = parts(example)
        assert [m["role"] for m in example.messages] == ["system", "user", "assistant"]
        assert example.messages[0]["content"] == SYSTEM
        if example.kind == "answerable":
            text, answer = own[question]
            match = re.fullmatch(r"(.+) \[(\d)\]", reply)
            assert match
            assert match[1] == answer
            assert sources[int(match[2]) - 1][1] == text
            others = [t for n, (_, t) in enumerate(sources, 1) if n != int(match[2])]
            assert all(f" {normalise(answer)} " not in f" {normalise(t)} " for t in others)
        else:
            assert reply == REFUSAL


def test_what_is_to_be_refused_has_no_source_with_the_answer(paragraphs: list[Paragraph]) -> None:
    own = {q.text: (p, q.answers[0]) for p in paragraphs for q in p.questions}
    kinds = Counter[str]()
    for example in examples_of(paragraphs, unanswerable=1.0, altered=0.4, elsewhere=0.3):
        sources, question, reply = parts(example)
        kinds[example.kind] += 1
        assert refuses(reply)
        if example.kind == "altered":
            # Altered, it may be a question of another paragraph, which must not be among the sources then.
            assert question not in own or own[question][0].text not in {text for _, text in sources}
        else:
            paragraph, answer = own[question]
            assert all(text != paragraph.text for _, text in sources)
            assert all(f" {normalise(answer)} " not in f" {normalise(text)} " for _, text in sources)
            titles = {title for title, _ in sources}
            assert (paragraph.title in titles) == (example.kind == "near")
    assert set(kinds) == {"altered", "near", "elsewhere"}


def test_shares_are_what_the_options_say(paragraphs: list[Paragraph]) -> None:
    examples = examples_of(paragraphs * 10, unanswerable=0.3, alone=0.4)
    refused = sum(example.kind != "answerable" for example in examples) / len(examples)
    sizes = Counter(len(parts(example)[0]) for example in examples)
    assert refused == pytest.approx(0.3, abs=0.05)
    assert sizes[1] / len(examples) == pytest.approx(0.4, abs=0.06)
    assert set(sizes) <= {1, 2, 3, 4}
    places = Counter(
        int(e.messages[2]["content"][-2])
        for e in examples
        if e.kind == "answerable" and len(parts(e)[0]) == 3
    )
    assert set(places) == {1, 2, 3}


def test_equal_seeds_make_equal_examples(paragraphs: list[Paragraph]) -> None:
    assert examples_of(paragraphs, seed=5) == examples_of(paragraphs, seed=5)
    assert examples_of(paragraphs, seed=5) != examples_of(paragraphs, seed=6)


def test_prompts_stay_below_the_limit_and_lose_sources_before_the_right_one(
    paragraphs: list[Paragraph],
) -> None:
    limit = len(SYSTEM.split()) + 60
    examples = examples_of(paragraphs, max_tokens=limit, alone=0.0)
    assert examples
    assert all(count_words(example.messages[:2]) <= limit for example in examples)
    assert {len(parts(example)[0]) for example in examples} <= {1, 2}
    assert examples_of(paragraphs, max_tokens=10) == []


def test_the_bot_accepts_the_answers_that_are_taught(paragraphs: list[Paragraph]) -> None:
    passages = {p.text: p.passage() for p in paragraphs}
    for example in examples_of(paragraphs):
        sources, question, reply = parts(example)
        draft = check(reply, question, [passages[text] for _, text in sources])
        assert bool(draft.statements) == (example.kind == "answerable")
        if draft.statements:
            assert f"{draft.statements[0].text} [{draft.statements[0].sources[0] + 1}]" == reply


def test_questions_whose_answer_is_not_in_the_text_are_left_out() -> None:
    questions = (Question("Where was the lamp made?", ("Rome",)), Question("Where was it sold?", ()))
    assert examples_of([Paragraph("Lamp", "The lamp was made in Corby.", questions)]) == []


def test_options_out_of_range_are_refused() -> None:
    for wrong in ({"unanswerable": 1.5}, {"altered": 0.7, "elsewhere": 0.7}, {"max_sources": 0}):
        with pytest.raises(InvalidArgument, match="allowed"):
            GroundedOptions(**wrong)  # type: ignore[arg-type]


def test_files_share_no_article_and_are_complete(tmp_path: Path, paragraphs: list[Paragraph]) -> None:
    steps: list[tuple[str, int, int | None]] = []
    train, valid = write_examples(
        paragraphs,
        tmp_path / "out",
        count_words,
        examples=100,
        validation=15,
        progress=lambda *step: steps.append(step),
    )
    assert [w.path.name for w in (train, valid)] == ["train.jsonl", "valid.jsonl"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["train.jsonl", "valid.jsonl"]
    articles = []
    for written, count in ((train, 100), (valid, 15)):
        lines = [json.loads(line) for line in written.path.read_text(encoding="utf-8").splitlines()]
        assert len(lines) == sum(written.kinds.values()) == count
        assert all(set(line) == {"messages"} for line in lines)
        found = (SOURCE.findall(line["messages"][1]["content"]) for line in lines)
        articles.append({title for sources in found for _, title, _ in sources})
    assert not articles[0] & articles[1]
    assert steps[-1] == ("valid.jsonl", 15, 15)


def test_too_few_articles_and_folders_that_cannot_be_written_are_errors(
    tmp_path: Path, paragraphs: list[Paragraph]
) -> None:
    with pytest.raises(InvalidArgument, match="too few to hold 900 questions back"):
        split_articles(paragraphs, 900, seed=0)
    with pytest.raises(InvalidArgument, match="no questions"):
        split_articles([], 0, seed=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(IoError, match=r"train\.jsonl"):
        write_examples(paragraphs, tmp_path / "file", count_words, examples=1)


def test_alterations_take_out_what_the_paragraph_has_and_put_in_what_it_lacks() -> None:
    text = "In 1969 Leo Durocher managed the Chicago Cubs, the first team of Illinois."
    other = "The manager was Herman Franks. He met Walter Alston and the Boston Braves in Ohio."
    alterations = Alterations([("Cubs", text), ("Cubs", other), ("Rome", "He met Julius Caesar there.")])
    draw = random.Random(0)
    question = "Who managed the team in 1969?"
    for _ in range(20):
        changed = alterations.alter(question, 0, draw)
        assert changed is not None
        year = re.search(r"\d{4}", changed)
        assert year
        assert year[0] not in text
    named = {alterations.alter("When did Leo Durocher manage?", 0, draw) for _ in range(40)}
    assert {"When did Herman Franks manage?", "When did Walter Alston manage?"} <= named
    assert not any("Caesar" in name for name in named if name)
    assert alterations.alter("Which was the first team?", 0, draw) == "Which was the last team?"
    assert alterations.alter("Whose team?", 0, draw) is None


def test_near_paragraphs_are_ranked_as_bm25_ranks_them() -> None:
    texts = ["a red lamp", "a red lamp and a green lamp", "green paint", "nothing at all"]
    near = NearParagraphs(texts)
    found = near.find("green lamps", 4, title_of=lambda n: "b" if n == 0 else "a", prefer="a")
    assert found == [1, 2, 0]
    assert near.find("unknown", 4, title_of=str, prefer="") == []
