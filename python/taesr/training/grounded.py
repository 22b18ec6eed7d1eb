"""Training data for grounded answers: questions with numbered sources, and what to say to them.

Questions and paragraphs are SQuAD's (Rajpurkar et al. 2016); sources beside the right one are retrieved.
Unanswerable questions are of three kinds: with near paragraphs of the same article, with those of other
articles, and altered so that their own paragraph no longer answers them (as the rule-based ones of
Rajpurkar et al. 2018, section 4.1).
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from taesr.answer.passages import Passage
from taesr.answer.prompt import REFUSAL, Message, build_messages, quoted
from taesr.errors import InvalidArgument
from taesr.evaluation.near import NearParagraphs
from taesr.evaluation.squad import Paragraph, normalise
from taesr.training.alter import Alterations

CountTokens = Callable[[Sequence[Message]], int]
_NEAR, _CANDIDATES = 6, 24  # of a kind that sources are drawn from; of those that retrieval looks at


@dataclass(frozen=True, kw_only=True)
class GroundedOptions:
    """What the examples are like.

    Attributes
    ----------
    unanswerable
        Share of examples that are to be refused, 0 to 1.
    altered, elsewhere
        Of these, the shares of altered questions and of sources from other articles; the rest, and the
        questions that cannot be altered, has near paragraphs of the same article.
    alone
        Share of examples with one source; the others have 2 to `max_sources`.
    max_tokens
        Longest prompt; sources that do not fit are left out, and a question whose own paragraph does
        not fit.
    seed
        Equal seeds make equal examples.
    """

    unanswerable: float = 0.3
    altered: float = 0.75
    elsewhere: float = 0.1
    alone: float = 0.4
    max_sources: int = 4
    max_tokens: int = 980
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("unanswerable", "altered", "elsewhere", "alone"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; allowed: 0 to 1")
        if self.altered + self.elsewhere > 1:
            raise InvalidArgument(f"altered + elsewhere is {self.altered + self.elsewhere}; allowed: up to 1")
        if not 1 <= self.max_sources <= 9:
            raise InvalidArgument(f"max_sources is {self.max_sources}; allowed: 1 to 9")


@dataclass(frozen=True)
class Example:
    """A conversation to learn from; `kind` is answerable, altered, near or elsewhere."""

    messages: list[Message]
    kind: str


class GroundedExamples:
    """Makes examples of the questions of `paragraphs`.

    Parameters
    ----------
    paragraphs
        As `taesr.evaluation.squad.read_squad` returns them.
    count_tokens
        Tokens of messages as the model to be trained counts them.
    """

    def __init__(
        self,
        paragraphs: Sequence[Paragraph],
        count_tokens: CountTokens,
        options: GroundedOptions | None = None,
    ) -> None:
        self._paragraphs = paragraphs
        self._passages = [paragraph.passage() for paragraph in paragraphs]
        self._words = [f" {normalise(quoted(passage))} " for passage in self._passages]
        self._near = NearParagraphs([paragraph.text for paragraph in paragraphs])
        self._alterations = Alterations([(p.title, p.text) for p in paragraphs])
        self._count = count_tokens
        self.options = options or GroundedOptions()

    def make(self) -> Iterator[Example | None]:
        """One example a question, in random order; None for a question that none can be made of."""
        draw = random.Random(self.options.seed)
        places = [(i, j) for i, p in enumerate(self._paragraphs) for j in range(len(p.questions))]
        draw.shuffle(places)
        for i, j in places:
            yield self._example(i, j, draw)

    def _example(self, own: int, j: int, draw: random.Random) -> Example | None:
        question = self._paragraphs[own].questions[j]
        answer = question.answers[0] if question.answers else ""
        if not normalise(answer) or len(question.text) < 10 or not self._holds(own, answer):
            return None
        kind = self._kind(draw)
        text = question.text
        if kind == "altered":
            changed = self._alterations.alter(text, own, draw)
            if changed is None:
                kind = "near"
            else:
                text = changed
        wanted = (
            1 if draw.random() < self.options.alone else draw.randint(2, max(2, self.options.max_sources))
        )
        added = set(normalise(text).split()) - set(normalise(question.text).split())
        sources = self._sources(text, own, answer, kind, wanted, draw, added)
        if not sources:
            return None
        while self._count(messages := self._ask(text, sources)) > self.options.max_tokens:
            spare = [n for n in sources if n != own or kind not in ("answerable", "altered")]
            if not spare or len(sources) == 1:
                return None
            sources.remove(spare[-1])
        reply = f"{answer} [{sources.index(own) + 1}]" if kind == "answerable" else REFUSAL
        return Example([*messages, {"role": "assistant", "content": reply}], kind)

    def _kind(self, draw: random.Random) -> str:
        if draw.random() >= self.options.unanswerable:
            return "answerable"
        where = draw.random()
        if where < self.options.altered:
            return "altered"
        return "elsewhere" if where < self.options.altered + self.options.elsewhere else "near"

    def _sources(
        self,
        question: str,
        own: int,
        answer: str,
        kind: str,
        wanted: int,
        draw: random.Random,
        added: set[str],
    ) -> list[int]:
        """Paragraphs in random order; of all but an answerable question's own, none holds the answer.

        Nor do those beside an altered question's own hold what was `added`: they might answer it.
        """
        title = self._paragraphs[own].title
        near = self._near.find(question, _CANDIDATES, title_of=self._title, prefer=title)
        found = [n for n in near if n != own and not self._holds(n, answer)]
        if added:
            found = [n for n in found if not added <= set(self._words[n].split())]
        same = [n for n in found if self._title(n) == title][:_NEAR]
        other = [n for n in found if self._title(n) != title][:_NEAR]
        if kind == "elsewhere":
            return draw.sample(other, min(wanted, len(other)))
        keep = [own] if kind in ("answerable", "altered") else []
        if kind == "near" and same:
            keep = [same.pop(draw.randrange(min(3, len(same))))]
        pool = same + other[:2] if keep else other
        sources = keep + draw.sample(pool, min(wanted - len(keep), len(pool)))
        draw.shuffle(sources)
        return sources

    def _title(self, n: int) -> str:
        return self._paragraphs[n].title

    def _holds(self, n: int, answer: str) -> bool:
        return f" {normalise(answer)} " in self._words[n]

    def _ask(self, question: str, sources: Sequence[int]) -> list[Message]:
        passages: list[Passage] = [self._passages[n] for n in sources]
        return build_messages(question, passages)
