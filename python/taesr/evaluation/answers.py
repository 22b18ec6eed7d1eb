"""How good are a generator's answers? F1 and exact match where the paragraph answers, refusals everywhere."""

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from taesr.answer.generator import Generator, StreamingGenerator
from taesr.answer.language_model import ModelGenerator, collect
from taesr.answer.passages import Passage
from taesr.answer.prompt import build_messages
from taesr.answer.types import Statement
from taesr.errors import InvalidArgument
from taesr.evaluation.near import NearParagraphs
from taesr.evaluation.refusals import GroundedPrompt
from taesr.evaluation.squad import Paragraph, Question, exact_match, f1, normalise

_MARKS = re.compile(r"\s*\[[\d,; ]+\]")


@dataclass(frozen=True)
class AnswerQuality:
    """Figures from 0 to 1.

    Attributes
    ----------
    answerable, unanswerable
        Questions asked.
    f1, exact_match
        Of the answers to answerable questions, as SQuAD's script computes them; a refusal counts 0.
    text_f1
        The same of the model's text as written, without source numbers and without the checks that
        make a refusal of it; `f1` for a generator that writes no text of its own.
    right_source
        Share of the answers to answerable questions that name the question's own paragraph, of several
        sources the only one that holds the answer.
    refused_answerable, refused_unanswerable
        Shares of questions that got no answer.
    seconds
        Mean time of a question.
    """

    answerable: int
    unanswerable: int
    f1: float
    exact_match: float
    text_f1: float
    right_source: float
    refused_answerable: float
    refused_unanswerable: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Trial:
    """A question that was asked: the answer without source numbers, empty for a refusal, and the raw text.

    `right_source` says whether the answer names the question's own paragraph.
    """

    question: str
    gold: tuple[str, ...]
    answer: str
    text: str
    right_source: bool


def evaluate_answers(
    generator: Generator,
    paragraphs: Sequence[Paragraph],
    *,
    answerable: int | None = None,
    unanswerable: int | None = None,
    sources: int = 1,
    seed: int = 0,
    progress: Callable[[str, int, int | None], None] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> AnswerQuality:
    """Ask `generator` questions with their own paragraph as a source.

    Parameters
    ----------
    answerable, unanswerable
        How many of each kind, drawn with `seed`; None for all.
    sources
        How many paragraphs each question comes with, in random order: its own and the nearest ones that
        do not hold the answer.
    progress
        Called with a label, questions done and their number.
    on_trial
        Called with every question and its answer.
    """
    chosen = draw_questions(paragraphs, answerable, unanswerable, seed=seed)
    trials: list[Trial] = []
    begin = time.perf_counter()
    for n, (paragraph, question, given) in enumerate(_with_sources(chosen, paragraphs, sources, seed)):
        statements, text = ask(generator, question.text, [_unscored(p) for p in given])
        answer = " ".join(statement.text for statement in statements)
        named = {i for statement in statements for i in statement.sources}
        trials.append(Trial(question.text, question.answers, answer, text, given.index(paragraph) in named))
        if on_trial:
            on_trial(trials[-1])
        if progress:
            progress("questions", n + 1, len(chosen))
    return _quality(trials, (time.perf_counter() - begin) / len(trials))


def draw_prompts(
    generator: ModelGenerator,
    paragraphs: Sequence[Paragraph],
    *,
    answerable: int | None = None,
    unanswerable: int | None = None,
    sources: int = 1,
    seed: int = 0,
) -> Iterator[GroundedPrompt]:
    """What `evaluate_answers` would ask the generator's model."""
    chosen = draw_questions(paragraphs, answerable, unanswerable, seed=seed)
    for _, question, given in _with_sources(chosen, paragraphs, sources, seed):
        fitting = generator.fit(question.text, [_unscored(p) for p in given])
        yield GroundedPrompt(build_messages(question.text, fitting), bool(question.answers))


def _with_sources(
    chosen: Sequence[tuple[Paragraph, Question]], paragraphs: Sequence[Paragraph], sources: int, seed: int
) -> Iterator[tuple[Paragraph, Question, list[Paragraph]]]:
    """Questions, each with its own paragraph and the `sources` that it comes with."""
    if not chosen:
        raise InvalidArgument("there are no questions to ask; give a file in SQuAD's manner")
    beside = _Beside(paragraphs if sources > 1 else [])
    draw = random.Random(seed)
    for paragraph, question in chosen:
        given = [paragraph, *beside.find(paragraph, question, sources - 1)]
        draw.shuffle(given)
        yield paragraph, question, given


class _Beside:
    """Finds the paragraphs that a question comes with beside its own."""

    def __init__(self, paragraphs: Sequence[Paragraph]) -> None:
        self._paragraphs = paragraphs
        self._near = NearParagraphs([paragraph.text for paragraph in paragraphs])

    def find(self, own: Paragraph, question: Question, count: int) -> list[Paragraph]:
        """The `count` nearest others, of the same article first, without those that hold an answer."""
        if count < 1:
            return []
        places = self._near.find(
            question.text, 8 + count, title_of=lambda n: self._paragraphs[n].title, prefer=own.title
        )
        found = [self._paragraphs[n] for n in places]
        answers = [f" {normalise(answer)} " for answer in question.answers]
        words = ((paragraph, f" {normalise(paragraph.text)} ") for paragraph in found if paragraph != own)
        return [p for p, text in words if not any(answer in text for answer in answers)][:count]


def draw_questions(
    paragraphs: Sequence[Paragraph], answerable: int | None, unanswerable: int | None, *, seed: int
) -> list[tuple[Paragraph, Question]]:
    """So many questions of each kind in random order; fewer where there are fewer."""
    draw = random.Random(seed)
    chosen = []
    for wanted, has_answer in ((answerable, True), (unanswerable, False)):
        places = [(p, q) for p in paragraphs for q in p.questions if bool(q.answers) == has_answer]
        chosen += places if wanted is None else draw.sample(places, min(wanted, len(places)))
    draw.shuffle(chosen)
    return chosen


def ask(generator: Generator, question: str, passages: Sequence[Passage]) -> tuple[Sequence[Statement], str]:
    """The statements of the answer, none for a refusal, and the text as the generator wrote it."""
    if not isinstance(generator, StreamingGenerator):
        statements = generator.generate(question, passages, max_statements=1)
        return statements, " ".join(statement.text for statement in statements)
    draft, text = collect(generator.stream(question, passages, max_statements=3))
    return draft.statements, text


def _unscored(paragraph: Paragraph) -> Passage:
    passage = paragraph.passage()
    # Extraction chooses by scores, which come from retrieval; without it all sentences are alike.
    return passage.scored([1.0] * len(passage.units))


def _quality(trials: Sequence[Trial], seconds: float) -> AnswerQuality:
    right = [trial for trial in trials if trial.gold]
    wrong = [trial for trial in trials if not trial.gold]
    return AnswerQuality(
        len(right),
        len(wrong),
        _mean([f1(trial.answer, trial.gold) for trial in right]),
        _mean([exact_match(trial.answer, trial.gold) for trial in right]),
        _mean([f1(_MARKS.sub("", trial.text), trial.gold) for trial in right]),
        _mean([float(trial.right_source) for trial in right if trial.answer]),
        _mean([float(not trial.answer) for trial in right]),
        _mean([float(not trial.answer) for trial in wrong]),
        seconds,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
