"""HTML, by selectolax: the Lexbor parser follows the HTML standard, is fast and needs no recursion."""

from selectolax.lexbor import LexborHTMLParser, SelectolaxError

from taesr.ingest.blocks import Block, assemble
from taesr.ingest.detect import Content
from taesr.ingest.loaders.html_reader import HtmlReader
from taesr.ingest.loaders.stylesheet import hidden_elements
from taesr.ingest.normalize import squeeze_line
from taesr.ingest.outcome import Parsed


def load(content: Content, data: bytes, max_pages: int) -> Parsed:
    """Visible text with headings as sections; the title is the page's own, or its first heading."""
    try:
        tree = LexborHTMLParser(content.text)
    except SelectolaxError:  # Lexbor refuses no page: it ran out of memory
        raise MemoryError from None
    reader = _read(tree)
    text, sections = assemble(reader.blocks)
    named = tree.css_first("title")
    heading = next((block.text for block in reader.blocks if block.kind == "heading"), "")
    title = squeeze_line(named.text() if named is not None else "") or squeeze_line(heading)
    notes = (f"hidden text left out: {reader.hidden} elements",) if reader.hidden else ()
    return Parsed(text, title, sections, notes=notes)


def read_fragment(html: str) -> tuple[list[Block], int]:
    """Visible blocks of a piece of HTML, and how many hidden elements were left out."""
    reader = _read(LexborHTMLParser(html))
    return reader.blocks, reader.hidden


def _read(tree: LexborHTMLParser) -> HtmlReader:
    reader = HtmlReader(hidden_elements(tree))
    if tree.root is not None:
        reader.read(tree.root)
    return reader
