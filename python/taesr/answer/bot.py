"""The support bot: a question in, an answer with sources or "I'm not sure" out."""

import time
from collections.abc import Generator as Coroutine
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from taesr.answer.compose import citation, cite, not_sure, render
from taesr.answer.confidence import ConfidenceModel, default_model, features
from taesr.answer.draft import Draft
from taesr.answer.evidence import Evidence, read
from taesr.answer.generator import Generator, StreamingGenerator, create_generator
from taesr.answer.language_model import Drafting
from taesr.answer.types import Answer, AnswerOptions
from taesr.errors import Error, InvalidArgument
from taesr.retrieval import weights_of_model

if TYPE_CHECKING:
    from taesr.collection import Collection, SearchResult

MAX_QUESTION = 8000  # characters
POOL = 24  # hits retrieved for one question; beside those read, they show which words are rare


_NOTHING_CLEAR = "Nothing that was found clearly answers this question."

Answering = Coroutine[str, None, Answer]


class AnswerStream:
    """An answer on its way: iterate for the pieces of text as a language model writes them.

    They are a draft. `answer` is what the checks leave of it, or that the bot is not sure.
    """

    def __init__(self, work: Answering) -> None:
        self._work = work
        self._answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return next(self._work)
        except StopIteration as end:
            self._answer = end.value if self._answer is None else self._answer
            raise

    @property
    def answer(self) -> Answer:
        """The answer; waits for it. Raises Error after `close`."""
        for _ in self:
            pass
        if self._answer is None:
            raise Error("the answer was cancelled before it was complete; ask again")
        return self._answer

    def close(self) -> None:
        """End the work."""
        self._work.close()


class SupportBot:
    """Answers questions from a collection.

    Parameters
    ----------
    collection
        An open `taesr.Collection`.
    generator
        What writes the answer, of `create_generator` or your own; None for extraction in the documents'
        own words.
    options
        See `AnswerOptions`.
    confidence
        Decides when the bot is not sure; None for the model that comes with the package.

    Examples
    --------
    >>> with taesr.Collection.open("kb") as kb:                            # doctest: +SKIP
    ...     print(taesr.SupportBot(kb).ask("How do I reset it?").answer)
    """

    def __init__(
        self,
        collection: "Collection",
        *,
        generator: Generator | None = None,
        options: AnswerOptions | None = None,
        confidence: ConfidenceModel | None = None,
    ) -> None:
        self.collection = collection
        self.generator = generator or create_generator("extractive")
        self.options = options or AnswerOptions()
        self.confidence = confidence or default_model()
        self._of_model = weights_of_model(collection.encoder)

    def ask(self, question: str) -> Answer:
        """Answers `question`, or says that it is not sure and names the closest sources.

        Raises
        ------
        InvalidArgument
            The question is empty, too long or not valid Unicode.
        """
        return self.stream(question).answer

    def stream(self, question: str) -> AnswerStream:
        """The same with the text while it is written; the work begins with the first piece asked for.

        Raises InvalidArgument at once, and what the generator raises on the way.
        """
        return AnswerStream(self._run(_checked(question)))

    def search(self, question: str, k: int) -> "SearchResult":
        """The search that an answer begins with."""
        options = self.options
        return self.collection.search(
            question,
            k=k,
            mode=options.mode,
            depth=options.depth,
            dim=options.dim,
            filter=dict(options.filter) if options.filter else None,
            **self._weights(),
        )

    def _weights(self) -> dict[str, Any]:
        """What is said of weights: nothing where one head searches, as in the databases of others."""
        if self.options.weights is not None:
            return {"weights": self.options.weights}
        if self._of_model is None or self.options.mode != "hybrid":
            return {}
        heads = set(self.collection.heads)  # asked each time: heads may be added
        return {"weights": self._of_model} if heads == set(self._of_model.weights) else {}

    def _run(self, question: str) -> Answering:
        begin = time.perf_counter()
        options = self.options
        result = self.search(question, max(POOL, options.k))
        searched = time.perf_counter()
        evidence = read(question, result.hits, self.collection.encoder, k=options.k)
        was_read = time.perf_counter()
        answer = yield from self._answer(question, result, evidence)
        end = time.perf_counter()
        timings = {
            "encode": result.timings["encode"],
            "retrieve": result.timings["retrieve"],
            "read": 1000 * (was_read - searched),
            "generate": 1000 * (end - was_read),
            "total": 1000 * (end - begin),
        }
        return replace(answer, timings=timings)

    def _answer(self, question: str, result: "SearchResult", evidence: Evidence) -> Answering:
        if not result.hits:
            return _unsure("Nothing in the collection matches this question.", result, evidence, 0.0, 0)
        if not evidence.weights:
            return _unsure("This question has no word to search for.", result, evidence, 0.0, 0)
        probability = self.confidence.probability(features(result.hits, evidence))
        if probability < self.options.min_confidence:  # nothing is generated then
            return _unsure(_NOTHING_CLEAR, result, evidence, probability, self.options.max_sources)
        draft = yield from self._draft(question, evidence)
        statements, citations = cite(draft.statements, evidence.passages)
        if not statements:
            reason = draft.reason or _NOTHING_CLEAR
            unsure = _unsure(reason, result, evidence, probability, self.options.max_sources)
            return replace(unsure, notes=draft.notes)
        return Answer(
            render(statements),
            True,
            tuple(citations),
            {},
            result.depth,
            probability,
            tuple(statements),
            draft.notes,
        )

    def _draft(self, question: str, evidence: Evidence) -> Drafting:
        limit = self.options.max_statements
        if isinstance(self.generator, StreamingGenerator):
            return (yield from self.generator.stream(question, evidence.passages, max_statements=limit))
        made = self.generator.generate(question, evidence.passages, max_statements=limit)
        return Draft(tuple(made))


def _unsure(
    reason: str, result: "SearchResult", evidence: Evidence, probability: float, sources: int
) -> Answer:
    closest = tuple(
        citation(n, passage, passage.best_spans) for n, passage in enumerate(evidence.passages[:sources], 1)
    )
    return Answer(not_sure(reason, closest), False, closest, {}, result.depth, probability)


def _checked(question: str) -> str:
    if not isinstance(question, str):
        raise InvalidArgument(f"question is a {type(question).__name__}; give a string")
    question = question.strip()
    if not question:
        raise InvalidArgument("question is empty; write what you want to know")
    if len(question) > MAX_QUESTION:
        raise InvalidArgument(f"question has {len(question):,} characters; allowed: 1 to {MAX_QUESTION:,}")
    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"question has an invalid character at position {error.start}; remove it"
        ) from error
    return question
