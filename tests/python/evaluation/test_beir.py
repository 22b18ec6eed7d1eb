"""Reading retrieval sets in BEIR layout."""

from collections.abc import Callable
from pathlib import Path

import pytest

from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.evaluation import load_beir


def test_folder_is_read_with_titles_and_judged_queries_only(beir_folder: Path) -> None:
    dataset = load_beir(beir_folder)
    assert dataset.name == "helpdesk"
    assert dataset.document_ids == ["d1", "d2", "d3", "d4"]
    assert dataset.documents[0] == "Password reset Open the sign in page and choose forgotten password"
    assert dataset.documents[2] == "Mail is kept in folders"
    assert dataset.query_ids == ["q1", "q2"]
    assert dataset.qrels == {"q1": {"d1": 2, "d4": 1}, "q2": {"d2": 1, "d3": 0}}
    assert (dataset.unjudged_queries, dataset.missing_documents) == (1, 0)


def test_other_split_is_read_by_name(beir_folder: Path) -> None:
    (beir_folder / "qrels" / "dev.tsv").write_text("q3\td3\t1\n", encoding="utf-8")  # no heading
    assert load_beir(beir_folder, split="dev").qrels == {"q3": {"d3": 1}}


def test_byte_order_mark_windows_lines_and_blank_lines_are_read(beir_folder: Path) -> None:
    corpus = beir_folder / "corpus.jsonl"
    lines = corpus.read_bytes().replace(b"\n", b"\r\n\r\n")
    corpus.write_bytes(b"\xef\xbb\xbf" + lines)
    assert load_beir(beir_folder).document_ids == ["d1", "d2", "d3", "d4"]


def test_numbers_as_ids_are_read_as_strings(beir_folder: Path) -> None:
    (beir_folder / "corpus.jsonl").write_text('{"_id": 7, "text": "seven"}', encoding="utf-8")
    (beir_folder / "qrels" / "test.tsv").write_text("q1\t7\t1\n", encoding="utf-8")
    assert load_beir(beir_folder).document_ids == ["7"]


def test_unicode_line_separator_inside_a_text_does_not_end_the_line(beir_folder: Path) -> None:
    with (beir_folder / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"_id": "d5", "text": "one\u2028two"}\n')
    assert load_beir(beir_folder).documents[-1] == "one\u2028two"


def test_judged_documents_that_the_corpus_lacks_are_counted(beir_folder: Path) -> None:
    with (beir_folder / "qrels" / "test.tsv").open("a", encoding="utf-8") as file:
        file.write("q2\tgone\t1\nq2\tgone-too\t0\n")
    dataset = load_beir(beir_folder)
    assert dataset.missing_documents == 1
    assert dataset.qrels["q2"]["gone"] == 1


def _append(name: str, line: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(line)

    return change


def _replace(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_append("corpus.jsonl", b'{"_id": "d5", "text": \n'), r"corpus\.jsonl:5: not valid JSON at column"),
        (_append("corpus.jsonl", b'["d5"]\n'), r"corpus\.jsonl:5: must be one JSON object, got list"),
        (_append("corpus.jsonl", b"[" * 100_000), r"corpus\.jsonl:5: JSON nested too deeply"),
        (
            _append("corpus.jsonl", b'{"_id": "d1", "text": "x"}\n'),
            r"corpus\.jsonl:5: _id 'd1' appears a second",
        ),
        (
            _append("corpus.jsonl", b'{"_id": "d5"}\n'),
            r"corpus\.jsonl:5: 'text' must be a string, got NoneType",
        ),
        (
            _append("corpus.jsonl", b'{"_id": "d5", "title": 3, "text": ""}\n'),
            r"corpus\.jsonl:5: 'title' must be",
        ),
        (_append("corpus.jsonl", b'{"text": "x"}\n'), r"corpus\.jsonl:5: '_id' must be a non-empty string"),
        (_append("corpus.jsonl", b'{"_id": true, "text": "x"}\n'), r"corpus\.jsonl:5: '_id' must be"),
        (
            _append("corpus.jsonl", b'{"_id": "d5", "text": "\xff"}\n'),
            r"corpus\.jsonl:5: not valid UTF-8 at byte 23",
        ),
        (
            _append("queries.jsonl", b'{"_id": "q1", "text": "x"}\n'),
            r"queries\.jsonl:4: _id 'q1' appears a second",
        ),
        (_append("qrels/test.tsv", b"q1 d1 1\n"), r"test\.tsv:6: needs query id, document id and grade"),
        (
            _append("qrels/test.tsv", b"q1\td2\tyes\n"),
            r"test\.tsv:6: grade must be a whole number, got 'yes'",
        ),
        (_append("qrels/test.tsv", b"q9\td2\t1\n"), r"test\.tsv:6: query 'q9' is not in queries\.jsonl"),
        (
            _append("qrels/test.tsv", b"q1\td1\t1\n"),
            r"test\.tsv:6: query 'q1' and document 'd1' have another grade",
        ),
        (_replace("corpus.jsonl", b"\n"), r"corpus\.jsonl: no documents"),
        (_replace("qrels/test.tsv", b"q1\td1\t0\n"), r"test\.tsv: no judgement above zero"),
        (_replace("qrels/test.tsv", b""), r"test\.tsv: no judgement above zero"),
    ],
)
def test_malformed_line_is_named_with_file_and_line(
    beir_folder: Path, change: Callable[[Path], None], message: str
) -> None:
    change(beir_folder)
    with pytest.raises(FormatError, match=message):
        load_beir(beir_folder)


def test_missing_file_is_named(beir_folder: Path) -> None:
    with pytest.raises(IoError, match=r"dev\.tsv: missing; splits that are there: test"):
        load_beir(beir_folder, split="dev")
    (beir_folder / "queries.jsonl").unlink()
    with pytest.raises(IoError, match=r"queries\.jsonl: missing"):
        load_beir(beir_folder)
    with pytest.raises(IoError, match="no such folder"):
        load_beir(beir_folder / "nowhere")


def test_archive_in_place_of_a_folder_is_recognised(tmp_path: Path) -> None:
    archive = tmp_path / "scifact.tar.xz"
    archive.write_bytes(b"\xfd7zXZ")
    with pytest.raises(IoError, match="is a file; extract the archive"):
        load_beir(archive)


@pytest.mark.parametrize("split", ["", "../test", "a/b"])
def test_split_cannot_leave_the_qrels_folder(beir_folder: Path, split: str) -> None:
    with pytest.raises(InvalidArgument, match="is not the name of a file in qrels"):
        load_beir(beir_folder, split=split)
