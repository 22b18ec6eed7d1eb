"""Sparse vectors of texts over the vocabulary."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclasses.dataclass(frozen=True)
class SparseRows:
    """Texts as compressed sparse rows; pieces that are not listed weigh nothing.

    Attributes
    ----------
    indptr
        int64 [n + 1]: row i has the entries indptr[i] to indptr[i + 1].
    indices
        int32 [entries]: vocabulary pieces, ascending in each row.
    values
        float32 [entries]: their weights, above zero.
    columns
        Size of the vocabulary.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    columns: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, i: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Pieces and weights of text `i`."""
        begin, end = self.indptr[i], self.indptr[i + 1]
        return self.indices[begin:end], self.values[begin:end]

    def to_scipy(self) -> "csr_matrix[np.float32]":
        """The same as a SciPy matrix [n, columns]; needs SciPy."""
        from scipy.sparse import csr_matrix

        return csr_matrix((self.values, self.indices, self.indptr), shape=(len(self), self.columns))

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """Rows of all `parts`, at least one, one part below the other."""
        starts = np.cumsum([0, *(len(part.values) for part in parts)])
        indptr = [part.indptr[1:] + start for part, start in zip(parts, starts, strict=False)]
        return cls(
            np.concatenate([np.zeros(1, np.int64), *indptr]),
            np.concatenate([part.indices for part in parts]),
            np.concatenate([part.values for part in parts]),
            parts[0].columns,
        )

    def __repr__(self) -> str:
        return f"SparseRows([{len(self)}, {self.columns}], entries={len(self.values)})"
