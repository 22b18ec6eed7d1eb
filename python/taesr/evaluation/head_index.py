"""Documents by their dense, sparse and late-interaction outputs, searched exactly."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from taesr.evaluation.exact import Floats, Indices
from taesr.evaluation.fusion import FusionOptions, Head, fuse
from taesr.evaluation.maxsim import TokenStore

if TYPE_CHECKING:
    from taesr.sparse import SparseRows

_QUERY_BLOCK = 64
_SMALL = 1000  # documents; sets up to this size are scored whole


@dataclass(frozen=True)
class TextOutputs:
    """Outputs of some texts, those that were asked for."""

    count: int
    dense: Floats | None = None  # unit rows [count, dim]
    sparse: "SparseRows | None" = None
    late: list[Floats] | None = None  # unit rows [tokens, late_size], by text


class HeadIndex:
    """All documents of a set.

    Parameters
    ----------
    documents : TextOutputs
        With what the heads of `options.weights` need, and with all that is to propose candidates.
    options : FusionOptions
    """

    def __init__(self, documents: TextOutputs, options: FusionOptions) -> None:
        self._count = documents.count
        self._options = options
        self._dense = documents.dense
        self._sparse: Any = None if documents.sparse is None else documents.sparse.to_scipy().T.tocsr()
        self._late = None if documents.late is None else TokenStore(documents.late)

    @property
    def nbytes(self) -> int:
        """Bytes that the documents' outputs take; sparse entries count as a piece and a float32."""
        return (
            (self._dense.nbytes if self._dense is not None else 0)
            + (8 * self._sparse.nnz if self._sparse is not None else 0)
            + (self._late.nbytes if self._late is not None else 0)
        )

    @property
    def entries_a_document(self) -> dict[str, float]:
        """Mean number of sparse weights and of token vectors."""
        counts = {}
        if self._sparse is not None:
            counts["document_sparse_weights"] = self._sparse.nnz / self._count
        if self._late is not None:
            counts["document_token_vectors"] = self._late.vector_count / self._count
        return counts

    def search(self, queries: TextOutputs, k: int) -> Iterator[Indices]:
        """Yield the best `k` documents of each query, best first; equal scores in corpus order.

        The sparse head alone finds documents that share a piece with the query and no others.
        """
        for begin in range(0, queries.count, _QUERY_BLOCK):
            end = min(begin + _QUERY_BLOCK, queries.count)
            scores = self._first_scores(queries, begin, end)
            for row in range(end - begin):
                yield self._rank(
                    {head: values[row] for head, values in scores.items()}, queries, begin + row, k
                )

    def _first_scores(self, queries: TextOutputs, begin: int, end: int) -> dict[Head, Floats]:
        """Scores [queries, documents] of the heads that can score all documents at once."""
        scores: dict[Head, Floats] = {}
        if self._dense is not None and queries.dense is not None:
            products = torch.from_numpy(queries.dense[begin:end]) @ torch.from_numpy(self._dense).T
            scores["dense"] = products.numpy()
        if self._sparse is not None and queries.sparse is not None:
            head: Head = "sparse-idf" if "sparse-idf" in self._options.weights else "sparse"
            scores[head] = (queries.sparse.to_scipy()[begin:end] @ self._sparse).toarray()
        return scores

    def _rank(self, first: dict[Head, Floats], queries: TextOutputs, query: int, k: int) -> Indices:
        weights = self._options.weights
        if len(weights) == 1 and "late" not in weights:
            ((head, scores),) = first.items()
            return _best(scores, k, above=0 if head != "dense" else None)
        chosen = self._candidates(first, k)
        scored = {head: scores[chosen] for head, scores in first.items() if head in weights}
        if "late" in weights and self._late is not None and queries.late is not None:
            scored["late"] = self._late.scores(queries.late[query], chosen)
        return chosen[_best(fuse(scored, self._options), k)]

    def _candidates(self, first: dict[Head, Floats], k: int) -> Indices:
        """Union of the heads' best, in corpus order; all documents of small sets."""
        if self._count <= _SMALL:
            return np.arange(self._count)
        most = max(self._options.candidates, k)
        found = [_best(scores, most, above=0 if head != "dense" else None) for head, scores in first.items()]
        return np.unique(np.concatenate(found))


def _best(scores: Floats, k: int, *, above: float | None = None) -> Indices:
    """Positions of the `k` largest scores, best first, equal ones by position; only those `above`."""
    positions = np.arange(len(scores)) if above is None else np.flatnonzero(scores > above)
    if len(positions) > k:
        # All that tie with the k-th, so that the cut is not arbitrary.
        values = scores[positions]
        positions = positions[values >= np.partition(values, -k)[-k]]
    return positions[np.argsort(-scores[positions], kind="stable")][:k]
