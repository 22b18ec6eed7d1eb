"""What an answer is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from taesr.errors import InvalidArgument

if TYPE_CHECKING:
    from taesr.retrieval import FusionWeights

Mode = Literal["hybrid", "dense", "keyword"]
StatementKind = Literal["sentence", "step", "item", "code"]


@dataclass(frozen=True)
class Statement:
    """One sentence, list entry or code block of an answer, and the sources that it rests on.

    Attributes
    ----------
    text
        Plain text.
    sources
        From a generator: indexes of the passages it was given. In an `Answer`: citation numbers.
    kind, label
        What it is, and for a step its number as the document has it (`2.`).
    span
        Characters of the first source's text that it quotes, or that it rests on where a language model
        wrote it; None when there are none.
    block
        Statements of one paragraph or list share it.
    """

    text: str
    sources: tuple[int, ...]
    kind: StatementKind = "sentence"
    label: str = ""
    span: tuple[int, int] | None = None
    block: int = 0


@dataclass(frozen=True)
class Citation:
    """A numbered source of an answer.

    Attributes
    ----------
    number
        The n of `[n]` in the answer, from 1.
    document, section, title, source
        Id of the document, path of the section in it, title, and where a person can open it.
    text
        The passage as it stands in the document.
    score
        How well the best sentence of the passage matches the question, 0 to 1.
    highlights
        Character ranges `[begin, end)` of `text` that the answer uses.
    """

    number: int
    document: str
    section: str
    text: str
    score: float
    source: str
    title: str
    highlights: tuple[tuple[int, int], ...] = ()

    @property
    def quote(self) -> str:
        """The parts of `text` that the answer uses, joined by ` ... ` where something is left out."""
        return " ... ".join(" ".join(self.text[begin:end].split()) for begin, end in self.highlights)


@dataclass(frozen=True)
class Answer:
    """An answer with its sources, or a statement that the bot is not sure.

    Attributes
    ----------
    answer
        Plain text with `[n]` after each statement, n being the number of a citation.
    confident
        False when the answer says "I'm not sure"; the citations are then the closest sources.
    confidence
        Estimated probability, 0 to 1, that the answer is in the retrieved text.
    timings
        Milliseconds: `encode`, `retrieve` (of the search), `read` (scoring sentences),
        `generate` and `total`.
    depth
        Recursions used for the question.
    statements
        The answer in parts, for display.
    notes
        Sentences on what was left out on the way to the answer, such as passages that a language model
        had no room for.
    """

    answer: str
    confident: bool
    citations: tuple[Citation, ...]
    timings: Mapping[str, float]
    depth: int
    confidence: float
    statements: tuple[Statement, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Values for one JSON document, as `taesr ask --json` prints it."""
        return {
            "answer": self.answer,
            "confident": self.confident,
            "confidence": round(self.confidence, 4),
            "citations": [
                {
                    "number": c.number,
                    "document": c.document,
                    "section": c.section,
                    "text": c.text,
                    "score": round(c.score, 4),
                    "title": c.title,
                    "source": c.source,
                    "quote": c.quote,
                }
                for c in self.citations
            ],
            "depth": self.depth,
            "notes": list(self.notes),
            "timings": {name: round(value, 3) for name, value in self.timings.items()},
        }


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How questions are answered.

    Attributes
    ----------
    k
        Passages that are read for an answer, 1 to 20.
    mode
        Search mode: `hybrid`, `dense` or `keyword`.
    depth
        Depth of the question's embedding: `easy`, `medium`, `hard`, `auto` or a number of recursions.
    dim
        Matryoshka dimension of the dense search; None for all.
    filter
        Only documents whose metadata has these keys with these values.
    weights
        Of the heads in a hybrid search, as `Collection.search` takes them. None for those that come with
        the model (`taesr.retrieval.weights_of_model`) where the collection has their heads, else for
        reciprocal rank fusion.
    min_confidence
        Below this probability the answer is "I'm not sure", 0 to 1.
    max_statements
        Most statements that an answer begins with, 1 to 10; a list that belongs to one of them is
        kept whole beyond that.
    max_sources
        Most sources listed when the bot is not sure, 0 to 10.
    """

    k: int = 6
    mode: Mode = "hybrid"
    depth: str | int = "auto"
    dim: int | None = None
    filter: Mapping[str, str] | None = field(default=None, hash=False)
    weights: "Mapping[str, float] | FusionWeights | str | Path | None" = field(default=None, hash=False)
    min_confidence: float = 0.4
    max_statements: int = 3
    max_sources: int = 3

    def __post_init__(self) -> None:
        for name, low, high in (
            ("k", 1, 20),
            ("min_confidence", 0, 1),
            ("max_statements", 1, 10),
            ("max_sources", 0, 10),
        ):
            value = getattr(self, name)
            # Written so that NaN fails too.
            if not low <= value <= high:
                raise InvalidArgument(f"{name} is {value}; allowed: {low} to {high}")
