"""What a language model must be able to do to answer from passages, and the generator made of one."""

from collections.abc import Generator as Coroutine
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from taesr.answer.draft import Draft, check, goes_in_circles
from taesr.answer.passages import Passage
from taesr.answer.prompt import Message, build_messages
from taesr.answer.types import Statement
from taesr.errors import InvalidArgument

_LOOKED_AT = 2000  # characters at the end of a text that may go in circles

Drafting = Coroutine[str, None, Draft]  # yields pieces of text, returns the checked draft


class LanguageModel(Protocol):
    """Continues a conversation.

    Attributes
    ----------
    context_tokens
        Most tokens of prompt and answer together.
    """

    @property
    def context_tokens(self) -> int: ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of a prompt, or an estimate that is not below."""
        ...

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        """Pieces of the answer as they are made; closing the iterator ends the work."""
        ...


class ModelGenerator:
    """Answers in a language model's words, checked against the passages: see `taesr.answer.draft`.

    Parameters
    ----------
    model
        Writes the text.
    max_tokens
        Longest text.
    """

    def __init__(self, model: LanguageModel, *, max_tokens: int = 256) -> None:
        if not 1 <= max_tokens < model.context_tokens:
            raise InvalidArgument(f"max_tokens is {max_tokens}; allowed: 1 to {model.context_tokens - 1}")
        self.model = model
        self.max_tokens = max_tokens

    def generate(self, question: str, passages: Sequence[Passage], *, max_statements: int) -> list[Statement]:
        """All of `stream` at once, without the reason of an empty answer."""
        draft, _ = collect(self.stream(question, passages, max_statements=max_statements))
        return list(draft.statements)

    def stream(self, question: str, passages: Sequence[Passage], *, max_statements: int) -> Drafting:
        """Pieces of the text as the model writes it, and the draft that the checks leave of it."""
        if not passages:
            return Draft((), "There are no sources.")
        given = self.fit(question, passages)
        text = ""
        pieces = self.model.stream(build_messages(question, given), max_tokens=self.max_tokens)
        try:
            for piece in pieces:
                text += piece
                yield piece
                if goes_in_circles(text[-_LOOKED_AT:]):
                    break
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        draft = check(text, question, given)
        kept = _first(draft.statements, max_statements)
        notes = list(draft.notes)
        if len(kept) < len(draft.statements):
            notes.append(f"Cut after {max_statements} statement{'s' * (max_statements > 1)}.")
        return replace(draft, statements=kept, notes=(*notes, *self._left_out(given, passages)))

    def _left_out(self, given: Sequence[Passage], passages: Sequence[Passage]) -> list[str]:
        """What a reader should know of the passages that the model was not given."""
        because = f"the model reads {self.model.context_tokens:,} tokens at once."
        notes = []
        if len(given) < len(passages):
            notes.append(f"{len(passages) - len(given)} of {len(passages)} passages left out: {because}")
        if given[0].units != passages[0].units:
            notes.append(f"The best passage was cut: {because}")
        return notes

    def fit(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        """The first passages, which are the most relevant, that fit the context beside the answer.

        A first one that does not fit is cut to the units at its beginning that do.
        """
        room = self.model.context_tokens - self.max_tokens
        given = list(passages)
        while len(given) > 1 and self.model.count_tokens(build_messages(question, given)) > room:
            given.pop()
        while (needed := self.model.count_tokens(build_messages(question, given))) > room:
            units = given[0].units
            if len(units) <= 1:
                raise InvalidArgument(
                    f"the question and one source take {needed:,} tokens of the {room:,} that the model has "
                    "for them; ask a shorter question, or choose a model with a longer context"
                )
            given[0] = replace(given[0], units=units[: len(units) // 2])
        return given


def collect(drafting: Drafting) -> tuple[Draft, str]:
    """A drafting's draft, and the text that it comes from."""
    pieces: list[str] = []
    while True:
        try:
            pieces.append(next(drafting))
        except StopIteration as end:
            draft: Draft = end.value
            return draft, "".join(pieces)


def _first(statements: Sequence[Statement], limit: int) -> tuple[Statement, ...]:
    """The statements of the first `limit` sentences and lists; a list counts as one."""
    seen: set[tuple[int, int]] = set()
    kept = []
    for n, statement in enumerate(statements):
        seen.add((statement.block, n if statement.kind == "sentence" else -1))
        if len(seen) > limit:
            break
        kept.append(statement)
    return tuple(kept)
