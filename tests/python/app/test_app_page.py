"""The app's page, run without a browser."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from tests.python import small_gguf

import taesr.app
from taesr.app.launch import PASSWORD_VARIABLE

SCRIPT = Path(taesr.app.__file__).with_name("main.py")
QUESTION = "How do I move a collection to another computer?"
OpenPage = Callable[[], AppTest]


@pytest.fixture
def open_page(collection_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """Opens a page of its own, as a browser tab does."""
    monkeypatch.setattr(sys, "argv", ["main.py", str(collection_path)])
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    return lambda: AppTest.from_file(str(SCRIPT), default_timeout=120).run()


def html(page: AppTest) -> str:
    """All HTML of the page."""
    return "\n".join(element.proto.body for element in page.get("html"))


def ask(page: AppTest, question: str) -> AppTest:
    page.chat_input[0].set_value(question).run()
    assert not page.exception
    return page


def test_a_new_page_shows_the_collection_and_questions_to_begin_with(open_page: OpenPage) -> None:
    page = open_page()
    assert not page.exception
    assert "handbook" in html(page)
    assert "Ask your documents" in html(page)
    assert (
        len(page.get("pills")[0].options if page.get("pills") else page.get("button_group")[0].options) == 4
    )


def test_a_question_is_answered_with_numbered_sources(open_page: OpenPage) -> None:
    page = ask(open_page(), QUESTION)
    shown = html(page)
    assert 'class="answer"' in shown
    assert "move-or-back-up.md" in shown
    assert "<mark>" in shown
    assert "Ask your documents" not in shown
    assert [message.name for message in page.chat_message] == ["user", "assistant"]


def test_not_sure_is_visibly_different(open_page: OpenPage) -> None:
    shown = html(ask(open_page(), "What is the best pizza in Naples?"))
    assert "Not sure" in shown
    assert "Closest passages" in shown
    assert 'class="answer"' not in shown


def test_the_history_is_kept_and_can_be_cleared(open_page: OpenPage) -> None:
    page = ask(ask(open_page(), QUESTION), "Which file formats can I ingest?")
    assert len(page.chat_message) == 4
    next(button for button in page.button if button.label == "New conversation").click().run()
    assert len(page.chat_message) == 0
    assert "Ask your documents" in html(page)


def test_show_retrieval_adds_ranks_scores_and_timings(open_page: OpenPage) -> None:
    page = ask(open_page(), QUESTION)
    assert 'class="retrieval"' not in html(page)
    page.toggle[0].set_value(True).run()
    shown = html(page)
    assert 'class="retrieval"' in shown
    assert "cosine" in shown
    assert "BM25" in shown
    assert "encode" in shown


def test_settings_change_what_the_next_question_reads(open_page: OpenPage) -> None:
    page = open_page()
    page.slider[0].set_value(2).run()
    page.toggle[0].set_value(True).run()
    table = html(ask(page, QUESTION)).partition('class="retrieval"')[2]
    assert table.count("<tr>") == 3


def test_a_document_can_be_read_from_its_source(open_page: OpenPage) -> None:
    page = ask(open_page(), QUESTION)
    next(button for button in page.button if button.label == "Read the document").click().run()
    assert not page.exception
    assert 'class="document-text"' in html(page)


def test_two_tabs_share_the_collection_and_not_the_conversation(open_page: OpenPage) -> None:
    first, second = open_page(), open_page()
    ask(first, QUESTION)
    second.run()
    assert len(first.chat_message) == 2
    assert len(second.chat_message) == 0


@pytest.mark.parametrize(
    "question", ["<script>alert(1)</script>", "![x](https://evil.example/p.png)", "$$x$$ **b** [1]"]
)
def test_a_question_is_shown_as_it_was_typed(open_page: OpenPage, question: str) -> None:
    page = ask(open_page(), question)
    assert not page.markdown
    assert "<script>" not in html(page)
    assert "<img" not in html(page)


def test_a_collection_that_cannot_be_opened_is_said_on_the_page(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    st.cache_resource.clear()
    monkeypatch.setattr(sys, "argv", ["main.py", str(tmp_path / "nowhere")])
    page = open_page()
    assert not page.exception
    assert "Not possible" in html(page)
    assert not page.chat_input


def test_visitors_choose_between_the_language_model_and_extraction(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = small_gguf.write(tmp_path / "small.gguf", positions=8192)
    options = {"model": str(model), "context_tokens": 8000, "max_tokens": 16}
    monkeypatch.setattr(sys, "argv", [*sys.argv, json.dumps(["smollm2", options])])
    page = open_page()
    assert page.selectbox[0].options == ["smollm2", "extractive"]
    shown = html(ask(page, QUESTION))
    # Its weights are random, and what it writes has no support.
    assert "What the language model wrote is not supported by the sources." in shown
    assert "Closest passages" in shown
    assert 'class="draft"' not in shown
    page.selectbox[0].set_value("extractive").run()
    assert 'class="answer"' in html(ask(page, QUESTION))


def test_nothing_is_shown_before_the_password(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "correct horse battery")
    page = open_page()
    assert not page.chat_input
    assert "handbook" not in html(page)
    page.text_input[0].set_value("wrong")
    page.button[0].click().run()
    assert not page.chat_input
    assert [warning.value for warning in page.warning] == ["This password is not right."]
    page.text_input[0].set_value("correct horse battery")
    page.button[0].click().run()
    assert page.chat_input
    assert "handbook" in html(page)
