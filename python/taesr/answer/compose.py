"""Puts statements and their sources together: numbers, checks, and the answer's text."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from taesr.answer.passages import Passage
from taesr.answer.types import Citation, Statement


def cite(
    statements: Sequence[Statement], passages: Sequence[Passage]
) -> tuple[list[Statement], list[Citation]]:
    """Numbers the sources in the order in which the answer uses them.

    Sources that are not among the passages are dropped, and so is a statement that has no other.
    """
    numbers: dict[int, int] = {}
    spans: dict[int, list[tuple[int, int]]] = {}
    numbered = []
    for statement in statements:
        valid = [i for i in statement.sources if 0 <= i < len(passages)]
        if not valid or not statement.text.strip():
            continue
        for i in valid:
            numbers.setdefault(i, len(numbers) + 1)
        if statement.span:
            spans.setdefault(valid[0], []).append(statement.span)
        numbered.append(replace(statement, sources=tuple(numbers[i] for i in valid)))
    citations = [citation(number, passages[i], spans.get(i, ())) for i, number in numbers.items()]
    return numbered, citations


def citation(number: int, passage: Passage, spans: Sequence[tuple[int, int]] = ()) -> Citation:
    """Source `number`, with the spans that touch or follow each other across white space joined."""
    highlights: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        end = begin + len(passage.text[begin:end].rstrip())
        if highlights and not passage.text[highlights[-1][1] : begin].strip():
            begin = highlights.pop()[0]
        highlights.append((begin, end))
    return Citation(
        number,
        passage.document,
        passage.section_at(highlights),
        passage.text,
        passage.score,
        passage.source,
        passage.title,
        tuple(highlights),
    )


def render(statements: Sequence[Statement]) -> str:
    """Plain text: a paragraph or a line for each run of statements, `[n]` after each statement.

    Code carries no marker, so that it can be copied; the sentence that introduces it does, or a line
    after it where there is none.
    """
    parts = []
    marked: tuple[int, ...] = ()
    for (kind, _, cited), run in groupby(statements, key=lambda s: (s.kind, s.block, s.sources)):
        if kind == "sentence":
            parts.append(" ".join(f"{s.text} {marker(s.sources)}" for s in run))
        elif kind == "code":
            parts.append("\n\n".join("    " + s.text.replace("\n", "\n    ") for s in run))
            parts += [] if cited == marked else [marker(cited)]
        else:
            parts.append("\n".join(f"{s.label or '-'} {s.text} {marker(s.sources)}" for s in run))
        marked = cited
    return "\n\n".join(parts)


def marker(numbers: Sequence[int]) -> str:
    """`[1]`, or `[1][3]` for a statement that rests on two sources."""
    return "".join(f"[{number}]" for number in numbers)


def not_sure(reason: str, citations: Sequence[Citation]) -> str:
    """What the bot says when it isn't sure."""
    if not citations:
        return f"I'm not sure. {reason}"
    numbers = [f"[{c.number}]" for c in citations]
    listed = f"{', '.join(numbers[:-1])} and {numbers[-1]}" if len(numbers) > 1 else numbers[0]
    return (
        f"I'm not sure. {reason} The closest {'sources are' if len(numbers) > 1 else 'source is'} {listed}."
    )
