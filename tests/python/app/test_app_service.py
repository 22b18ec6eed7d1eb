"""What the app does behind its pages."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from taesr.answer import Draft, Passage, Statement
from taesr.answer.language_model import Drafting
from taesr.app import service
from taesr.app.launch import PASSWORD_VARIABLE
from taesr.app.service import Conversation, Exchange, Reply, Service, Settings, Writing
from taesr.errors import IoError


@pytest.fixture(scope="module")
def shared(collection_path: Path) -> Iterator[Service]:
    opened = service.open_service(collection_path)
    yield opened
    opened.collection.close()


def test_a_question_is_answered_with_the_hits_it_was_made_from(shared: Service) -> None:
    reply = shared.ask("Which file formats can I ingest?", Settings(k=4)).reply
    assert reply.answer is not None
    assert reply.answer.confident
    assert len(reply.hits) == 4
    assert reply.error == ""


def test_settings_reach_the_search(shared: Service) -> None:
    reply = shared.ask("Which file formats can I ingest?", Settings(mode="keyword", k=2)).reply
    assert [set(hit.ranks) for hit in reply.hits] == [{"keyword"}] * 2


def test_an_error_is_a_reply_not_a_crash(shared: Service) -> None:
    reply = shared.ask("x" * 9000, Settings()).reply
    assert reply.answer is None
    assert "9,000 characters" in reply.error


def test_many_visitors_at_once_get_their_own_answers(shared: Service) -> None:
    questions = [
        "Which file formats can I ingest?",
        "What is the licence?",
        "What is the best pizza in Naples?",
    ] * 5
    replies = [exchange.reply for exchange in [shared.ask(question, Settings()) for question in questions]]
    texts = [reply.answer.answer for reply in replies if reply.answer]
    assert len(texts) == 15
    assert len(set(texts)) == 3
    assert texts[:3] * 5 == texts


def test_more_waiting_questions_than_there_is_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    class Slow(Service):
        def _answer(self, question: str, settings: Settings, writing: Writing) -> Reply:
            release.wait(30)
            return Reply(None)

    monkeypatch.setattr(service, "MAX_WAITING", 3)
    slow = Slow(None, "slow")  # type: ignore[arg-type]
    waiting = [slow.ask("a", Settings()) for _ in range(3)]
    refused = slow.ask("b", Settings()).reply
    release.set()
    assert "Too many questions" in refused.error
    assert all(exchange.reply.error == "" for exchange in waiting)
    assert slow.ask("c", Settings()).reply.error == ""


def test_a_conversation_forgets_its_oldest_exchanges() -> None:
    conversation = Conversation()
    job: Future[Any] = Future()
    for number in range(service.MAX_EXCHANGES + 7):
        conversation.add(Exchange(str(number), job))
    assert len(conversation.exchanges) == service.MAX_EXCHANGES
    assert conversation.exchanges[0].question == "7"


def test_facts_and_documents_are_those_of_the_collection(shared: Service) -> None:
    assert shared.facts()["Documents"] == "36"
    assert shared.document_text("help/licence.md").startswith("# Licence")
    assert shared.document_text("no/such.md") == ""


def test_examples_are_the_bundled_questions_for_the_bundled_articles(shared: Service) -> None:
    assert "Which file formats can I ingest?" in shared.examples()


def test_examples_of_other_collections_are_titles_that_ask_first() -> None:
    titles = [f"Notes about part {n} of it" for n in range(20)] + [
        "How to reset the router",
        "Why it blinks at night",
    ]
    examples = service.example_questions([(f"{n}.md", title) for n, title in enumerate(titles)])
    assert examples[:2] == ["How to reset the router", "Why it blinks at night"]
    assert len(examples) == 4
    assert service.example_questions([]) == []
    assert service.example_questions([("a", ""), ("b", "x" * 500)]) == []


def test_the_password_is_compared_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.time, "sleep", lambda seconds: None)
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    assert not service.password_needed()
    assert not service.password_matches("")
    monkeypatch.setenv(PASSWORD_VARIABLE, "correct horse")
    assert service.password_needed()
    assert service.password_matches("correct horse")
    for wrong in ("", "correct hors", "correct horse ", "Correct horse", "ж"):
        assert not service.password_matches(wrong)


class Scribe:
    """Writes word by word, as a language model does, and waits before each until it may go on."""

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)
        self.closed = threading.Event()

    def generate(self, question: str, passages: Sequence[Passage], *, max_statements: int) -> list[Statement]:
        raise AssertionError("it streams")

    def stream(self, question: str, passages: Sequence[Passage], *, max_statements: int) -> Drafting:
        try:
            for word in ("Copy ", "the ", "folder. "):
                assert self.go_on.acquire(timeout=30)
                yield word
        finally:
            self.closed.set()
        return Draft((Statement("Copy the folder.", (0,)),), notes=("A remark.",))


def test_the_text_can_be_read_while_it_is_written_and_the_answer_follows(shared: Service) -> None:
    scribe = Scribe()
    writing = Service(shared.collection, "handbook", {"scribe": scribe, **shared.generators})
    exchange = writing.ask("How do I move a collection to another computer?", Settings(generator="scribe"))
    seen = [exchange.writing.text]
    for _ in range(3):
        scribe.go_on.release()
        for _ in range(600):
            if exchange.writing.text != seen[-1]:
                break
            threading.Event().wait(0.05)
        seen.append(exchange.writing.text)
    assert seen == ["", "Copy ", "Copy the ", "Copy the folder. "]
    answer = exchange.reply.answer
    assert answer is not None
    assert answer.answer == "Copy the folder. [1]"
    assert answer.notes == ("A remark.",)


def test_a_stopped_answer_ends_the_generators_work_and_says_so(shared: Service) -> None:
    scribe = Scribe()
    writing = Service(shared.collection, "handbook", {"scribe": scribe})
    exchange = writing.ask("How do I move a collection to another computer?", Settings(generator="scribe"))
    assert not exchange.finished
    exchange.writing.stop()
    assert exchange.finished
    assert exchange.reply.error == "Stopped before the answer was complete."
    assert not scribe.closed.is_set()  # it waits for its next word, and the visitor does not
    scribe.go_on.release()
    assert scribe.closed.wait(30)


def test_a_generator_without_its_model_is_said_when_the_app_opens(collection_path: Path) -> None:
    with pytest.raises(IoError, match=r"absent\.gguf does not exist"):
        service.open_service(collection_path, "smollm2", {"model": "absent.gguf"})
