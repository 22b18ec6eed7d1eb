"""Exact late interaction (ColBERT, Khattab and Zaharia 2020, arXiv 2004.12832)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from taesr.evaluation.exact import Floats, Indices


class TokenStore:
    """Token vectors of all documents, kept as float16.

    Parameters
    ----------
    documents : sequence of float arrays [tokens, dim]
        Unit rows; a document may be without tokens.
    """

    def __init__(self, documents: Sequence[npt.NDArray[np.floating]]) -> None:
        self._starts: Indices = np.cumsum([0, *map(len, documents)], dtype=np.int64)
        self._vectors = np.concatenate([document.astype(np.float16) for document in documents])
        self.nbytes = self._vectors.nbytes

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def vector_count(self) -> int:
        """Token vectors of all documents together."""
        return len(self._vectors)

    def scores(self, query: Floats, candidates: Indices) -> Floats:
        """Sum over the query's tokens of the largest cosine with a token of each candidate.

        Parameters
        ----------
        query : float32 [tokens, dim]
            Unit rows.
        candidates : int64 [n]
            Positions of documents.

        Returns
        -------
        float32 [n]
            Documents without tokens get the lowest possible score, minus the number of query tokens.
        """
        scores = np.full(len(candidates), -float(len(query)), dtype=np.float32)
        lengths = self._starts[candidates + 1] - self._starts[candidates]
        filled = np.flatnonzero(lengths)
        if len(filled) == 0 or len(query) == 0:
            return scores
        rows = np.concatenate(
            [self._vectors[self._starts[i] : self._starts[i + 1]] for i in candidates[filled]]
        ).astype(np.float32)
        cosines = (torch.from_numpy(query) @ torch.from_numpy(rows).T).numpy()
        borders = np.concatenate([[0], np.cumsum(lengths[filled])[:-1]])
        scores[filled] = np.maximum.reduceat(cosines, borders, axis=1).sum(axis=0)
        return scores
