"""The bundled articles: sound as documentation, and answered from as promised."""

import re
from pathlib import Path

import pytest

import taesr
from taesr.answer import SupportBot
from taesr.samples import KNOWLEDGE_BASE, QUESTIONS, UNANSWERABLE

ARTICLES = sorted(KNOWLEDGE_BASE.rglob("*.md"))

ANSWERED = (
    *QUESTIONS,
    ("Can two programs write to the same collection?", "collections/readers-and-writers.md"),
    ("What is reciprocal rank fusion?", "search/reciprocal-rank-fusion.md"),
    ("How do I make vectors shorter?", "encoder/matryoshka-dimensions.md"),
    ("How do I use libtaesr in a CMake project?", "getting-started/use-from-cpp.md"),
    ("Does my data leave my machine?", "help/privacy.md"),
    ("What does ModelMismatch mean?", "collections/model-mismatch.md"),
    ("How do I get JSON output?", "answers/json-output.md"),
    ("How do I uninstall taesr?", "help/upgrade-and-uninstall.md"),
    ("How large may a chunk be?", "documents/chunk-size-and-overlap.md"),
    ("What licence does libtaesr have?", "help/licence.md"),
)
OFF_TOPIC = (
    UNANSWERABLE,
    "Who won the football world cup in 2014?",
    "how do I bake sourdough bread",
    "book a flight to Berlin",
    "What is the capital of France?",
    "what's the weather tomorrow",
    "how tall is the Eiffel tower",
    "Can I pay with PayPal?",
    "tell me a joke",
    "how do I cancel my subscription",
)


@pytest.mark.parametrize(("question", "document"), ANSWERED)
def test_a_question_that_the_articles_answer_is_answered_from_the_right_one(
    knowledge_base: taesr.Collection, question: str, document: str
) -> None:
    answer = SupportBot(knowledge_base).ask(question)
    assert answer.confident, f"{answer.confidence:.2f}"
    assert document in [citation.document for citation in answer.citations]


@pytest.mark.parametrize("question", OFF_TOPIC)
def test_a_question_about_something_else_is_not_answered(
    knowledge_base: taesr.Collection, question: str
) -> None:
    answer = SupportBot(knowledge_base).ask(question)
    assert not answer.confident, f"{answer.confidence:.2f}: {answer.answer}"
    assert answer.answer.startswith("I'm not sure.")
    assert answer.statements == ()
    assert 1 <= len(answer.citations) <= 3


@pytest.mark.parametrize("article", ARTICLES, ids=lambda path: path.stem)
def test_an_article_has_one_title_sections_and_a_readable_length(article: Path) -> None:
    text = article.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    assert text.startswith("# ")
    assert len(re.findall(r"^# ", prose, re.MULTILINE)) == 1
    assert article.stem == "glossary" or re.search(r"^## ", prose, re.MULTILINE)
    assert 130 <= len(text.split()) <= 420
    assert text.count("```") % 2 == 0


def test_commands_and_options_named_in_the_articles_exist() -> None:
    from taesr.cli import build_parser

    subcommands = next(a for a in build_parser()._actions if hasattr(a, "choices") and a.choices)
    parsers = dict(subcommands.choices)  # type: ignore[arg-type]
    everything = "\n".join(path.read_text(encoding="utf-8") for path in ARTICLES)
    used = re.findall(r"\btaesr (ingest|ask|chat|search|app|encode|eval|info|doctor)\b([^`\n]*)", everything)
    assert len({command for command, _ in used}) == 9
    for command, rest in used:
        known = set(parsers[command]._option_string_actions)
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= known, (command, rest)


def test_names_of_the_python_interface_in_the_articles_exist() -> None:
    everything = "\n".join(path.read_text(encoding="utf-8") for path in ARTICLES)
    for name in set(re.findall(r"\btaesr\.([A-Z]\w+)", everything)):
        assert hasattr(taesr, name), name
    for name in set(re.findall(r"\bencoder\.([a-z_]+)\(", everything)):
        assert hasattr(taesr.Encoder, name), name
    for name in set(re.findall(r"\bkb\.([a-z_]+)", everything)) - {"md"}:
        assert hasattr(taesr.Collection, name), name
