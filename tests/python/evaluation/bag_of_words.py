"""An encoder for tests of the evaluation: hashed bags of words, so that figures are real but small."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

MAX_TOKENS = 6


@dataclass
class FakeEncoded:
    """What `encode_detailed` returns."""

    embeddings: npt.NDArray[np.float32]
    depths: list[int]
    token_counts: list[int]
    windows: list[int]
    truncated: int


@dataclass
class BagOfWordsEncoder:
    """Sums one random direction a word; remembers how it was called."""

    calls: list[tuple[int, str, str | int, int | None, str]] = field(default_factory=list)
    config: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            hidden_size=8,
            intermediate_size=16,
            shared_layers=2,
            embedding_size=64,
            max_position_embeddings=MAX_TOKENS + 2,
            matryoshka_dimensions=[16, 64],
            recursion_steps={"easy": 1, "medium": 3, "hard": 6},
        )
    )
    dimension: int = 64
    fingerprint: str = "fa4e"
    precision: str = "float32"
    source: str = "/models/fake"

    def encode_detailed(
        self,
        texts: Sequence[str],
        *,
        role: str = "passage",
        depth: str | int = "auto",
        dim: int | None = None,
        on_overflow: str = "chunk",
        max_tokens: int | None = None,
    ) -> FakeEncoded:
        """Encode `texts`; "auto" and names become one depth each, as in the real encoder."""
        self.calls.append((len(texts), role, depth, dim, on_overflow))
        words = [text.lower().split() for text in texts]
        read = [found[: max_tokens or MAX_TOKENS] if on_overflow == "truncate" else found for found in words]
        vectors = np.array([self._vector(found)[: dim or self.dimension] for found in read], np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        recursions = self.config.recursion_steps.get(depth, 3) if isinstance(depth, str) else depth
        return FakeEncoded(
            embeddings=vectors,
            depths=[recursions] * len(texts),
            token_counts=[len(found) for found in words],
            windows=[1] * len(texts),
            truncated=sum(len(a) < len(b) for a, b in zip(read, words, strict=True)),
        )

    def encode(self, texts: Sequence[str], **options: object) -> npt.NDArray[np.float32]:
        """Encode `texts` to vectors alone."""
        return self.encode_detailed(texts, **options).embeddings  # type: ignore[arg-type]

    def _vector(self, words: Sequence[str]) -> npt.NDArray[np.float64]:
        rows = [
            np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.dimension) for word in words
        ]
        return np.sum(rows, axis=0) if rows else np.ones(self.dimension)
