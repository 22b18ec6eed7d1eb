"""Classification: how much do embeddings know about labels, by logistic regression on them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taesr.errors import Error, FormatError, InvalidArgument, IoError
from taesr.evaluation.retrieval import RetrievalOptions, TextEncoder, encode_texts


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and their labels, in the same order."""

    texts: list[str]
    labels: list[str]


def load_labelled(path: str | Path, *, text: str = "text", label: str = "category") -> LabelledTexts:
    """Read the columns `text` and `label` of a comma-separated file with a heading.

    Raises
    ------
    IoError
        The file is missing.
    FormatError
        A column or a value is missing; the message starts with ``file:line``.
    """
    source = Path(path)
    if not source.is_file():
        raise IoError(f"{source}: no such file")
    found = LabelledTexts([], [])
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {text, label} - set(reader.fieldnames or [])
            if missing:
                raise FormatError(f"{source}:1: no column {sorted(missing)[0]!r} in the heading")
            for row in reader:
                if not row[text] or not row[label]:
                    raise FormatError(f"{source}:{reader.line_num}: {text!r} or {label!r} is empty")
                found.texts.append(row[text])
                found.labels.append(row[label])
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}: not valid UTF-8 at byte {error.start}") from None
    except csv.Error as error:
        raise FormatError(f"{source}: {error}") from None
    if not found.texts:
        raise FormatError(f"{source}: no rows")
    return found


def evaluate_classification(
    encoder: TextEncoder,
    train: LabelledTexts,
    test: LabelledTexts,
    *,
    depth: str | int = "hard",
    dim: int | None = None,
) -> dict[str, float]:
    """Fit a logistic regression on the embeddings of `train` and measure it on `test`.

    L2-regularised with C = 1 on the unit vectors as they are, at most 1,000 L-BFGS iterations;
    texts are encoded as queries, the role for short texts. The fit has no randomness.

    Returns
    -------
    dict
        ``accuracy`` and ``macro_f1``, 0 to 1.

    Raises
    ------
    InvalidArgument
        Fewer than two labels to tell apart.
    Error
        scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
        from sklearn.metrics import accuracy_score, f1_score  # type: ignore[import-untyped]
    except ImportError:
        raise Error("classification needs scikit-learn: pip install scikit-learn") from None

    if len(set(train.labels)) < 2:
        raise InvalidArgument("the training texts need at least two labels to tell apart")
    options = RetrievalOptions(depth=depth, dim=dim, on_overflow="chunk")
    vectors = [encode_texts(encoder, part.texts, "query", options, "texts").vectors for part in (train, test)]
    model = LogisticRegression(C=1.0, max_iter=1000).fit(vectors[0], train.labels)
    predicted: Sequence[str] = model.predict(vectors[1])
    return {
        "accuracy": float(accuracy_score(test.labels, predicted)),
        "macro_f1": float(f1_score(test.labels, predicted, average="macro")),
    }
