"""Gathers the visible blocks of a parsed page."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborNode

from taesr.ingest.blocks import Block, table_text
from taesr.ingest.loaders.visibility import is_hidden, names
from taesr.ingest.normalize import squeeze_line

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = frozenset(("ul", "ol", "menu", "dir"))
_BREAKING = _LISTS | names(
    "address article aside blockquote body button caption center dd details dialog div dl dt fieldset"
    " figcaption figure footer form header hgroup hr html legend li main optgroup option p section summary"
    " tbody tfoot thead tr"
)
_NEVER_TEXT = ("head", "link", "meta", "script", "style", "title")


@dataclass(slots=True)
class _Table:
    rows: list[list[str]] = field(default_factory=list)
    cell: list[str] | None = None  # parts of the cell being read
    is_layout: bool = False  # holds tables or headings: its cells are paragraphs


class HtmlReader:
    """Goes through a tree without recursion and gathers blocks.

    Attributes
    ----------
    blocks
        What was read.
    hidden
        Number of elements with text that were left out because readers do not see them.
    """

    def __init__(self, hidden_elements: set[int]) -> None:
        self.blocks: list[Block] = []
        self.hidden = 0
        self._hidden_elements = hidden_elements
        self._parts: list[str] = []  # of the paragraph being read
        self._code: list[str] | None = None  # parts of preformatted text
        self._tables: list[_Table] = []
        self._lists: list[int | None] = []  # number of the next item; None for bullets
        self._marker = ""  # of the list item whose text comes next
        self._after_item = False

    def read(self, root: LexborNode) -> None:
        """Gather the blocks of a node and all below it."""
        for node, entering in _traverse(root, self._is_dropped):
            tag = node.tag or ""
            if tag == "-text":
                self._add(node.text_content or "")
            elif entering:
                self._enter(tag, node)
            else:
                self._leave(tag)
        self._end_paragraph()

    def _is_dropped(self, node: LexborNode) -> bool:
        tag = node.tag or ""
        if tag == "-text":
            return False
        if tag.startswith(("-", "_", "!")):  # comments and declarations
            return True
        if not is_hidden(tag, node.attributes) and node.mem_id not in self._hidden_elements:
            return False
        if tag not in _NEVER_TEXT and node.text(strip=True):
            self.hidden += 1
        return True

    def _enter(self, tag: str, node: LexborNode) -> None:
        if tag == "br":
            self._add("\n", verbatim=True)
        elif tag == "img":
            self._add(f" {node.attributes.get('alt') or ''} ")
        elif tag == "code":
            self._add_code_mark()
        elif tag == "pre":
            self._end_paragraph()
            self._code = []
        elif tag in ("td", "th"):
            self._enter_cell()
        elif tag in _HEADINGS or tag == "table":
            self._end_paragraph()
            self._dissolve_table()
            if tag == "table":
                self._tables.append(_Table())
        elif tag in _BREAKING:
            self._end_paragraph()
            self._enter_part(tag, node)

    def _enter_part(self, tag: str, node: LexborNode) -> None:
        if tag in _LISTS:
            start = node.attributes.get("start") or ""
            first = int(start) if re.fullmatch(r"[0-9]{1,6}", start) else 1
            self._lists.append(first if tag == "ol" else None)
        elif tag == "li":
            self._marker = self._next_marker()
        elif tag == "tr" and self._tables:
            self._tables[-1].rows.append([])

    def _leave(self, tag: str) -> None:
        if tag == "code":
            self._add_code_mark()
        elif tag == "pre":
            self._end_code()
        elif tag in _HEADINGS:
            self._end_heading(_HEADINGS[tag])
        elif tag == "table" and self._tables:
            self._end_paragraph()
            self._end_table(self._tables.pop())
        elif tag in ("td", "th"):
            self._end_cell()
        elif tag in _BREAKING:
            self._end_paragraph()
            if tag in _LISTS and self._lists:
                self._lists.pop()
            elif tag == "li":
                self._marker = ""

    def _open_cell(self) -> list[str] | None:
        """Parts of the table cell that text goes to."""
        table = self._tables[-1] if self._tables else None
        return None if table is None or table.is_layout else table.cell

    def _target(self) -> list[str]:
        cell = self._open_cell()
        return self._parts if cell is None else cell

    def _add(self, text: str, *, verbatim: bool = False) -> None:
        if self._code is not None:
            self._code.append(text)
        else:
            self._target().append(text if verbatim else re.sub(r"\s+", " ", text))

    def _add_code_mark(self) -> None:
        parts = self._target()
        if self._code is not None:
            return
        if parts and parts[-1] == "`":
            parts.pop()  # nothing between the marks
        else:
            parts.append("`")

    def _end_paragraph(self) -> None:
        cell = self._open_cell()
        if cell is not None:
            cell.append(" ")
            return
        text = "".join(self._parts).strip()
        self._parts.clear()
        if text:
            tight = bool(self._marker) and self._after_item
            self._emit(Block("text", text, indent=self._marker, tight=tight))
            self._after_item = bool(self._lists)
            self._marker = ""

    def _end_heading(self, level: int) -> None:
        title = squeeze_line("".join(self._parts))
        self._parts.clear()
        if title:
            self._emit(Block("heading", title, level=level))

    def _end_code(self) -> None:
        code, self._code = "".join(self._code or ()), None
        cell = self._open_cell()
        if cell is not None:
            cell.append(code)
        elif code.strip():
            self._emit(Block("code", code))

    def _emit(self, block: Block) -> None:
        self.blocks.append(block)
        self._after_item = False

    def _next_marker(self) -> str:
        indent = "  " * (min(len(self._lists), 10) - 1)
        number = self._lists[-1] if self._lists else None
        if number is None:
            return f"{indent}- "
        self._lists[-1] = number + 1
        return f"{indent}{number}. "

    def _enter_cell(self) -> None:
        self._end_paragraph()
        if self._tables and not self._tables[-1].is_layout:
            self._tables[-1].cell = []

    def _end_cell(self) -> None:
        cell = self._open_cell()
        if cell is None:
            self._end_paragraph()
            return
        table = self._tables[-1]
        table.cell = None
        table.rows[-1:] = [[*(table.rows[-1] if table.rows else ()), squeeze_line("".join(cell))]]

    def _dissolve_table(self) -> None:
        """Make paragraphs of the cells so far, because the table lays out the page and holds no data."""
        if not self._tables or self._tables[-1].is_layout:
            return
        table = self._tables[-1]
        texts = [cell for row in table.rows for cell in row] + ["".join(table.cell or ())]
        table.is_layout, table.cell = True, None
        for text in texts:
            if text.strip():
                self._emit(Block("text", text))

    def _end_table(self, table: _Table) -> None:
        rows = [row for row in table.rows if any(row)]
        if table.is_layout or not rows:
            return
        width = max(map(len, rows))
        if width == 1 or len(rows) == 1:
            for cell in [cell for row in rows for cell in row if cell]:
                self._emit(Block("text", cell))
        else:
            self._emit(Block("text", table_text([row + [""] * (width - len(row)) for row in rows])))


def _traverse(
    root: LexborNode, is_dropped: Callable[[LexborNode], bool]
) -> Iterator[tuple[LexborNode, bool]]:
    """`root` and what is below: each node with True on the way down, elements with False on the way up."""
    pending = [(root, True)]
    while pending:
        node, entering = pending.pop()
        if not entering:
            yield node, False
            continue
        if node.mem_id != root.mem_id and node.next is not None:
            pending.append((node.next, True))
        if is_dropped(node):
            continue
        yield node, True
        if node.tag != "-text":
            pending.append((node, False))
            if node.child is not None:
                pending.append((node.child, True))
