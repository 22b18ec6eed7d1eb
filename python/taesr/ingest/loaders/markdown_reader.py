"""Gathers the blocks of parsed Markdown."""

from collections.abc import Sequence

from markdown_it.token import Token

from taesr.ingest.blocks import Block, table_text
from taesr.ingest.loaders.hidden_html import HiddenHtml
from taesr.ingest.loaders.html import read_fragment
from taesr.ingest.normalize import squeeze_line


class MarkdownReader:
    """Turns the tokens of one file into blocks."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._html = HiddenHtml()
        self._hidden_in_html = 0
        self._lists: list[str] = []  # the markers' indentation
        self._marker = ""  # of the list item whose text comes next
        self._after_item = False
        self._rows: list[list[str]] = []  # of the table being read

    @property
    def hidden(self) -> int:
        """Number of comments and elements left out because readers do not see them."""
        return self._html.count + self._hidden_in_html

    def read(self, tokens: Sequence[Token]) -> list[Block]:
        """The blocks of a file."""
        for number, token in enumerate(tokens):
            if token.type == "inline":
                self._read_inline(tokens[number - 1], self._inline(token.children or []))
            elif token.type in ("fence", "code_block"):
                self._emit(Block("code", token.content))
            elif token.type == "html_block":
                self._read_html(token.content)
            else:
                self._read_structure(token)
        return self._blocks

    def _read_structure(self, token: Token) -> None:
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                self._lists.append("  " * min(len(self._lists), 10))
            case "bullet_list_close" | "ordered_list_close":
                self._lists.pop()
            case "list_item_open":
                self._marker = self._lists[-1] + (f"{token.info}. " if token.info else "- ")
            case "list_item_close":
                self._marker = ""
            case "table_open":
                self._rows = []
            case "tr_open":
                self._rows.append([])
            case "table_close":
                self._emit(Block("text", table_text(self._rows)))

    def _read_inline(self, opening: Token, text: str) -> None:
        if opening.type in ("th_open", "td_open"):
            self._rows[-1].append(squeeze_line(text))
        elif opening.type == "heading_open" and opening.level == 0:
            self._emit(Block("heading", text, level=int(opening.tag[1])))
        elif text.strip():
            tight = bool(self._marker) and self._after_item
            self._emit(Block("text", text, indent=self._marker, tight=tight))
            self._after_item = bool(self._lists)
            self._marker = ""

    def _read_html(self, html: str) -> None:
        visible = self._html.visible(html)
        if visible.strip():
            blocks, hidden = read_fragment(visible)
            self._hidden_in_html += hidden
            for block in blocks:
                self._emit(block)

    def _emit(self, block: Block) -> None:
        if not self._html.is_open:
            self._blocks.append(block)
            self._after_item = False

    def _inline(self, tokens: Sequence[Token]) -> str:
        """Text of a paragraph: links by their words, images by their description, no emphasis."""
        parts: list[str] = []
        hidden_before = self._html.depth
        for token in tokens:
            if token.type == "html_inline":
                parts.append(self._inline_html(token.content))
            elif not self._html.is_open:
                parts.append(self._inline_text(token))
        self._html.close(hidden_before)  # an element opened inside a paragraph ends with it
        return "".join(parts)

    def _inline_html(self, tag: str) -> str:
        visible = self._html.visible(tag)
        if visible.startswith("&lt;"):
            return tag  # a placeholder such as <your name>
        name = visible.strip("</> ").split()[0].lower() if visible.strip("</> ") else ""
        if name == "img":
            return " ".join(block.text for block in read_fragment(visible)[0])
        return "\n" if name in ("br", "br/") else " " if name in ("p", "div", "li", "tr", "td", "th") else ""

    def _inline_text(self, token: Token) -> str:
        match token.type:
            case "softbreak":
                return " "
            case "hardbreak":
                return "\n"
            case "code_inline":
                mark = "``" if "`" in token.content else "`"
                return f"{mark}{token.content}{mark}"
            case "image":
                return self._inline(token.children or [])
            case _:
                return token.content
