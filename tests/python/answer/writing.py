"""What the tests of language models share: passages, and a model that writes what a test tells it to."""

from collections.abc import Iterator, Sequence

from taesr.answer import Passage
from taesr.answer.prompt import Message
from taesr.answer.units import split_units


def passage(text: str, title: str = "Router", section: str = "") -> Passage:
    """A passage with its units, none of them scored."""
    return Passage(f"{title}.md", section, title, "", text, 1.0, tuple(split_units(text, section)))


class Told:
    """A language model that writes `text` word by word and remembers what it was asked."""

    def __init__(self, text: str, context_tokens: int = 4096) -> None:
        self._words = text.split(" ")
        self._context_tokens = context_tokens
        self.asked: list[list[Message]] = []
        self.written = 0
        self.closed = False

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message["content"].split()) for message in messages)

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        self.asked.append(list(messages))
        try:
            for word in self._words[:max_tokens]:
                self.written += 1
                yield f"{word} "
        finally:
            self.closed = True
