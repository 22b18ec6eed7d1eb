"""Smaller vectors: scalar, binary and product quantisation, PCA, Matryoshka slices, sparsified vectors.

>>> import numpy as np
>>> from taesr.compression import VectorCodec
>>> vectors = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
>>> codec = VectorCodec.fit("int4", vectors)
>>> codes = codec.encode(vectors)
>>> codes.shape, codes.dtype
((1000, 32), dtype('uint8'))
>>> positions, scores = codec.search(vectors[:2], codes, k=3)
>>> positions[:, 0].tolist()
[0, 1]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from taesr._native import core
from taesr.errors import IoError

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


class VectorCodec:
    """Turns vectors of one dimension into codes of a fixed number of bytes, scored without decoding.

    A codec's name is a kind, after an optional ``sliceN-`` (the first N dimensions, made unit length again:
    Matryoshka) or ``pcaN-`` (the N directions of largest variance):

    =============  ==============================================================================
    ``float32``    4 bytes a dimension
    ``float16``    2 bytes a dimension, values from -65504 to 65504
    ``int8``       1 byte a dimension
    ``int4``       half a byte a dimension
    ``binary``     1 bit a dimension
    ``pqM``        M bytes: product quantisation, 256 centroids for each of M stretches of dimensions
    ``opqM``       the same after a rotation that balances the stretches
    ``topS``       the S values of largest magnitude: a bit a dimension, S bytes and a scale of 4
    =============  ==============================================================================

    int8, int4 and binary have a centre and a step for each dimension, fitted to the sample; values outside
    of its range become the nearest that has a code. Scores are inner products of float32 queries with the
    decoded vectors, computed with AVX-512 or AVX2 where the processor has them.

    Notes
    -----
    Product quantisation is Jegou et al. 2011, its rotation Ge et al. 2013 (eigenvalue allocation). Methods
    may be called from several threads at once.
    """

    def __init__(self, native: core.VectorCodec) -> None:
        self._native = native

    @classmethod
    def fit(
        cls, name: str, sample: Floats, *, seed: int = 1, iterations: int = 20, max_rows: int = 16384
    ) -> Self:
        """Fit the codec called `name`.

        Parameters
        ----------
        sample : float32 [n, dimension]
            Vectors like those that the codec is for: at least 256 for pq and opq, 2 for pca.
        seed : int
            Of the start of k-means.
        iterations : int
            Of k-means, 1 to 1000.
        max_rows : int
            How many rows of the sample are looked at, evenly spread; at least 256.

        Raises
        ------
        InvalidArgument
            The name is none, a value is not finite, or the sample is too small.
        """
        return cls(core.VectorCodec.fit(name, sample, seed, iterations, max_rows))

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str = "codec") -> Self:
        """Return the codec that `to_bytes` wrote; `source` is for messages.

        Raises
        ------
        FormatError
            Also as VersionError or ChecksumError: the bytes are of another version, or damaged.
        """
        return cls(core.VectorCodec.load(data, source))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the codec that `save` wrote."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise IoError(f"cannot read '{path}': {error.strerror}") from error
        return cls.from_bytes(data, source=str(path))

    def to_bytes(self) -> bytes:
        """Everything that the codec was fitted to, with a version and a checksum."""
        return self._native.save()

    def save(self, path: str | Path) -> None:
        """Write `to_bytes` to a file."""
        try:
            Path(path).write_bytes(self.to_bytes())
        except OSError as error:
            raise IoError(f"cannot write '{path}': {error.strerror}") from error

    @property
    def name(self) -> str:
        """As given to `fit`."""
        return self._native.name

    @property
    def dimension(self) -> int:
        """Values of a vector."""
        return self._native.dimension

    @property
    def code_size(self) -> int:
        """Bytes of a code."""
        return self._native.code_size

    @property
    def ratio(self) -> float:
        """How many times smaller codes are than float32 vectors."""
        return 4 * self.dimension / self.code_size

    def encode(self, vectors: Floats) -> Codes:
        """Return the codes of `vectors` [n, dimension] as uint8 [n, code_size]."""
        return self._native.encode(vectors)

    def decode(self, codes: Codes) -> Floats:
        """Return approximations float32 [n, dimension]; dimensions that a slice leaves out are zero."""
        return self._native.decode(codes)

    def score(self, queries: Floats, codes: Codes) -> Floats:
        """Return inner products float32 [q, n] of `queries` [q, dimension] with `codes` [n, code_size].

        Raises
        ------
        InvalidArgument
            Shapes that are not the codec's, or values that are not finite.
        FormatError
            Damaged codes.
        """
        return self._native.score(queries, codes)

    def search(
        self, queries: Floats, codes: Codes, *, k: int = 10, rescore: int = 0
    ) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return positions int64 [q, min(k, n)] and scores of the best codes, equal scores by position.

        Parameters
        ----------
        rescore : int
            Binary codecs only: score no more than the ``rescore * k`` codes (and those as near as the last
            of them) with the fewest bits that differ from the query's (Yamada et al. 2021,
            arXiv 2106.00882); 0 scores all.
        """
        positions, scores = self._native.search(queries, codes, k, rescore)
        return positions, scores

    def __repr__(self) -> str:
        return f"VectorCodec({self.name!r}, dimension={self.dimension}, code_size={self.code_size})"


def parse_names(text: str) -> list[str]:
    """Return the names in a list with commas, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


DEFAULT_NAMES: Sequence[str] = (
    "float16",
    "int8",
    "pca256-int8",
    "int4",
    "pca128-int8",
    "slice128-int8",
    "pca256-int4",
    "opq96",
    "opq48",
    "pq48",
    "top96",
    "binary",
)

__all__ = ["DEFAULT_NAMES", "VectorCodec", "parse_names"]
