"""What a file is, is told by its content as well as by its name."""

import contextlib
import gzip
import random

import pytest

from taesr.ingest.detect import decode, detect
from taesr.ingest.normalize import clean, keep_layout, printable, squeeze
from taesr.ingest.outcome import UnreadableError


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"", "empty file"),
        ("a.pdf", b"", "empty file"),
        ("a.txt", b"\x00binary", "binary data, not text (NUL byte at offset 0)"),
        ("a.md", b"text\x00more", "binary data, not text (NUL byte at offset 4)"),
        ("a.md", b"\x89PNG\r\n\x1a\n", "binary data, not text (PNG image)"),
        ("a.txt", gzip.compress(b"x"), "binary data, not text (gzip archive)"),
        ("a.html", b"PK\x03\x04docx", "binary data, not text (ZIP archive or Office document)"),
        ("a.txt", b"\x7fELF\x02", "binary data, not text (ELF program)"),
        ("a.txt", b"%PDF-1.4 ...", "a PDF, not text: rename it from .txt to .pdf and ingest again"),
        ("a.txt", b"abc" + b"\x01\x02" * 20, "binary data, not text (40 control characters in 43 bytes)"),
        ("a.pdf", b"hello", "not a PDF: no %PDF- in its first 1024 bytes"),
        (
            "a.txt",
            "h\0e\0l\0l\0o\0".encode("latin-1"),
            "binary data, not text (NUL byte at offset 1; UTF-16 without a byte order mark? "
            "save it as UTF-8)",
        ),
        (
            "a.txt",
            "これは日本語の文章です".encode("shift_jis"),
            "neither UTF-8 (byte 0x82 at offset 0) nor Western text: convert it to UTF-8 and ingest again",
        ),
        ("a.txt", "x\0".encode("utf-16"), "binary data, not text (NUL character at offset 1)"),
    ],
)
def test_what_is_no_text_is_refused_with_its_reason(name, data, reason):
    with pytest.raises(UnreadableError) as caught:
        detect(name, data)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("data", "text", "encoding", "notes"),
    [
        (b"plain", "plain", "utf-8", 0),
        ("é文😀".encode(), "é文😀", "utf-8", 0),
        ("é文".encode("utf-8-sig"), "é文", "utf-8", 0),
        ("é文😀".encode("utf-16"), "é文😀", "utf-16", 0),
        (b"\xfe\xff" + "é文".encode("utf-16-be"), "é文", "utf-16", 0),
        ("é文".encode("utf-32"), "é文", "utf-32", 0),
        ("Café “ouvert” €5".encode("windows-1252"), "Café “ouvert” €5", "windows-1252", 1),
        ("Grüße aus Köln".encode("latin-1"), "Grüße aus Köln", "windows-1252", 1),
        (b"lone \xed\xa0\x80 surrogate", "lone \ufffd surrogate", "utf-8", 1),
        ("文字文字".encode() + b"\xff" + "文字".encode(), "文字文字\ufffd文字", "utf-8", 1),
        (b"\xff\xfea\x00\x00\xd8b\x00", "a\ufffdb", "utf-16", 1),
    ],
)
def test_encodings(data, text, encoding, notes):
    decoded, found, told = decode(data)
    assert (decoded, found, len(told)) == (text, encoding, notes)


def test_guesses_say_where_and_what():
    assert decode(b"caf\xe9 noir")[2] == ("not UTF-8 (byte 0xE9 at offset 3): read as Windows-1252",)
    assert decode("文字".encode() + b"\xff")[2] == (
        "1 ill-formed UTF-8 sequences replaced, the first with byte 0xFF at offset 6",
    )


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("Shift_JIS", "shift_jis"),
        ("iso-8859-1", "windows-1252"),
        ("koi8-r", "koi8_r"),
        ("iso-2022-jp", "iso2022_jp"),
    ],
)
def test_pages_may_declare_their_encoding(charset, codec):
    word = {"shift_jis": "日本", "iso2022_jp": "日本", "koi8_r": "Привет"}.get(codec, "é€")
    page = f'<meta http-equiv=x content="text/html; charset={charset}"><p>{word}'.encode(codec)
    assert decode(page, html=True)[0].endswith(word)


@pytest.mark.parametrize("charset", ["zip", "utf-7", "no-such", "rot13", "unicode_escape", "idna", "utf-16"])
def test_silly_declared_encodings_are_ignored(charset):
    page = f"<meta charset={charset}><p>+ADw-script+AD4- \\u0041 é".encode()
    assert decode(page, html=True) == (page.decode(), "utf-8", ())


def test_html_under_another_name_is_read_as_html(load):
    loaded = load("a.txt", "<!doctype html><p>shown<p hidden>secret")
    assert loaded.document.text == "shown"
    assert loaded.document.metadata["format"] == "html"
    assert "HTML in a .txt file: read as HTML" in loaded.notes


def test_encoding_is_in_the_metadata_where_it_is_not_utf8(load):
    loaded = load("a.txt", "Grüße".encode("latin-1"))
    assert loaded.document.text == "Grüße"
    assert loaded.document.metadata == {"format": "text", "size": 5, "encoding": "windows-1252"}


def test_random_bytes_never_escape_as_other_errors():
    random_ = random.Random(9)
    for _ in range(3000):
        data = random_.randbytes(random_.randrange(1, 60))
        name = random_.choice(["a.txt", "a.md", "a.html", "a.pdf", "a", "a.bin"])
        with contextlib.suppress(UnreadableError):
            clean(detect(name, data).text).encode()


def test_clean_removes_what_does_not_show():
    assert clean("a\u200bb\ufeffc\u00add\u202ee\u2066f\x00\x07g\U000e0041h\u2060i") == "abcdefghi"
    assert clean("a\r\nb\rc\u2028d\x0ce\x85f") == "a\nb\nc\nd\ne\nf"
    assert clean("e\u0301 \u00a0\u3000x\tz") == "é   x\tz"
    assert clean("\ud800") == "\ufffd"
    persian, emoji, hindi = "\u067e\u0633\u062a\u200c\u0647\u0627", "👩\u200d💻", "\u0915\u094d\u200d\u0937"
    assert clean(f"{persian} {emoji} {hindi} pass\u200cword") == f"{persian} {emoji} {hindi} password"


def test_clean_bounds_marks_on_one_letter():
    assert len(clean("e" + "\u0301\u0323" * 500_000)) <= 31


def test_blanks():
    assert squeeze("  a \t b  \n\n \n\n\n c ") == "a b\n\nc"
    assert keep_layout("\n\n  a   b  \n\n\n\n\tc \n") == "  a   b\n\n\tc"
    assert keep_layout("a" + " " * 1000 + "b") == "a" + " " * 64 + "b"


def test_printable_is_one_line_of_valid_unicode():
    assert printable("a\nb\tc\x1b\u202ed\udcff é文") == "a\\nb\\tc\\x1b\\u202ed\\xff é文"
