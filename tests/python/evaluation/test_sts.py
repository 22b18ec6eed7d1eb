"""Sentence similarity."""

from pathlib import Path

import pytest
from bag_of_words import BagOfWordsEncoder

from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.evaluation import SentencePair, evaluate_sts, load_sts


def test_benchmark_layout_is_read_without_quoting(tmp_path: Path) -> None:
    path = tmp_path / "sts-dev.csv"
    path.write_text(
        'main\tMSRvid\t2012\t0000\t5.000\tA man "with a hat.\tA man.\n'
        "main\tnews\t2013\t7\t0.5\tOne\tTwo\tsource\tlicence\n",
        encoding="utf-8",
    )
    assert load_sts(path) == [
        SentencePair('A man "with a hat.', "A man.", 5.0),
        SentencePair("One", "Two", 0.5),
    ]


def test_columns_are_found_by_their_heading(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('id,score,sentence1,sentence2\n1,0.25,"a, b",c\n', encoding="utf-8")
    assert load_sts(path) == [SentencePair("a, b", "c", 0.25)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tb\tc\t1\t2.5\tx\n", r"pairs\.tsv:1: 6 columns; needs 7"),
        (b"a\tb\tc\t1\thigh\tx\ty\n", r"pairs\.tsv:1: score must be a number, got 'high'"),
        (
            b"score\tsentence1\tsentence2\n1\tx\ty\nnan\tx\ty\n",
            r"pairs\.tsv:3: score must be a number, got 'nan'",
        ),
        (b"", "no sentence pairs"),
        (b"\xff\xfe", "not valid UTF-8 at byte 0"),
    ],
)
def test_malformed_file_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        load_sts(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IoError, match=r"nothing\.tsv: no such file"):
        load_sts(tmp_path / "nothing.tsv")


def test_correlations_follow_the_scores() -> None:
    pairs = [
        SentencePair("red green blue", "red green blue", 5),
        SentencePair("red green blue", "red green brown", 3),
        SentencePair("red green blue", "red white brown", 2),
        SentencePair("red green blue", "cat dog cow", 0),
    ]
    agreed = evaluate_sts(BagOfWordsEncoder(), pairs)
    assert agreed["spearman"] == pytest.approx(1)
    assert agreed["pearson"] > 0.9
    reversed_scores = [SentencePair(pair.first, pair.second, -pair.score) for pair in pairs]
    assert evaluate_sts(BagOfWordsEncoder(), reversed_scores)["spearman"] == pytest.approx(-1)


def test_equal_scores_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="two different scores"):
        evaluate_sts(BagOfWordsEncoder(), [SentencePair("a", "b", 1), SentencePair("c", "d", 1)])
