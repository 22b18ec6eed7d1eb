"""PDF files become text by chapters or pages, or a reason."""

import time

import pytest
from pdf_writer import bomb, encrypted, pdf

from taesr.ingest import Limits, iterate, load_file

ENCRYPTED = "encrypted PDF: remove the password and ingest again"


def test_pages_are_sections(read, section_texts):
    document = read("a.pdf", pdf(["First page.\nIts second line.", "", "Third page."], title="A guide"))
    assert document.title == "A guide"
    assert section_texts(document) == {"Page 1": "First page.\nIts second line.", "Page 3": "Third page."}
    assert document.metadata["pages"] == 3


def test_outline_makes_chapters_where_its_titles_stand(read, section_texts):
    document = read(
        "a.pdf",
        pdf(
            ["Preface text.\nChapter One\nBody of one.", "More of one.\nChapter Two\nBody of two."],
            outline=[("Chapter One", 0), ("CHAPTER TWO", 1), ("Not on the page", 1)],
        ),
    )
    texts = section_texts(document)
    assert texts[""] == "Preface text."
    assert texts["Chapter One"] == "Chapter One\nBody of one.\n\nMore of one."
    assert "Body of two." in document.text
    assert document.text.count("Chapter Two") == 1


def test_hyphenated_words_are_joined(read):
    assert read("a.pdf", pdf(["An exam-\nple of well-\nKnown."])).text == "An example of well-\nKnown."


def test_junk_title_gives_way_to_the_name(read):
    assert read("user-guide.pdf", pdf(["text"], title="Microsoft Word - draft7.doc")).title == "user guide"


def test_encrypted_pdf_is_listed_with_its_reason(load):
    assert load("a.pdf", encrypted(pdf(["secret"]), user_password="pass")).reason == ENCRYPTED


def test_pdf_encrypted_for_editing_only_is_read(read):
    assert read("a.pdf", encrypted(pdf(["open to all"]), user_password="")).text == "open to all"


def test_scanned_pdf_is_told(load):
    assert load("a.pdf", pdf([b"0 0 10 10 re f"])).reason == "no text layer: scanned PDF, run OCR first"


def test_pages_without_text_are_noted(load):
    assert load("a.pdf", pdf(["text", "", ""])).notes == ("2 of 3 pages have no text",)


def test_truncated_pdf_gives_its_text_or_a_reason(tmp_path):
    whole = pdf(["The first page.", "The second page."])
    for length in range(5, len(whole), 29):
        (tmp_path / f"{length}.pdf").write_bytes(whole[:length])
    files = list(iterate([tmp_path]))
    for file in files:
        assert (file.document is not None) == (file.status == "loaded")
        assert (file.status == "failed") == bool(file.reason)
        assert "\n" not in file.reason
    assert any(file.reason.startswith("damaged PDF: ") for file in files)
    assert any(file.status == "loaded" for file in files)


def test_damaged_pdf_never_stops_the_rest(tmp_path):
    whole = bytearray(
        pdf(["The first page.", "The second page."], outline=[("The first", 0), ("The second", 1)])
    )
    for number in range(60):
        damaged = bytearray(whole)
        for k in range(5):
            damaged[(number * 37 + k * 101) % len(damaged)] ^= 1 << (number + k) % 8
        (tmp_path / f"{number:02}.pdf").write_bytes(bytes(damaged))
    (tmp_path / "zz.txt").write_text("last")
    files = list(iterate([tmp_path]))
    assert len(files) == 61
    assert files[-1].document.text == "last"
    for file in files:
        assert (file.status == "loaded") == (file.document is not None)
        assert (file.status == "failed") == bool(file.reason)


def test_bomb_is_a_reason_and_soon(load):
    data = bomb(400_000_000)
    assert len(data) < 100_000
    begin = time.monotonic()
    loaded = load("a.pdf", data)
    assert time.monotonic() - begin < 30
    assert loaded.status == "failed"
    assert "page 1 cannot be read" in loaded.reason or "memory" in loaded.reason


def test_too_many_pages_are_refused(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(["x"] * 12))
    assert load_file(path, limits=Limits(pages=10)).reason == (
        "12 pages, over the limit of 10: split it and ingest again"
    )
    assert load_file(path, limits=Limits(pages=12)).status == "loaded"


@pytest.mark.parametrize("content", [b"no pdf", b"\x89PNG\r\n", b"<html>sign in</html>"])
def test_other_content_under_the_name_is_told(load, content):
    assert load("a.pdf", content).reason.startswith("not a PDF: ")
