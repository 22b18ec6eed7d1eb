"""HTML of answers and sources.

Everything that comes from a question, a document or an answer passes through `escape`, so that it is
shown as text whatever it contains; nothing is handed to a Markdown renderer.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from taesr.answer import Answer, Citation, Statement
from taesr.answer.plain import CODE_SPAN

if TYPE_CHECKING:
    from taesr.collection import Hit

_TABLE_HEAD = (
    '<th>#</th><th>Passage</th><th colspan="2">Dense: rank, cosine</th>'
    '<th colspan="2">Keyword: rank, BM25</th><th>Score</th>'
)
_MARK, _END_MARK = "\ue000", "\ue001"
_HEADING_LINE = re.compile(r"#{1,6}\s+(.*)")
_TABLE_ROW = re.compile(r"\|.*\|")
_TABLE_RULE = re.compile(r"\|[\s|:-]*\|")
_SNIPPET = 160  # characters shown on either side of what the answer uses
_UNMARKED = 420  # characters shown of a passage that nothing is used of


def question_html(question: str) -> str:
    """The visitor's own words."""
    return f'<div class="question">{_lines(question)}</div>'


def answer_html(answer: Answer) -> str:
    """The answer with its source numbers, or the notice that the bot isn't sure."""
    if not answer.confident:
        return f'<div class="unsure"><span class="badge">Not sure</span><p>{_inline(answer.answer)}</p></div>'
    parts = []
    for (kind, *_), run in groupby(answer.statements, key=lambda s: (s.kind, s.block, s.sources)):
        parts.append(_run_html(kind, list(run)))
    return f'<div class="answer">{"".join(parts)}</div>'


def draft_html(text: str) -> str:
    """What a language model has written so far, before it is checked."""
    return f'<div class="draft">{_lines(text)}</div>'


def note_html(note: str) -> str:
    """What was left out on the way to an answer."""
    return f'<div class="cost">{escape(note)}</div>'


def _run_html(kind: str, run: Sequence[Statement]) -> str:
    if kind == "code":
        return "".join(f"<pre><code>{escape(s.text)}</code></pre>" for s in run)
    if kind == "sentence":
        return f"<p>{' '.join(_inline(s.text) + _numbers(s) for s in run)}</p>"
    tag = "ol" if kind == "step" else "ul"
    first = re.match(r"\d+", run[0].label)
    start = f' start="{first[0]}"' if first and tag == "ol" else ""
    return f"<{tag}{start}>{''.join(f'<li>{_inline(s.text)}{_numbers(s)}</li>' for s in run)}</{tag}>"


def _numbers(statement: Statement) -> str:
    return "".join(f'<span class="number">{number}</span>' for number in statement.sources)


def card_html(citation: Citation) -> str:
    """A source: number, document, section, how well it fits, and the passage around what was used."""
    below = citation.section.removeprefix(citation.title).removeprefix(" > ")
    section = f'<div class="section">{escape(below)}</div>' if below else ""
    percent = round(100 * citation.score)
    return (
        f'<div class="card"><div class="head"><span class="number">{citation.number}</span>'
        f'<span class="document">{escape(citation.title or citation.document)}</span>'
        f'<span class="fit" title="How well the best sentence matches the question: {percent} of 100">'
        f'<span class="bar"><span style="width:{percent}%"></span></span>{percent}</span></div>'
        f'{section}<div class="passage">{passage_html(citation.text, citation.highlights)}</div>'
        f'<div class="file">{_file_html(citation)}</div></div>'
    )


def passage_html(text: str, highlights: Sequence[tuple[int, int]], *, whole: bool = False) -> str:
    """A passage with its highlights marked, cut to their surroundings unless `whole`.

    Of the light Markdown that documents are stored in, headings and code are shown as such.
    """
    begin, end = 0, len(text)
    if not whole:
        if highlights:
            begin = _cut_start(text, highlights[0][0] - _SNIPPET, highlights[0][0])
            end = _cut_end(text, highlights[-1][1] + _SNIPPET, highlights[-1][1])
        else:
            end = _cut_end(text, _UNMARKED, 0)
    # The marks travel through the conversion as characters that have no other meaning.
    parts, position = [], begin
    for first, last in highlights:
        parts += [_unused(text[position:first]), _MARK, _unused(text[first:last]), _END_MARK]
        position = last
    shown = _light_markdown("".join([*parts, _unused(text[position:end])]).strip())
    shown = shown.replace(_MARK, "<mark>").replace(_END_MARK, "</mark>")
    return ("… " if begin > 0 else "") + shown + (" …" if end < len(text) else "")


def _unused(text: str) -> str:
    return text.replace(_MARK, "").replace(_END_MARK, "")


def _light_markdown(text: str) -> str:
    lines, fenced = [], False
    for line in text.split("\n"):
        bare = line.strip(f" {_MARK}{_END_MARK}")
        before, _, after = line.partition(bare) if bare else (line, "", "")
        shown = ""
        if bare.startswith(("```", "~~~")):
            fenced = not fenced
        elif fenced:
            shown = f"<code>{escape(bare)}</code>"
        elif heading := _HEADING_LINE.fullmatch(bare):
            shown = f"<strong>{escape(heading[1])}</strong>"
        elif _TABLE_ROW.fullmatch(bare):
            cells = [cell.strip() for cell in bare.strip("|").split("|")]
            shown = "" if _TABLE_RULE.fullmatch(bare) else _inline(" · ".join(filter(None, cells)))
        else:
            shown = _inline(bare)
        gap = "" if bare else '<span class="gap"></span>'
        lines.append(before + shown + after + ("<br>" if shown else gap))
    return "".join(lines).removesuffix("<br>")


def document_html(citation: Citation, text: str, highlights: Sequence[tuple[int, int]]) -> str:
    """A whole document with what the answer uses marked."""
    return (
        f'<div class="cost">{escape(citation.source)}</div>'
        f'<div class="document-text">{passage_html(text, highlights, whole=True)}</div>'
    )


def error_html(message: str) -> str:
    """What went wrong."""
    return f'<div class="unsure"><span class="badge">Not possible</span><p>{escape(message)}</p></div>'


def _cut_start(text: str, position: int, used: int) -> int:
    """Where to begin near `position`: at a line if one begins before `used`, else at a word."""
    if position <= 0:
        return 0
    line = text.find("\n", position, used)
    return line + 1 if line >= 0 else text.find(" ", position) + 1


def _cut_end(text: str, position: int, used: int) -> int:
    """Where to end near `position`: at a line if one ends after `used`, else at a word."""
    if position >= len(text):
        return len(text)
    line = text.rfind("\n", used, position)
    if line >= 0:
        return line
    word = text.rfind(" ", used, position)
    return word if word >= 0 else position


def _file_html(citation: Citation) -> str:
    """The document's place. Only web addresses are links: browsers open no files from a page."""
    address = urlsplit(citation.source)
    if address.scheme in ("http", "https") and address.hostname:
        target = escape(citation.source, quote=True)
        attributes = 'target="_blank" rel="noopener noreferrer nofollow"'
        return f'<a href="{target}" {attributes}>{escape(citation.source)}</a>'
    name = PurePath(citation.document).name or citation.document
    return f'<span title="{escape(citation.source, quote=True)}">{escape(name)}</span>'


def cost_html(answer: Answer) -> str:
    """One quiet line: time, confidence, depth."""
    total = answer.timings.get("total", 0.0)
    return (
        f'<div class="cost">{total:,.0f} ms · confidence {100 * answer.confidence:.0f}%'
        f"{f' · depth {answer.depth}' if answer.depth else ''}</div>"
    )


def retrieval_html(hits: Sequence["Hit"], timings: Mapping[str, float]) -> str:
    """The hits with rank and score by head, and where the time went."""
    rows = "".join(
        f"<tr><td>{rank}</td><td>{escape(hit.document)}<small>{escape(hit.section)}</small></td>"
        f"{_head_cells(hit, 'dense', 3)}{_head_cells(hit, 'keyword', 2)}<td>{hit.score:.4f}</td></tr>"
        for rank, hit in enumerate(hits, 1)
    )
    steps = " · ".join(f"{escape(name)} {value:,.1f} ms" for name, value in timings.items())
    return (
        f'<table class="retrieval"><thead><tr>{_TABLE_HEAD}</tr></thead><tbody>{rows}</tbody></table>'
        f'<div class="cost">{steps}</div>'
    )


def _head_cells(hit: "Hit", head: str, digits: int) -> str:
    if head not in hit.ranks:
        return '<td class="none">-</td><td class="none">-</td>'
    score = f"{hit.scores[head]:.{digits}f}" if head in hit.scores else "-"
    return f"<td>{hit.ranks[head]}</td><td>{score}</td>"


def facts_html(name: str, facts: Mapping[str, str]) -> str:
    """The collection's name and figures."""
    rows = "".join(
        f"<div><span>{escape(key)}</span><span>{escape(value)}</span></div>" for key, value in facts.items()
    )
    return f'<div class="facts"><div class="name">{escape(name)}</div>{rows}</div>'


def _inline(text: str) -> str:
    """Text with its code spans; all else is escaped."""
    parts, position = [], 0
    for span in CODE_SPAN.finditer(text):
        parts += [escape(text[position : span.start()]), "<code>", escape(span[1].strip("`")), "</code>"]
        position = span.end()
    return "".join([*parts, escape(text[position:])])


def _lines(text: str) -> str:
    return re.sub(r"\n\s*\n+", "<br><br>", escape(text)).replace("\n", "<br>")
