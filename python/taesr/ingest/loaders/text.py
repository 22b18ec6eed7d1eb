"""Plain text: as it is, with its layout."""

from taesr.ingest.blocks import Block, assemble
from taesr.ingest.detect import Content
from taesr.ingest.outcome import Parsed


def load(content: Content, data: bytes, max_pages: int) -> Parsed:
    """The text, normalised; no sections."""
    text, sections = assemble([Block("plain", content.text)])
    return Parsed(text, sections=sections)
