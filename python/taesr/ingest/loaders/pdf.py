"""PDF, by pypdf: pure Python, so that a damaged file raises an error and does not crash the parser."""

import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pypdf import PasswordType, PdfReader
from pypdf.errors import DependencyError, LimitReachedError, PyPdfError
from pypdf.generic import Destination

from taesr.ingest.blocks import Block, assemble
from taesr.ingest.detect import Content
from taesr.ingest.normalize import squeeze, squeeze_line
from taesr.ingest.outcome import Parsed, UnreadableError

_HYPHENATED = re.compile(r"(?<=[^\W\d_])-\n(?=[a-zß-öø-ÿ])")
_PRIVATE_BULLET = re.compile("[\uf0b7\uf0a7\uf076\uf0d8]")  # of the Symbol and Wingdings fonts
_JUNK_TITLE = re.compile(r"^(?:microsoft word - |untitled|.*\.(?:docx?|indd|tex|pptx?|qxd)$)", re.IGNORECASE)
_MOST_BOOKMARKS = 20_000


@dataclass(frozen=True, slots=True)
class _Bookmark:
    title: str
    level: int  # 1 is the highest
    page: int


def load(content: Content, data: bytes, max_pages: int) -> Parsed:
    """Text with the outline's chapters as sections, or pages where there is no outline."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        _open(reader, max_pages)
        pages, notes = _page_texts(reader)
    except (PyPdfError, ValueError, TypeError, KeyError, AttributeError, IndexError, OSError) as error:
        raise UnreadableError(f"damaged PDF: {_one_line(error)}") from None
    if not any(pages):
        if notes:
            raise UnreadableError(notes[0])
        raise UnreadableError("no text layer: scanned PDF, run OCR first")
    empty = sum(not page for page in pages)
    if empty:
        notes.append(f"{empty} of {len(pages)} pages have no text")
    bookmarks = _bookmarks(reader)
    blocks = _chapters(pages, bookmarks) if len(bookmarks) > 1 else _numbered(pages)
    text, sections = assemble(blocks)
    return Parsed(text, _title(reader), sections, {"pages": len(pages)}, tuple(notes))


def _open(reader: PdfReader, max_pages: int) -> None:
    """Decrypt with the empty password, which most protected PDFs have, and check the number of pages."""
    if reader.is_encrypted:
        try:
            opened = reader.decrypt("") != PasswordType.NOT_DECRYPTED
        except (DependencyError, NotImplementedError):
            raise UnreadableError(
                "encrypted PDF (AES): remove the password, or pip install 'pypdf[crypto]', and ingest again"
            ) from None
        if not opened:
            raise UnreadableError("encrypted PDF: remove the password and ingest again")
    if len(reader.pages) > max_pages:
        raise UnreadableError(
            f"{len(reader.pages)} pages, over the limit of {max_pages}: split it and ingest again"
        )


def _page_texts(reader: PdfReader) -> tuple[list[str], list[str]]:
    """Text of each page, and notes on those that could not be read."""
    pages: list[str] = []
    notes: list[str] = []
    for number, page in enumerate(reader.pages, 1):
        try:
            text = page.extract_text()
        except MemoryError:
            raise
        except LimitReachedError:
            text = ""
            notes.append(f"page {number} cannot be read: it unpacks to more than is reasonable")
        except Exception as error:  # pypdf raises many kinds for damaged pages
            text = ""
            notes.append(f"page {number} cannot be read: {_one_line(error)}")
        text = squeeze(_PRIVATE_BULLET.sub("•", text))
        pages.append(_HYPHENATED.sub("", text))
    return pages, notes


def _title(reader: PdfReader) -> str:
    try:
        information = reader.metadata
        title = squeeze_line(str(information.title or "") if information is not None else "")
    except Exception:  # a damaged information dictionary costs the title only
        return ""
    return "" if _JUNK_TITLE.match(title) else title


def _bookmarks(reader: PdfReader) -> list[_Bookmark]:
    """The outline in order, without entries that lead nowhere; none when it is damaged."""
    found: list[_Bookmark] = []
    try:
        pending: list[tuple[Any, int]] = [(item, 1) for item in reversed(reader.outline)]
        while pending and len(found) < _MOST_BOOKMARKS:
            item, level = pending.pop()
            if isinstance(item, Destination):
                page = reader.get_destination_page_number(item)
                title = squeeze_line(str(item.title or ""))
                if page is not None and page >= 0 and title:
                    found.append(_Bookmark(title, level, page))
            else:
                pending += [(child, level + 1) for child in reversed(item)]
    except MemoryError:
        raise
    except Exception:  # a damaged outline costs the chapters only: pages are sections then
        return []
    return found if found == sorted(found, key=lambda bookmark: bookmark.page) else []


def _numbered(pages: list[str]) -> Iterator[Block]:
    for number, text in enumerate(pages, 1):
        if text:
            yield Block("border", f"Page {number}", level=1)
            yield Block("text", text)


def _chapters(pages: list[str], bookmarks: list[_Bookmark]) -> Iterator[Block]:
    """Pages cut where bookmarks lead to: at their title where the page shows it, else at its top."""
    waiting = list(reversed(bookmarks))
    for number, text in enumerate(pages):
        begin = 0
        while waiting and waiting[-1].page <= number:
            bookmark = waiting.pop()
            title = re.compile(r"\s+".join(map(re.escape, bookmark.title.split())), re.IGNORECASE)
            place = title.search(text, begin)
            split = place.start() if place else begin
            yield Block("text", text[begin:split])
            yield Block("border", bookmark.title, level=bookmark.level)
            begin = split
        yield Block("text", text[begin:])


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
