"""Tells what a file is, by its name and by its content, and decodes its text."""

import codecs
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from taesr.ingest.outcome import UnreadableError

Format = Literal["markdown", "text", "html", "pdf"]

FORMATS: dict[str, Format] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdown": "markdown",
    ".mkd": "markdown",
    ".txt": "text",
    ".text": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
}

# First bytes that no text begins with.
_BINARY = (
    (b"PK\x03\x04", "ZIP archive or Office document"),
    (b"PK\x05\x06", "ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "old Office document"),
    (b"{\\rtf", "RTF document"),
    (b"\x89PNG", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF87a", "GIF image"),
    (b"GIF89a", "GIF image"),
    (b"\x1f\x8b", "gzip archive"),
    (b"\xfd7zXZ", "xz archive"),
    (b"7z\xbc\xaf", "7z archive"),
    (b"Rar!\x1a", "RAR archive"),
    (b"\x28\xb5\x2f\xfd", "zstd archive"),
    (b"\x7fELF", "ELF program"),
    (b"SQLite format 3\x00", "SQLite database"),
    (b"\x00asm", "WebAssembly"),
    (b"\xca\xfe\xba\xbe", "Java class or Mach-O program"),
)
_BOMS = (  # the longer first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PDF_HEADER_WITHIN = 1024  # bytes; what readers of PDF accept before it
_TEXT_CONTROLS = b"\t\n\r\x08\x0b\x0c\x1b"
_CONTROLS = bytes(byte for byte in range(32) if byte not in _TEXT_CONTROLS) + b"\x7f"
_MOST_CONTROLS = 0.02  # of all bytes, in text
_MOST_HIGH_BYTES = 0.3  # of all bytes, in Western text of more than a few words
_UNDEFINED_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_ENCODED_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_NO_PAGE_ENCODINGS = ("utf-7", "utf-16", "utf-32", "idna", "punycode", "unicode_escape", "raw_unicode_escape")
_HTML_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!doctype\s+html|<html[\s>])", re.IGNORECASE
)
_HTML_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([a-z0-9_:-]{1,40})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Content:
    """A file's format and, except for PDF, its text."""

    format: Format
    text: str = ""
    encoding: str = ""
    notes: tuple[str, ...] = ()


def is_supported(name: str) -> bool:
    """Whether a file's extension is that of a format that loaders read."""
    return PurePath(name).suffix.lower() in FORMATS


def detect(name: str, data: bytes) -> Content:
    """Format and text of a file; a file without a known extension is taken for what its content is.

    Raises
    ------
    UnreadableError
        For an empty file, for binary data, and for a PDF under the name of another format.
    """
    if not data:
        raise UnreadableError("empty file")
    extension = PurePath(name).suffix.lower()
    named = FORMATS.get(extension)
    header = data.find(b"%PDF-", 0, _PDF_HEADER_WITHIN)
    if named == "pdf" or (named is None and header == 0):
        if header < 0:
            raise UnreadableError(f"not a PDF: {_kind(data) or 'no %PDF- in its first 1024 bytes'}")
        return Content("pdf")
    if header == 0:
        raise UnreadableError(f"a PDF, not text: rename it from {extension} to .pdf and ingest again")
    if kind := _kind(data):
        raise UnreadableError(f"binary data, not text ({kind})")
    is_html = named == "html" or bool(_HTML_START.match(data))
    text, encoding, notes = decode(data, html=is_html)
    if is_html and named in ("text", "markdown"):
        notes = (*notes, f"HTML in a {extension} file: read as HTML")
    return Content("html" if is_html else named or "text", text, encoding, notes)


def decode(data: bytes, *, html: bool = False) -> tuple[str, str, tuple[str, ...]]:
    """Text, encoding, and notes on what was guessed or replaced.

    Byte order marks decide; then UTF-8; then, for HTML, the encoding that the page declares; then
    UTF-8 with its few ill-formed bytes replaced; and Windows-1252 where the bytes look like text.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _decode_marked(data, encoding)
    _require_text_bytes(data)
    declared = _declared_encoding(data) if html else None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        first_bad = error.start
    else:
        if declared is None or not declared.startswith("iso2022"):  # those are escapes in ASCII bytes
            return text, "utf-8", ()
        first_bad = 0
    if declared is not None and declared != "utf-8":
        try:
            return data.decode(declared), declared, ()
        except (UnicodeDecodeError, LookupError):
            pass
    return _decode_damaged(data, first_bad)


def _decode_marked(data: bytes, encoding: str) -> tuple[str, str, tuple[str, ...]]:
    text = data.decode(encoding, "replace")
    if "\x00" in text:
        raise UnreadableError(f"binary data, not text (NUL character at offset {text.index(chr(0))})")
    name = "utf-8" if encoding == "utf-8-sig" else encoding
    bad = text.count("\ufffd")
    return text, name, (f"{bad} ill-formed characters replaced ({name.upper()})",) if bad else ()


def _decode_damaged(data: bytes, first_bad: int) -> tuple[str, str, tuple[str, ...]]:
    where = f"byte 0x{data[first_bad]:02X} at offset {first_bad}"
    text = _ENCODED_SURROGATE.sub(b"\xef\xbf\xbd", data).decode("utf-8", "replace")
    bad = text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    good = sum(1 for _ in re.finditer(r"[^\x00-\x7f\ufffd]", text))
    if good >= 2 * bad or len(_ENCODED_SURROGATE.findall(data)) == bad:
        return text, "utf-8", (f"{bad} ill-formed UTF-8 sequences replaced, the first with {where}",)
    high = sum(map(len, re.findall(rb"[\x80-\xff]+", data)))
    if _UNDEFINED_1252.search(data) or high > max(8, _MOST_HIGH_BYTES * len(data)):
        raise UnreadableError(
            f"neither UTF-8 ({where}) nor Western text: convert it to UTF-8 and ingest again"
        )
    return data.decode("windows-1252"), "windows-1252", (f"not UTF-8 ({where}): read as Windows-1252",)


def _declared_encoding(data: bytes) -> str | None:
    match = _HTML_CHARSET.search(data, 0, 4096)
    if match is None:
        return None
    try:
        name = codecs.lookup(match[1].decode("ascii")).name
        "a".encode(name)  # refuses the codecs of bytes to bytes, such as zip
    except (LookupError, UnicodeError):
        return None
    if name in ("ascii", "iso8859-1"):
        return "cp1252"  # what browsers take these for
    return None if name in _NO_PAGE_ENCODINGS else name


def _require_text_bytes(data: bytes) -> None:
    nul = data.find(0)
    if nul >= 0:
        even, odd = data[0:200:2].count(0), data[1:200:2].count(0)
        likely_utf16 = max(even, odd) > 0.4 * min(len(data), 200) / 2 and min(even, odd) == 0
        hint = "; UTF-16 without a byte order mark? save it as UTF-8" if likely_utf16 else ""
        raise UnreadableError(f"binary data, not text (NUL byte at offset {nul}{hint})")
    controls = len(data) - len(data.translate(None, _CONTROLS))
    if controls > max(4, _MOST_CONTROLS * len(data)):
        raise UnreadableError(f"binary data, not text ({controls} control characters in {len(data)} bytes)")


def _kind(data: bytes) -> str | None:
    return next((kind for magic, kind in _BINARY if data.startswith(magic)), None)
