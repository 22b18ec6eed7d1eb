"""What a search gives."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from taesr.document import Scalar


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit stands where it does.

    Attributes
    ----------
    contributions
        What each head adds to the score, by head; `sum` of the values is the score exactly.
    terms
        Terms, as they are indexed, that the chunk shares with the query, and what each adds to its BM25
        score.
    depth
        Recursions of the passage's embedding; 0 for embedders without recursion.
    redundancy
        With `mmr`: its largest cosine with an earlier hit; else None.
    pieces
        Of models with a sparse head: vocabulary pieces and what each adds to the product of the query's
        and the passage's sparse vectors, largest first; else None.
    token_pairs
        Of models with a late-interaction head: (token of the query, the passage's token nearest to it,
        their cosine), largest first; else None, and None for passages longer than one pass.
    """

    contributions: dict[str, float]
    terms: list[tuple[str, float]]
    depth: int
    redundancy: float | None = None
    pieces: list[tuple[str, float]] | None = None
    token_pairs: list[tuple[str, str, float]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without what there is not."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """One chunk that a search found.

    Attributes
    ----------
    document, title, source, metadata
        Of the document: its id, title, where a person can open it, and its values.
    section, text, begin, end
        Headings above the chunk, its text, and its bytes in the document's UTF-8 text.
    score
        The head's own score, or the fused one of a hybrid search; higher is better.
    ranks, scores
        By head ("dense": cosine, "keyword": BM25, "sparse": product of sparse vectors, "late": sum of the
        query tokens' largest products), of the heads that found it; ranks from 1. Weighted fusion has the
        scores of all heads.
    chunk_id
        Of the chunk; with `expand`, of the one that was found.
    joined
        With `expand`: ids of all chunks in text, begin and end.
    explanation
        With `explain`.
    """

    document: str
    title: str
    source: str
    metadata: dict[str, Scalar]
    section: str
    text: str
    begin: int
    end: int
    score: float
    ranks: dict[str, int]
    scores: dict[str, float]
    chunk_id: int
    joined: tuple[int, ...] = ()
    explanation: Explanation | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits of a search, best first.

    Attributes
    ----------
    hits
        Best first; with `mmr` in the order that it chose them.
    depth
        Recursions used for the query; 0: none needed.
    timings
        Milliseconds: encode, retrieve, total. In a batch, "encode" is the query's share.
    fusion
        Of a hybrid search: {"method": "rrf", "k": 60.0} or {"method": "weighted", "weights": {...}}; else
        empty.
    router_probabilities
        With `explain` and depth "auto", for models with a router: how probably depth easy, medium or hard
        is the least that is enough for the query.
    """

    hits: list[Hit]
    depth: int
    timings: dict[str, float]
    fusion: dict[str, Any] = dataclasses.field(default_factory=dict)
    router_probabilities: dict[str, float] | None = None

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)
