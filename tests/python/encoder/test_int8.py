"""Arithmetic in int8: near float32, and the same text always gets the same vector."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from taesr import Collection, Document, Encoder
from taesr.errors import InvalidArgument

_TOPICS = ("printer", "password", "invoice", "projector", "badge", "spreadsheet", "laptop", "calendar")
_FAULTS = ("is offline", "was lost", "shows an error", "is needed in room 12", "does not open", "is too slow")


def _texts() -> list[str]:
    """Return 64 different texts of very different lengths."""
    pairs = [f"The {topic} {fault}." for topic in _TOPICS for fault in _FAULTS]
    longer = [" ".join(pairs[first : first + 3 * first + 2]) for first in range(14)]
    return [*pairs, *longer, "", "naïve café — “quoted” 日本語 🙂"]


@pytest.fixture(scope="module")
def int8() -> Encoder:
    return Encoder.load(precision="int8")


def _top_ten(queries: npt.NDArray[np.float32], passages: npt.NDArray[np.float32]) -> list[set[int]]:
    return [set(row[:10]) for row in np.argsort(-(queries @ passages.T), axis=1, kind="stable").tolist()]


def test_vectors_are_near_those_of_float32(encoder: Encoder, int8: Encoder) -> None:
    assert int8.precision == "int8"
    for depth in (1, 3, 6):
        cosines = (int8.encode(_texts(), depth=depth) * encoder.encode(_texts(), depth=depth)).sum(1)
        assert cosines.min() >= 0.99, depth


def test_a_text_has_one_vector_whatever_its_company(int8: Encoder) -> None:
    texts = _texts()
    together = int8.encode(texts, depth=3)
    alone = np.vstack([int8.encode(text, depth=3) for text in texts])
    order = np.random.default_rng(5).permutation(len(texts))
    shuffled = np.empty_like(together)
    shuffled[order] = int8.encode([texts[i] for i in order], depth=3)
    queries = int8.encode(["reset my password", "beamer broken", "open the file"], role="query", depth=3)
    for other in (alone, shuffled):
        assert (together * other).sum(1).min() >= 1 - 1e-4
        assert _top_ten(queries, other) == _top_ten(queries, together)


def test_a_collection_of_one_precision_is_searched_with_another(
    encoder: Encoder, int8: Encoder, tmp_path: Path
) -> None:
    assert int8.fingerprint == encoder.fingerprint
    with Collection.open(tmp_path / "kb", encoder=encoder) as kb:
        kb.add([Document(id=str(n), text=text) for n, text in enumerate(_texts()) if text])
        expected = [hit.document for hit in kb.search("lost password", k=3, mode="dense")]
    with Collection.open(tmp_path / "kb", encoder=int8, read_only=True) as kb:
        assert [hit.document for hit in kb.search("lost password", k=3, mode="dense")] == expected


def test_unknown_precisions_are_told_what_is_allowed() -> None:
    with pytest.raises(InvalidArgument, match="precision is 'int4'; allowed: auto, float32, bfloat16, int8"):
        Encoder.load(precision="int4")  # type: ignore[arg-type]


def test_the_command_line_encodes_with_it(int8: Encoder) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taesr", "encode", "--arithmetic", "int8", "--depth", "1"],
        input="reset my password\n",
        capture_output=True,
        text=True,
        check=True,
    )
    vector = np.array(json.loads(done.stdout)["embedding"], np.float32)
    assert vector @ int8.encode("reset my password", depth=1)[0] >= 1 - 1e-4
