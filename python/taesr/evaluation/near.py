"""Paragraphs that resemble a question: BM25 over a few ten thousand texts in memory."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from taesr.answer.terms import terms

_K1, _B = 1.2, 0.75


class NearParagraphs:
    """Finds the paragraphs that share a question's terms (Robertson and Zaragoza 2009)."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(terms(text)) for text in texts]
        lengths = np.array([sum(count.values()) for count in counts], np.float32)
        norm = _K1 * (1 - _B + _B * lengths / max(1.0, float(lengths.mean()))) if len(texts) else lengths
        postings: dict[str, list[tuple[int, int]]] = {}
        for n, count in enumerate(counts):
            for term, times in count.items():
                postings.setdefault(term, []).append((n, times))
        self._size = len(texts)
        self._postings: dict[str, tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]] = {}
        for term, entries in postings.items():
            columns = np.array(entries)
            rows, counted = columns[:, 0], columns[:, 1]
            idf = math.log1p((len(texts) - len(rows) + 0.5) / (len(rows) + 0.5))
            weights = (idf * counted * (_K1 + 1) / (counted + norm[rows])).astype(np.float32)
            self._postings[term] = (rows, weights)

    def find(self, question: str, count: int, *, title_of: Callable[[int], str], prefer: str) -> list[int]:
        """The `count` best paragraphs titled `prefer` and the `count` best of the others, best first."""
        scores = np.zeros(self._size, np.float32)
        for term in dict.fromkeys(terms(question)):
            if term in self._postings:
                rows, weights = self._postings[term]
                scores[rows] += weights
        found: dict[bool, list[int]] = {True: [], False: []}
        # Far more than are wanted: an article's own paragraphs may rank low beside all the others.
        best = np.argpartition(-scores, min(self._size - 1, 40 * count))[: 40 * count]
        for n in best[np.argsort(-scores[best], kind="stable")]:
            side = found[title_of(int(n)) == prefer]
            if scores[n] > 0 and len(side) < count:
                side.append(int(n))
        return found[True] + found[False]
