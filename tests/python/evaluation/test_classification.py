"""Classification by logistic regression on embeddings."""

import sys
from pathlib import Path

import pytest
from bag_of_words import BagOfWordsEncoder

from taesr.errors import Error, FormatError, InvalidArgument, IoError
from taesr.evaluation import LabelledTexts, evaluate_classification, load_labelled

TRAIN = LabelledTexts(
    ["card lost", "card stolen", "rate of euro", "rate of dollar"], ["card", "card", "rate", "rate"]
)


def test_columns_are_read_with_quoting(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('text,category\nwhere?,arrival\n"still, not here",arrival\n', encoding="utf-8")
    assert load_labelled(path) == LabelledTexts(["where?", "still, not here"], ["arrival", "arrival"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text,label\na,b\n", r"train\.csv:1: no column 'category'"),
        (b"text,category\nok,x\nalone\n", r"train\.csv:3: 'text' or 'category' is empty"),
        (b"text,category\n", "no rows"),
        (b"", "no column"),
        (b"text,category\n\xff,x\n", "not valid UTF-8"),
    ],
)
def test_malformed_file_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        load_labelled(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IoError, match="no such file"):
        load_labelled(tmp_path / "train.csv")


def test_labels_that_words_tell_apart_are_learnt() -> None:
    pytest.importorskip("sklearn")
    test = LabelledTexts(["card broken", "rate of yen", "card rate of euro"], ["card", "rate", "card"])
    values = evaluate_classification(BagOfWordsEncoder(), TRAIN, test)
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_one_label_is_refused() -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(InvalidArgument, match="at least two labels"):
        evaluate_classification(BagOfWordsEncoder(), LabelledTexts(["a", "b"], ["x", "x"]), TRAIN)


def test_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(Error, match="pip install scikit-learn"):
        evaluate_classification(BagOfWordsEncoder(), TRAIN, TRAIN)
