"""Fakes of the encoder and the collection, with the interface that commands use."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from taesr.errors import InvalidArgument

DIMENSION = 8


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


class FakeEncoder:
    """Vectors made from the length of a text."""

    loaded: ClassVar[list[Path | None]] = []
    streams: ClassVar[list[tuple[float | None, int]]] = []
    dimension = DIMENSION
    max_tokens = 254
    fingerprint = "fa4e"
    precision = "float32"
    device = "cpu"
    source = Path("/models/fake")
    config = SimpleNamespace(
        hidden_size=8,
        intermediate_size=16,
        shared_layers=2,
        embedding_size=DIMENSION,
        max_position_embeddings=256,
        matryoshka_dimensions=[4, 8],
        recursion_steps={"easy": 1, "medium": 3, "hard": 6},
    )

    @classmethod
    def load(cls, path: Path | None = None, *, precision: str = "auto", device: str = "cpu") -> Self:
        """Remember what was asked for."""
        cls.loaded.append(path)
        return cls()

    def encode_detailed(
        self,
        texts: Sequence[str],
        *,
        role: str = "passage",
        depth: str | int = "auto",
        dim: int | None = None,
        on_overflow: str = "chunk",
        max_tokens: int | None = None,
    ) -> SimpleNamespace:
        """Return unit vectors; dimensions that the model lacks are refused as the library does."""
        if dim is not None and dim > DIMENSION:
            raise InvalidArgument(f"dim is {dim}; allowed: 1 to {DIMENSION}")
        angles = np.array([[len(text) + (role == "query")] for text in texts], np.float32)
        vectors = np.cos(angles * np.arange(1, (dim or DIMENSION) + 1, dtype=np.float32))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        recursions = depth if isinstance(depth, int) else self.config.recursion_steps.get(depth, 3)
        return SimpleNamespace(
            embeddings=vectors,
            depths=[recursions] * len(texts),
            token_counts=[len(text.split()) for text in texts],
            windows=[1 if on_overflow == "truncate" else max(1, len(text.split()) // 100) for text in texts],
            truncated=sum(on_overflow == "truncate" and len(text.split()) >= 200 for text in texts),
        )

    def encode_iter(
        self, texts: Iterable[str], *, max_flops: float | None = None, processes: int = 1, **options: Any
    ) -> Iterator[SimpleNamespace]:
        """Return what `encode_detailed` does for every two texts, reading no further; remember the rest."""
        self.streams.append((max_flops, processes))
        remaining = iter(texts)
        while piece := list(itertools.islice(remaining, 2)):
            yield self.encode_detailed(piece, **options)

    def encode(self, texts: Sequence[str], **options: Any) -> np.ndarray:
        """Return vectors alone."""
        return self.encode_detailed(texts, **options).embeddings


def hit(document: str, text: str, score: float) -> SimpleNamespace:
    """Return a search hit."""
    return SimpleNamespace(
        document=document,
        section="Account > Security",
        text=text,
        score=score,
        ranks={"dense": 1, "keyword": 2},
        scores={"dense": 0.75, "keyword": 4.5},
        title="A title",
        source=f"/docs/{document}",
        metadata={"format": "markdown"},
        begin=10,
        end=10 + len(text),
        chunk_id=1,
        joined=(),
        explanation=None,
    )


class FakeCollection:
    """Answers with what its class attributes say."""

    opened: ClassVar[list[tuple[Path, dict[str, Any]]]] = []
    calls: ClassVar[list[tuple[str, Any, dict[str, Any]]]] = []
    notes: ClassVar[list[str]] = []
    hits: ClassVar[list[SimpleNamespace]] = [hit("a.md", "Choose  forgotten\npassword.", 0.5)]
    report = SimpleNamespace(added=2, updated=0, unchanged=1, removed=0, skipped=0, chunks=7, failed=[])
    document_count = 3
    chunk_count = 9
    heads: ClassVar[list[str]] = ["dense", "keyword"]

    @classmethod
    def open(cls, directory: Path, **options: Any) -> Self:
        """Remember what was asked for."""
        cls.opened.append((directory, options))
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def search(self, query: str, **options: Any) -> SimpleNamespace:
        """Return `hits`."""
        self.calls.append(("search", query, options))
        timings = {"encode": 1.0, "retrieve": 0.5, "total": 1.5}
        return SimpleNamespace(
            hits=self.hits,
            depth=3,
            timings=timings,
            fusion={"method": "rrf", "k": 60.0},
            router_probabilities=None,
        )

    def add_heads(self, heads: Sequence[str], **options: Any) -> int:
        """Remember what was asked for."""
        self.calls.append(("add_heads", heads, options))
        options["progress"](1, 2)
        return 2

    def ingest(self, paths: Sequence[Path], **options: Any) -> SimpleNamespace:
        """Return `report`."""
        self.calls.append(("ingest", paths, options))
        options["progress"](1, 2)
        return self.report
