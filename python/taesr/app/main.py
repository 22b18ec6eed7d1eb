"""The app's page. `taesr.app.run` runs it with a collection's folder and perhaps a generator as arguments."""

import json
import sys
import time
from pathlib import Path

import streamlit as st

from taesr.answer import Answer, Citation
from taesr.app import render
from taesr.app.service import (
    Conversation,
    Exchange,
    Service,
    Settings,
    open_service,
    password_matches,
    password_needed,
)
from taesr.errors import Error

HERE = Path(__file__).parent
MAX_DOCUMENT = 200_000  # characters of a document shown
REDRAW = 0.1  # seconds between two looks at an answer that is being written


@st.cache_resource(show_spinner="Opening the collection")
def service(path: str, generator: str) -> Service:
    """The one collection that all visitors share; `generator` is JSON of its name and options."""
    name, options = json.loads(generator)
    return open_service(Path(path), name, options)


def main() -> None:
    """Draw the page."""
    # A named icon would be fetched from the internet; nothing may leave the machine.
    st.set_page_config(page_title="taesr", page_icon=str(HERE / "icon.svg"), layout="centered")
    st.html(HERE / "style.css")
    if password_needed() and not st.session_state.get("admitted"):
        ask_for_password()
        return
    try:
        shared = service(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else '["extractive", {}]')
    except Error as error:
        st.html(render.error_html(str(error)))
        return
    conversation: Conversation = st.session_state.setdefault("conversation", Conversation())
    settings, show_retrieval = sidebar(shared, conversation)
    question = st.chat_input("Ask a question", submit_mode="disable", max_chars=8000)
    if not conversation.exchanges and not question:
        question = welcome(shared)
    if question and question.strip():
        conversation.add(shared.ask(question, settings))
    for number, exchange in enumerate(conversation.exchanges):
        draw(shared, exchange, number, show_retrieval=show_retrieval)


def ask_for_password() -> None:
    """Let nobody in without the password."""
    with st.form("password"):
        given = st.text_input("Password", type="password")
        if st.form_submit_button("Enter"):
            if password_matches(given):
                st.session_state["admitted"] = True
                st.rerun()
            st.warning("This password is not right.")


def sidebar(shared: Service, conversation: Conversation) -> tuple[Settings, bool]:
    """Facts about the collection, and the settings of the next question."""
    with st.sidebar:
        st.html(render.facts_html(shared.name, shared.facts()))
        st.divider()
        k = st.slider("Passages to read", 1, 12, Settings.k)
        mode = st.segmented_control("Search mode", Settings.modes, default=Settings.mode)
        depth = st.segmented_control("Depth", Settings.depths, default=Settings.depth)
        names = list(shared.generators)
        generator = st.selectbox("Answers by", names) if len(names) > 1 else names[0]
        show_retrieval = st.toggle(
            "Show retrieval", help="Rank and score by search head, and where the time went"
        )
        st.divider()
        if st.button("New conversation", icon=":material/refresh:", disabled=not conversation.exchanges):
            conversation.exchanges.clear()
            st.rerun()
    settings = Settings(
        k=k, mode=mode or Settings.mode, depth=depth or Settings.depth, generator=generator or names[0]
    )
    return settings, show_retrieval


def welcome(shared: Service) -> str | None:
    """The empty page, with questions to begin with; the one that was clicked."""
    slot = st.empty()
    with slot.container():
        st.html(
            '<div class="welcome"><h1>Ask your documents</h1><p>Answers come from the collection, '
            "with a source for every statement.</p></div>"
        )
        examples = shared.examples()
        chosen = st.pills("Examples", examples, label_visibility="collapsed") if examples else None
    if chosen:
        slot.empty()
    return chosen


def draw(shared: Service, exchange: Exchange, number: int, *, show_retrieval: bool) -> None:
    """A question and its answer."""
    with st.chat_message("user", avatar=":material/person:"):
        st.html(render.question_html(exchange.question))
    with st.chat_message("assistant", avatar=":material/menu_book:"):
        wait(exchange, number)
        reply = exchange.reply
        if reply.answer is None:
            st.html(render.error_html(reply.error))
            return
        st.html(render.answer_html(reply.answer))
        sources(shared, reply.answer, number)
        for remark in reply.answer.notes:
            st.html(render.note_html(remark))
        st.html(render.cost_html(reply.answer))
        if show_retrieval:
            st.html(render.retrieval_html(reply.hits, reply.answer.timings))


def wait(exchange: Exchange, number: int) -> None:
    """Show the text of an answer while it is written, until it is complete."""
    slot = st.empty()
    with slot.container(), st.spinner("Reading", show_time=False):
        text, offered, shown = st.empty(), st.empty(), ""
        while not exchange.finished:
            if exchange.writing.text != shown:
                if not shown:
                    offered.button("Stop", key=f"stop-{number}", on_click=exchange.writing.stop)
                shown = exchange.writing.text
                text.html(render.draft_html(shown))
            time.sleep(REDRAW)
    slot.empty()


def sources(shared: Service, answer: Answer, number: int) -> None:
    """The answer's sources as cards."""
    if not answer.citations:
        return
    st.html(f'<div class="sources">{"Sources" if answer.confident else "Closest passages"}</div>')
    for citation in answer.citations:
        with st.container(border=True, gap="xsmall"):
            st.html(render.card_html(citation))
            label = "Read the document"
            if st.button(
                label, key=f"open-{number}-{citation.number}", type="tertiary", icon=":material/article:"
            ):
                show_document(shared, citation)


@st.dialog("Document", width="medium")
def show_document(shared: Service, citation: Citation) -> None:
    """A document's text as stored, with the passage that was used."""
    text = shared.document_text(citation.document)
    if not text:
        st.info("This document is no longer in the collection.")
        return
    begin = text.find(citation.text)
    highlights = [(begin + first, begin + last) for first, last in citation.highlights] if begin >= 0 else []
    shown = [span for span in highlights if span[1] <= MAX_DOCUMENT]
    st.html(render.document_html(citation, text[:MAX_DOCUMENT], shown))
    if len(text) > MAX_DOCUMENT:
        st.caption(f"The first {MAX_DOCUMENT:,} of {len(text):,} characters.")


main()
