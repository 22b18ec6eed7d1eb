"""Questions in SQuAD's manner: reading them, and exact match and F1 of answers to them.

A file has one paragraph a line: {"title", "context", "qas": [{"question", "answers": [...]}]}, where a
question without answers is one that the paragraph does not answer. `.xz` and `.gz` files are read as they
are.
"""

import gzip
import json
import lzma
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from taesr.answer.passages import Passage
from taesr.answer.units import split_units
from taesr.errors import FormatError, IoError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Question:
    """A question and the answers that count as right; none: the paragraph does not answer it."""

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph with the questions about it."""

    title: str
    text: str
    questions: tuple[Question, ...]

    def passage(self) -> Passage:
        """The paragraph as a bot reads it."""
        return Passage(self.title, "", self.title, "", self.text, 1.0, tuple(split_units(self.text)))


def read_squad(path: str | Path) -> list[Paragraph]:
    """The paragraphs of a file.

    Raises
    ------
    IoError, FormatError
        Name the file, the line and what is wrong with it.
    """
    paragraphs: list[Paragraph] = []
    try:
        with _open(Path(path)) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    paragraphs.append(_parse(line, f"{path}:{number}"))
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise FormatError(f"{path}: damaged or cut short ({error})") from error
    except OSError as error:
        raise IoError(f"{path}: {error.strerror or error}") from error
    return paragraphs


def normalise(text: str) -> str:
    """Lower case without punctuation, articles and needless space, as SQuAD's own script compares answers."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1 if `answer` equals one of `gold` when both are normalised, else 0."""
    return float(any(normalise(answer) == normalise(right) for right in gold))


def f1(answer: str, gold: Sequence[str]) -> float:
    """Best F1, 0 to 1, of the answer's words with those of one of `gold`."""
    return max((_f1(normalise(answer).split(), normalise(right).split()) for right in gold), default=0.0)


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold))


def _open(path: Path) -> IO[bytes] | gzip.GzipFile | lzma.LZMAFile:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")


def _parse(line: bytes, where: str) -> Paragraph:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise FormatError(f"{where}: not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise FormatError(f"{where}: not a JSON object")
    title, context, questions = fields.get("title", ""), fields.get("context"), fields.get("qas")
    if not isinstance(title, str) or not isinstance(context, str) or not isinstance(questions, list):
        raise FormatError(f'{where}: needs texts "title" and "context" and a list "qas"')
    return Paragraph(title.replace("_", " "), context, tuple(_question(q, where) for q in questions))


def _question(fields: Any, where: str) -> Question:
    text = fields.get("question") if isinstance(fields, dict) else None
    answers = fields.get("answers") if isinstance(fields, dict) else None
    if (
        not isinstance(text, str)
        or not isinstance(answers, list)
        or not all(isinstance(a, str) for a in answers)
    ):
        raise FormatError(
            f'{where}: every entry of "qas" needs a text "question" and a list "answers" of texts'
        )
    return Question(" ".join(text.split()), tuple(answers))
