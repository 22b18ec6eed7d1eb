"""Exact nearest-neighbour search over float32, int8 or binary vectors, for measuring.

It answers "what does this representation cost in quality", without the approximation that an
index adds. Vectors are compared in blocks, so memory stays bounded whatever the corpus.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from taesr.errors import InvalidArgument

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
PRECISIONS = ("float32", "int8", "binary")

_QUERY_BLOCK = 256
_DOCUMENT_BLOCK = 32768  # with the query block: 32 MiB of scores at a time
_RESCORE = 4  # candidates for each binary hit that is asked for


class VectorStore(Protocol):
    """Document vectors in some representation, scored by inner product."""

    @property
    def nbytes(self) -> int:
        """Bytes that the document vectors take."""

    def __len__(self) -> int: ...

    def rows(self, begin: int, end: int) -> Floats:
        """Documents [begin, end) as float32 [end - begin, dim], up to one common factor."""

    def queries(self, vectors: Floats) -> Floats:
        """Queries [n, dim] as they are compared with `rows`."""


class Float32Store:
    """The vectors themselves."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.nbytes = self._vectors.nbytes

    def __len__(self) -> int:
        return len(self._vectors)

    def rows(self, begin: int, end: int) -> Floats:
        return self._vectors[begin:end]

    def queries(self, vectors: Floats) -> Floats:
        return vectors


class Int8Store:
    """Symmetric int8 with one scale: the 99.9th percentile of the documents' magnitudes.

    Queries are quantised with the same scale, as integer kernels do. The products are exact: up
    to 1,040 dimensions a sum of int8 products is a whole number that float32 holds.
    """

    def __init__(self, vectors: Floats) -> None:
        largest = float(np.percentile(np.abs(vectors), 99.9)) if vectors.size else 1.0
        self._scale = 127.0 / max(largest, 1e-30)  # of vectors of zeros, too, a float32
        self._codes = self.queries(vectors).astype(np.int8)
        self.nbytes = self._codes.nbytes

    def __len__(self) -> int:
        return len(self._codes)

    def rows(self, begin: int, end: int) -> Floats:
        return self._codes[begin:end].astype(np.float32)

    def queries(self, vectors: Floats) -> Floats:
        scaled: Floats = np.clip(np.rint(vectors * np.float32(self._scale)), -127, 127).astype(np.float32)
        return scaled


class BinaryStore:
    """One bit a dimension, its sign; the inner product of signs orders as the Hamming distance does."""

    def __init__(self, vectors: Floats) -> None:
        self._dim = vectors.shape[1]
        self._bits = np.packbits(vectors > 0, axis=1)
        self.nbytes = self._bits.nbytes

    def __len__(self) -> int:
        return len(self._bits)

    def rows(self, begin: int, end: int) -> Floats:
        return self.signs(np.arange(begin, min(end, len(self._bits))))

    def queries(self, vectors: Floats) -> Floats:
        signs: Floats = np.where(vectors > 0, np.float32(1), np.float32(-1))
        return signs

    def signs(self, indices: Indices) -> Floats:
        """Return documents `indices` as float32 [n, dim] of -1 and 1."""
        bits = np.unpackbits(self._bits[indices], axis=-1, count=self._dim)
        return bits.astype(np.float32) * np.float32(2) - np.float32(1)


def make_store(vectors: Floats, precision: str) -> VectorStore:
    """Return document vectors [n, dim] in the representation that `precision` names."""
    if precision == "float32":
        return Float32Store(vectors)
    if precision == "int8":
        return Int8Store(vectors)
    if precision == "binary":
        return BinaryStore(vectors)
    raise InvalidArgument(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")


def search(store: VectorStore, queries: Floats, k: int) -> Indices:
    """Find the `k` documents with the largest inner product for every query.

    Binary stores are searched for 4 k candidates by Hamming distance, which are then ordered by
    the inner product of the float32 query with the document's signs (Yamada et al. 2021,
    arXiv 2106.00882).

    Parameters
    ----------
    store : VectorStore
        n documents of dim values.
    queries : float32 [q, dim]
    k : int
        At least 1; fewer are returned when there are fewer documents.

    Returns
    -------
    int64 [q, min(k, n)]
        Document positions, best first; equal scores in corpus order.
    """
    found = np.empty((len(queries), min(k, len(store))), dtype=np.int64)
    for begin in range(0, len(queries), _QUERY_BLOCK):
        block = queries[begin : begin + _QUERY_BLOCK]
        if isinstance(store, BinaryStore):
            candidates = _top_k(store, block, _RESCORE * k)
            found[begin : begin + len(block)] = _rescore(store, block, candidates, found.shape[1])
        else:
            found[begin : begin + len(block)] = _top_k(store, block, k)
    return found


def _top_k(store: VectorStore, queries: Floats, k: int) -> Indices:
    prepared = store.queries(queries)
    best_scores = np.empty((len(queries), 0), dtype=np.float32)
    best: Indices = np.empty((len(queries), 0), dtype=np.int64)
    for begin in range(0, len(store), _DOCUMENT_BLOCK):
        scores = _products(prepared, store.rows(begin, begin + _DOCUMENT_BLOCK))
        positions = np.broadcast_to(np.arange(begin, begin + scores.shape[1]), scores.shape)
        best_scores, best = _keep_best(np.hstack([best_scores, scores]), np.hstack([best, positions]), k)
    return best


def _products(queries: Floats, documents: Floats) -> Floats:
    """Inner products [q, d], by PyTorch: NumPy's own threads would fight with those of the encoder."""
    products: Floats = (torch.from_numpy(queries) @ torch.from_numpy(documents).T).numpy()
    return products


def _rescore(store: BinaryStore, queries: Floats, candidates: Indices, k: int) -> Indices:
    scores = (
        np.stack([store.signs(row) @ query for query, row in zip(queries, candidates, strict=True)])
        if len(queries)
        else np.empty(candidates.shape, dtype=np.float32)
    )
    return _keep_best(scores, candidates, k)[1]


def _keep_best(scores: Floats, positions: Indices, k: int) -> tuple[Floats, Indices]:
    """Keep the k largest scores of every row, best first; equal scores by position."""
    if scores.shape[1] > k:
        # Everything that ties with the k-th best has to be seen, or the cut would be arbitrary.
        threshold = np.partition(scores, -k, axis=1)[:, -k, None]
        most = int((scores >= threshold).sum(axis=1).max())
        kept = np.argpartition(-scores, most - 1, axis=1)[:, :most]
        scores, positions = np.take_along_axis(scores, kept, 1), np.take_along_axis(positions, kept, 1)
    order = np.lexsort((positions, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
