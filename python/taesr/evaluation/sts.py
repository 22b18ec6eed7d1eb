"""Semantic textual similarity: do cosines order sentence pairs as people do?"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.evaluation.retrieval import RetrievalOptions, TextEncoder, encode_texts

_HEADING = ("sentence1", "sentence2", "score")
_BENCHMARK_COLUMNS = (5, 6, 4)  # genre, file, year, id, score, sentence 1, sentence 2, sources ...


@dataclass(frozen=True)
class SentencePair:
    """Two sentences and how similar people found them, on any scale."""

    first: str
    second: str
    score: float


def load_sts(path: str | Path) -> list[SentencePair]:
    """Read sentence pairs.

    Two layouts are known: the STS Benchmark's own (tab-separated, seven columns or more, no heading,
    no quoting) and tab- or comma-separated columns under a heading with ``sentence1``,
    ``sentence2`` and ``score``.

    Raises
    ------
    IoError
        The file is missing.
    FormatError
        A line does not fit; the message starts with ``file:line``.
    """
    source = Path(path)
    if not source.is_file():
        raise IoError(f"{source}: no such file")
    try:
        text = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}: not valid UTF-8 at byte {error.start}") from None
    first_line = text.partition("\n")[0]
    tabs = "\t" in first_line
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
    )
    columns = _columns(first_line, "\t" if tabs else ",")
    if columns is not None:
        next(reader)
    pairs = [
        _pair(f"{source}:{reader.line_num}", row, columns or _BENCHMARK_COLUMNS) for row in reader if row
    ]
    if not pairs:
        raise FormatError(f"{source}: no sentence pairs")
    return pairs


def _columns(first_line: str, delimiter: str) -> tuple[int, int, int] | None:
    names = [name.strip().strip('"').lower() for name in first_line.split(delimiter)]
    if not set(_HEADING) <= set(names):
        return None
    return names.index("sentence1"), names.index("sentence2"), names.index("score")


def _pair(where: str, row: list[str], columns: tuple[int, int, int]) -> SentencePair:
    if len(row) <= max(columns):
        raise FormatError(
            f"{where}: {len(row)} columns; needs {max(columns) + 1}, or a heading with {', '.join(_HEADING)}"
        )
    first, second, score_text = (row[column] for column in columns)
    try:
        score = float(score_text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise FormatError(f"{where}: score must be a number, got {score_text!r}")
    return SentencePair(first, second, score)


def evaluate_sts(
    encoder: TextEncoder, pairs: Sequence[SentencePair], *, depth: str | int = "hard", dim: int | None = None
) -> dict[str, float]:
    """Correlate the cosines of sentence pairs with people's scores.

    Both sentences are encoded as queries, the role for short texts.

    Returns
    -------
    dict
        ``spearman`` and ``pearson``, -1 to 1.

    Raises
    ------
    InvalidArgument
        Fewer than two different scores, for which no correlation exists.
    """
    from scipy import stats

    if len({pair.score for pair in pairs}) < 2:
        raise InvalidArgument("the pairs need at least two different scores to correlate with")
    options = RetrievalOptions(depth=depth, dim=dim, on_overflow="chunk")
    first = encode_texts(encoder, [pair.first for pair in pairs], "query", options, "first sentences")
    second = encode_texts(encoder, [pair.second for pair in pairs], "query", options, "second sentences")
    cosines = np.sum(first.vectors * second.vectors, axis=1)
    scores = [pair.score for pair in pairs]
    return {
        "spearman": float(stats.spearmanr(cosines, scores).statistic),
        "pearson": float(stats.pearsonr(cosines, scores).statistic),
    }
