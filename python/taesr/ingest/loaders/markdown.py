"""Markdown: CommonMark with tables and front matter, by markdown-it-py, the parser of Jupyter and MyST."""

import re
from functools import cache
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from taesr.document import Scalar
from taesr.ingest.blocks import Block, assemble
from taesr.ingest.detect import Content
from taesr.ingest.loaders.markdown_reader import MarkdownReader
from taesr.ingest.normalize import clean, squeeze_line
from taesr.ingest.outcome import Parsed, UnreadableError

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.{0,65536}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_DEEPEST = 100  # lists and quotes, each list being two levels
_MOST_FIELDS = 64
_LONGEST_VALUE = 500  # characters


def load(content: Content, data: bytes, max_pages: int) -> Parsed:
    """Text with headings as sections; the title is the front matter's, or the first heading."""
    source = clean(content.text)
    fields, notes = {}, []
    front = _FRONT_MATTER.match(source)
    if front is not None:
        try:
            fields = _front_matter(front[1])
            source = source[front.end() :]
        except ValueError as error:
            notes.append(f"front matter read as text: {error}")
    reader = MarkdownReader()
    blocks = reader.read(_parse(source))
    text, sections = assemble(blocks)
    if reader.hidden:
        notes.append(f"hidden text left out: {reader.hidden} HTML comments and elements")
    title = str(fields.pop("title", "")) or _first_heading(blocks)
    return Parsed(text, title, sections, fields, tuple(notes))


def _parse(source: str) -> list[Token]:
    tokens = _parser().parse(source)
    # What is nested more deeply the parser leaves out without a word.
    if any(token.level >= _DEEPEST - 1 for token in tokens):
        raise UnreadableError(f"lists or quotes nested more than {_DEEPEST // 2} deep")
    return tokens


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"maxNesting": _DEEPEST}).enable(["table", "strikethrough"])


def _first_heading(blocks: list[Block]) -> str:
    headings = [block for block in blocks if block.kind == "heading"]
    top = next((block for block in headings if block.level == 1), headings[0] if headings else None)
    return squeeze_line(top.text) if top else ""


def _front_matter(source: str) -> dict[str, Scalar]:
    """Its single values, such as ``product: Outlook``; lists of single values are joined by commas."""
    try:
        fields: Any = yaml.safe_load(source)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError("not valid YAML: " + " ".join(str(error).split())[:120]) from None
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise ValueError("not a list of fields")
    values: dict[str, Scalar] = {}
    for key, value in list(fields.items())[:_MOST_FIELDS]:
        single = _single_value(value)
        if isinstance(key, str) and single is not None:
            values[squeeze_line(key)[:_LONGEST_VALUE]] = single
    return values


def _single_value(value: Any) -> Scalar:
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        value = ", ".join(map(str, value[:_MOST_FIELDS]))
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**53):
        return value
    if value is None or isinstance(value, list | dict | set | bytes):
        return None
    return squeeze_line(str(value))[:_LONGEST_VALUE]
