"""What the app does, without its pages: the shared collection, jobs, and the facts to show."""

import hmac
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from taesr.answer import (
    Answer,
    AnswerOptions,
    ExtractiveGenerator,
    Generator,
    GeneratorOptions,
    SupportBot,
    create_generator,
)
from taesr.answer.types import Mode
from taesr.app.launch import PASSWORD_VARIABLE
from taesr.errors import Error

if TYPE_CHECKING:
    from taesr.collection import Collection, Hit

MAX_EXCHANGES = 50  # kept of one conversation; older ones are forgotten
MAX_WAITING = 32  # questions of all users together
EXAMPLES = 4
_ASKING = ("how ", "why ", "what ")


@dataclass(frozen=True)
class Settings:
    """What the sidebar chooses."""

    k: int = 6
    mode: Mode = "hybrid"
    depth: str = "auto"
    generator: str = "extractive"

    modes: ClassVar[tuple[Mode, ...]] = ("hybrid", "dense", "keyword")
    depths: ClassVar[tuple[str, ...]] = ("auto", "easy", "medium", "hard")


@dataclass(frozen=True)
class Reply:
    """An answer and the hits it was made from, or the message of an error."""

    answer: Answer | None
    hits: Sequence["Hit"] = ()
    error: str = ""


_STOPPED = Reply(None, error="Stopped before the answer was complete.")


class Writing:
    """The text of an answer while a worker writes it; pages read it, and may stop it."""

    def __init__(self) -> None:
        self.text = ""
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ask the worker to stop."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether it was asked to."""
        return self._stopped.is_set()


@dataclass
class Exchange:
    """A question, its answer's text while that is written, and its reply once there is one."""

    question: str
    job: "Future[Reply]"
    writing: Writing = field(default_factory=Writing)

    @property
    def finished(self) -> bool:
        """Whether `reply` has no need to wait."""
        return self.writing.stopped or self.job.done()

    @property
    def reply(self) -> Reply:
        """Waits for the reply, unless it was stopped: the worker may notice that only at its next word."""
        return _STOPPED if self.writing.stopped else self.job.result()


@dataclass
class Conversation:
    """The exchanges of one browser tab, oldest first."""

    exchanges: list[Exchange] = field(default_factory=list)

    def add(self, exchange: Exchange) -> None:
        """Append, and forget the oldest beyond `MAX_EXCHANGES`."""
        self.exchanges.append(exchange)
        del self.exchanges[:-MAX_EXCHANGES]


class Service:
    """One open collection for all users of the app.

    Questions run in worker threads: when a page is drawn anew in the middle of one, the work goes on
    and the new page waits for the same job. `generators` are what visitors can choose from, by name;
    the first is the one to begin with.
    """

    def __init__(
        self, collection: "Collection", name: str, generators: Mapping[str, Generator] | None = None
    ) -> None:
        self.collection = collection
        self.name = name
        self.generators = dict(generators or {"extractive": ExtractiveGenerator()})
        self._workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="answer")
        self._places = threading.BoundedSemaphore(MAX_WAITING)

    def ask(self, question: str, settings: Settings) -> Exchange:
        """Start answering."""
        if not self._places.acquire(blocking=False):
            busy: Future[Reply] = Future()
            busy.set_result(
                Reply(None, error="Too many questions are waiting. Please ask again in a moment.")
            )
            return Exchange(question, busy)
        writing = Writing()
        job = self._workers.submit(self._answer, question, settings, writing)
        job.add_done_callback(lambda _: self._places.release())
        return Exchange(question, job, writing)

    def _answer(self, question: str, settings: Settings, writing: Writing) -> Reply:
        options = AnswerOptions(k=settings.k, mode=settings.mode, depth=settings.depth)
        try:
            bot = SupportBot(self.collection, generator=self.generators[settings.generator], options=options)
            stream = bot.stream(question)
            for piece in stream:
                writing.text += piece
                if writing.stopped:
                    stream.close()
                    return _STOPPED
            answer = stream.answer
            hits = bot.search(question, settings.k).hits
        except Error as error:
            return Reply(None, error=str(error))
        return Reply(answer, hits)

    def facts(self) -> dict[str, str]:
        """What the sidebar says about the collection."""
        encoder = self.collection.encoder
        return {
            "Documents": f"{self.collection.document_count:,}",
            "Passages": f"{self.collection.chunk_count:,}",
            "Dimensions": f"{encoder.dimension}",
            "Precision": encoder.precision,
        }

    def examples(self) -> list[str]:
        """Questions to begin with."""
        return example_questions([(d.id, d.title) for d in self.collection.documents()])

    def document_text(self, document: str) -> str:
        """Text of a document as stored; empty when it has been removed since."""
        found = self.collection.document(document)
        return found.text if found else ""


def open_service(
    path: Path, generator: str = "extractive", options: Mapping[str, Any] | None = None
) -> Service:
    """Open a collection for the app, with the generator of that name beside the extractive one."""
    import taesr

    generators = {"extractive": create_generator("extractive")}
    if generator not in generators:
        made = create_generator(generator, GeneratorOptions(**(options or {})))
        generators = {generator: made} | generators
    return Service(taesr.Collection.open(path, create=False, read_only=True), path.name, generators)


def example_questions(documents: Sequence[tuple[str, str]]) -> list[str]:
    """Up to `EXAMPLES` of the bundled questions that the documents answer, else of the documents' titles.

    Titles that ask something come first, then short ones, spread over the collection.
    """
    from taesr.samples import QUESTIONS

    ids = {name for name, _ in documents}
    bundled = [question for question, document in QUESTIONS if document in ids]
    if bundled:
        return bundled[:EXAMPLES]
    titles = list(dict.fromkeys(title.strip() for _, title in documents if 12 <= len(title.strip()) <= 70))
    asking = [title for title in titles if title.endswith("?") or title.lower().startswith(_ASKING)]
    chosen = _spread(asking, EXAMPLES)
    return chosen + _spread([title for title in titles if title not in asking], EXAMPLES - len(chosen))


def _spread(titles: list[str], count: int) -> list[str]:
    """At most `count` of the titles, at even distances."""
    return titles[:: max(1, len(titles) // count)][:count] if count else []


def password_needed() -> bool:
    """Whether visitors must give the password first."""
    return bool(os.environ.get(PASSWORD_VARIABLE))


def password_matches(given: str) -> bool:
    """Compare in constant time, slowly when wrong."""
    wanted = os.environ.get(PASSWORD_VARIABLE, "")
    matches = bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())
    if not matches:
        time.sleep(1)
    return matches
