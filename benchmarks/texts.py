"""Texts to measure with: drawn from the package's own knowledge base, or from a file."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from taesr.samples import KNOWLEDGE_BASE

PASSAGE_TOKENS = 180
_SPREAD = 30  # passages have PASSAGE_TOKENS give or take this many


def read_words(path: Path | None = None) -> list[str]:
    """Return the words of a text file; without one, of the bundled articles without their markup."""
    if path is not None:
        return path.read_text(encoding="utf-8").split()
    articles = sorted(KNOWLEDGE_BASE.rglob("*.md"))
    text = "\n".join(article.read_text(encoding="utf-8") for article in articles)
    return re.sub(r"```.*?```|^---.*?^---|[#`*|>]", " ", text, flags=re.DOTALL | re.MULTILINE).split()


def passages(words: list[str], count: int, count_tokens: Callable[[str], int], *, seed: int = 0) -> list[str]:
    """Return runs of words of 150 to 210 tokens, evenly spread, from anywhere in `words`."""
    draw = random.Random(seed)
    return [
        _cut(words, draw, draw.randint(PASSAGE_TOKENS - _SPREAD, PASSAGE_TOKENS + _SPREAD), count_tokens)
        for _ in range(count)
    ]


def queries(words: list[str], count: int, *, seed: int = 1) -> list[str]:
    """Return runs of eight words."""
    draw = random.Random(seed)
    return [" ".join(_run(words, draw, 8)) for _ in range(count)]


def mixed(words: list[str], count: int, *, seed: int = 2) -> list[str]:
    """Return runs of 3 to 150 words, short ones as frequent as long ones."""
    return list(stream(words, count, seed=seed))


def stream(words: list[str], count: int, *, seed: int = 3) -> Iterator[str]:
    """Yield what `mixed` returns, one at a time."""
    draw = random.Random(seed)
    for _ in range(count):
        yield " ".join(_run(words, draw, round(3 * 50 ** draw.random())))


def _run(words: list[str], draw: random.Random, length: int) -> list[str]:
    start = draw.randrange(max(1, len(words) - length))
    return words[start : start + length]


def _cut(words: list[str], draw: random.Random, tokens: int, count_tokens: Callable[[str], int]) -> str:
    run = _run(words, draw, tokens)  # a word is one token or more
    while len(run) > 1 and (found := count_tokens(" ".join(run))) > tokens:
        run = run[: max(1, min(len(run) - 1, len(run) * tokens // found))]
    return " ".join(run)
