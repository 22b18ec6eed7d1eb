"""Asking: what every answer must be, whatever the question and the collection."""

import json
import re
from collections.abc import Sequence

import pytest
from asking import MakeCollection

import taesr
from taesr.answer import AnswerOptions, Passage, Statement, SupportBot, create_generator, generator_names
from taesr.answer.evidence import MAX_CANDIDATES, MAX_CHARACTERS, read
from taesr.errors import InvalidArgument

QUESTION = "How do I move a collection to another computer?"


def test_an_answer_is_confident_cited_and_timed(knowledge_base: taesr.Collection) -> None:
    answer = SupportBot(knowledge_base).ask(QUESTION)
    assert answer.confident
    assert answer.confidence >= AnswerOptions().min_confidence
    assert answer.depth > 0
    assert set(answer.timings) == {"encode", "retrieve", "read", "generate", "total"}
    assert 0 < answer.timings["read"] <= answer.timings["total"]


def test_the_json_form_has_the_promised_keys(knowledge_base: taesr.Collection) -> None:
    value = json.loads(json.dumps(SupportBot(knowledge_base).ask(QUESTION).to_dict(), allow_nan=False))
    assert {"answer", "confident", "citations", "timings"} <= set(value)
    assert value["citations"]
    for citation in value["citations"]:
        assert {"number", "document", "section", "text", "score"} <= set(citation)
        assert 0 <= citation["score"] <= 1


def test_the_same_question_has_the_same_answer(knowledge_base: taesr.Collection) -> None:
    first, second = (SupportBot(knowledge_base).ask(QUESTION) for _ in range(2))
    assert (first.answer, first.citations, first.confidence) == (
        second.answer,
        second.citations,
        second.confidence,
    )


@pytest.mark.parametrize("question", ["", "   \n\t ", "\u00a0"])
def test_an_empty_question_is_an_error(knowledge_base: taesr.Collection, question: str) -> None:
    with pytest.raises(InvalidArgument, match="question is empty"):
        SupportBot(knowledge_base).ask(question)


def test_a_question_of_100_kb_is_an_error_that_says_what_is_allowed(knowledge_base: taesr.Collection) -> None:
    with pytest.raises(InvalidArgument, match=r"102,401 characters; allowed: 1 to 8,000"):
        SupportBot(knowledge_base).ask("why? " * 20_480 + "x")


def test_a_question_that_is_no_text_is_an_error(knowledge_base: taesr.Collection) -> None:
    with pytest.raises(InvalidArgument, match="int"):
        SupportBot(knowledge_base).ask(42)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="position 6"):
        SupportBot(knowledge_base).ask("broken\ud800 text")


@pytest.mark.parametrize(
    "question",
    [
        "what is it",
        "???",
        "!",
        "\u200b\u200b",
        "\x00\x01",
        "🙂🙂",
        "the and of",
        "-- --",
        '"',
    ],
)
def test_a_question_without_words_of_its_own_is_answered_with_not_sure(
    knowledge_base: taesr.Collection, question: str
) -> None:
    answer = SupportBot(knowledge_base).ask(question)
    assert not answer.confident
    assert answer.answer.startswith("I'm not sure.")


def test_a_question_of_the_longest_length_is_answered(knowledge_base: taesr.Collection) -> None:
    answer = SupportBot(knowledge_base).ask((QUESTION + " ") * 160)
    assert answer.answer


@pytest.mark.parametrize(
    "question",
    ["' OR 1=1; --", "日本語でインストールする方法は\uff1f", "¿Cómo instalo taesr?", "как установить", "نصب"],
)
def test_questions_in_other_scripts_do_not_crash(knowledge_base: taesr.Collection, question: str) -> None:
    assert SupportBot(knowledge_base).ask(question).answer


def test_an_empty_collection_is_not_sure_and_has_no_sources(make_collection: MakeCollection) -> None:
    answer = SupportBot(make_collection({})).ask(QUESTION)
    assert not answer.confident
    assert answer.citations == ()
    assert answer.answer == "I'm not sure. Nothing in the collection matches this question."


def test_a_filter_that_nothing_matches_is_not_sure(knowledge_base: taesr.Collection) -> None:
    options = AnswerOptions(filter={"product": "no such product"})
    assert not SupportBot(knowledge_base, options=options).ask(QUESTION).confident


@pytest.mark.parametrize(
    "options",
    [
        AnswerOptions(mode="dense"),
        AnswerOptions(mode="keyword"),
        AnswerOptions(depth="hard"),
        AnswerOptions(depth=3),
        AnswerOptions(dim=64),
        AnswerOptions(k=1),
        AnswerOptions(k=20, max_statements=10),
    ],
)
def test_every_way_to_search_gives_a_cited_answer(
    knowledge_base: taesr.Collection, options: AnswerOptions
) -> None:
    answer = SupportBot(knowledge_base, options=options).ask(QUESTION)
    assert answer.confident
    assert answer.citations[0].document == "collections/move-or-back-up.md"


@pytest.mark.parametrize(
    ("name", "value"),
    [("k", 0), ("k", 21), ("min_confidence", -0.1), ("min_confidence", float("nan")), ("max_statements", 0)],
)
def test_options_out_of_range_name_the_range(name: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match=rf"{name} is .*; allowed: "):
        AnswerOptions(**{name: value})


def test_the_threshold_decides(knowledge_base: taesr.Collection) -> None:
    generous, strict = (
        SupportBot(knowledge_base, options=AnswerOptions(min_confidence=threshold)).ask(QUESTION)
        for threshold in (0, 1)
    )
    assert generous.confident
    assert not strict.confident
    assert generous.confidence == strict.confidence


def test_a_generator_that_is_not_there_is_an_error_that_lists_those_that_are() -> None:
    assert generator_names() == ["extractive", "llama-cpp", "mor", "openai", "smollm2"]
    for name in ("gpt", "Extractive", ""):
        with pytest.raises(InvalidArgument, match="available: extractive, llama-cpp, mor, openai, smollm2"):
            create_generator(name)


class Liar:
    """A generator that claims sources that it does not have."""

    def generate(self, question: str, passages: Sequence[Passage], *, max_statements: int) -> list[Statement]:
        return [Statement("Pigs fly.", (99,)), Statement("So do cows.", ()), Statement("Trust me.", (-1,))]


class Mixed(Liar):
    """A generator with one good statement, resting on two passages."""

    def generate(self, question: str, passages: Sequence[Passage], *, max_statements: int) -> list[Statement]:
        return [
            *super().generate(question, passages, max_statements=1),
            Statement("Copy the folder.", (1, 0)),
        ]


def test_statements_without_a_real_source_never_reach_the_answer(knowledge_base: taesr.Collection) -> None:
    refused = SupportBot(knowledge_base, generator=Liar()).ask(QUESTION)
    assert not refused.confident
    assert "Pigs" not in refused.answer
    mixed = SupportBot(knowledge_base, generator=Mixed()).ask(QUESTION)
    assert mixed.answer == "Copy the folder. [1][2]"
    assert [c.number for c in mixed.citations] == [1, 2]


class CountingEncoder:
    """Counts what an encoder is asked to embed."""

    def __init__(self, encoder: taesr.Encoder) -> None:
        self._encoder = encoder
        self.calls: list[list[str]] = []

    def encode(self, texts: Sequence[str], *, role: str, depth: str | int) -> object:
        self.calls.append(list(texts))
        return self._encoder.encode(texts, role=role, depth=depth)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [1, 6, 20])
def test_sentences_are_embedded_in_one_call_of_bounded_size(knowledge_base: taesr.Collection, k: int) -> None:
    counting = CountingEncoder(knowledge_base.encoder)
    hits = knowledge_base.search("how does taesr search documents", k=24).hits
    read("how does taesr search documents", hits, counting, k=k)  # type: ignore[arg-type]
    assert [len(call) for call in counting.calls[:1]] == [1]
    assert len(counting.calls) == 2
    assert len(counting.calls[1]) <= 2 * MAX_CANDIDATES
    assert sum(map(len, counting.calls[1])) <= 2 * MAX_CHARACTERS


def test_numbers_always_refer_to_listed_sources_and_statements_stand_in_them(
    knowledge_base: taesr.Collection,
) -> None:
    bot = SupportBot(knowledge_base, options=AnswerOptions(min_confidence=0))
    for hit in knowledge_base.search("taesr", k=10).hits:
        answer = bot.ask(hit.section.rsplit(" > ", 1)[-1])
        numbers = [c.number for c in answer.citations]
        assert numbers == list(range(1, len(numbers) + 1))
        assert {int(n) for n in re.findall(r"\[(\d+)\]", answer.answer)} == set(numbers)
        for statement in answer.statements:
            source = answer.citations[statement.sources[0] - 1]
            if statement.kind == "sentence" and statement.span:
                assert _words(statement.text) in _words(source.text)


def _words(text: str) -> str:
    """Without markup; a number in brackets is in round ones in an answer, whose own numbers are sources."""
    return " ".join(re.sub(r"\[(\d+)\]", r"(\1)", re.sub(r"[*`]", "", text)).split())
