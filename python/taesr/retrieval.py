"""Fusing ranked lists, and fitting the weights of a fusion on queries whose answers are known.

Plain reciprocal rank fusion loses to its best part where the other is much weaker; weights fitted on a
few dozen queries of the kind that users ask make up for that::

    fit = taesr.retrieval.fit_fusion(kb, queries, qrels)
    fit.save("weights.json")
    kb.search("reset password", weights="weights.json")
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from taesr._native import core
from taesr.encoder import Encoder, clean_text
from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.searching import Fusion, SearchOptions

if TYPE_CHECKING:
    from taesr.collection import Collection

Floats = npt.NDArray[np.float64]
Run = Mapping[str, Mapping[str, float]]  # query id to document id to score
Qrels = Mapping[str, Mapping[str, int]]  # query id to document id to grade

STEPS = {1: 1, 2: 20, 3: 12, 4: 10}  # of the grid, by number of heads
PLATEAU = 0.002  # weights whose nDCG is this near to the best one's are as good: their mean is taken
_CUT = 10
_RRF_K = 60
_CANDIDATES = 100  # of each head, as in a search
_FORMAT = "taesr-fusion"
_OF_MODEL = "fusion.json"  # beside a model, of the collection's heads that its weights name


@dataclasses.dataclass(frozen=True)
class Fused:
    """One document of a fused list, with what each head adds to its score, in the order of the heads."""

    document: str
    score: float
    shares: dict[str, float]


def fuse(
    lists: Mapping[str, Mapping[str, float]],
    *,
    method: Fusion = "rrf",
    weights: Mapping[str, float] | None = None,
    rrf_k: float = 60.0,
) -> list[Fused]:
    """Fuse one query's ranked lists.

    Parameters
    ----------
    lists
        Head to document id to score, higher is better; equal scores in the order given.
    method, weights, rrf_k
        As the fields of `SearchOptions`. A document that a list lacks gets nothing from it with "rrf",
        and the list's lowest score with "weighted".

    Returns
    -------
    list of Fused
        Best first; equal scores in the order in which the documents are first named.
    """
    numbers: dict[str, int] = {}
    for scores in lists.values():
        for document in scores:
            numbers.setdefault(document, len(numbers))
    names = list(numbers)
    ids, scores_, shares = core.fuse(
        [(head, _to_arrays(scores, numbers)) for head, scores in lists.items()],
        method=method,
        weights=dict(weights or {}),
        rrf_k=rrf_k,
    )
    return [
        Fused(names[number], float(score), dict(zip(lists, map(float, row), strict=True)))
        for number, score, row in zip(ids, scores_, shares, strict=True)
    ]


def _to_arrays(
    scores: Mapping[str, float], numbers: Mapping[str, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Ids and scores, best first."""
    ranked = sorted(scores.items(), key=lambda entry: -entry[1])
    ids = np.array([numbers[document] for document, _ in ranked], np.int64)
    return ids, np.array([score for _, score in ranked], np.float32)


@dataclasses.dataclass(frozen=True)
class FusionWeights:
    """Weights of a weighted fusion, and what they were fitted on.

    Attributes
    ----------
    weights
        By head; they add up to 1.
    quality
        nDCG@10 on the queries that they were fitted on: "weighted", "rrf" (equal weights, k = 60) and each
        head by its name. Of queries that were not used, see `cross_fit`.
    queries
        How many queries they were fitted on.
    """

    weights: dict[str, float]
    quality: dict[str, float] = dataclasses.field(default_factory=dict)
    queries: int = 0

    def save(self, path: str | Path) -> None:
        """Write JSON that `load` and every search read."""
        text = json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=2)
        try:
            Path(path).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise IoError(f"cannot write {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; a plain JSON object of weights by head will do, too."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise IoError(f"cannot read the weights in {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise FormatError(f"{path} is not JSON: {error}") from error
        try:
            stored = json.loads(text)
        except ValueError as error:
            raise FormatError(f"{path} is not JSON: {error}") from error
        if isinstance(stored, dict) and stored.get("format") != _FORMAT:
            stored = {"weights": stored}
        weights = stored.get("weights") if isinstance(stored, dict) else None
        if not isinstance(weights, dict) or not weights or not all(map(_is_weight, weights.values())):
            raise FormatError(f'{path} has no weights, such as {{"dense": 0.6, "keyword": 0.4}}')
        return cls(
            {head: float(weight) for head, weight in weights.items()},
            dict(stored.get("quality", {})),
            int(stored.get("queries", 0)),
        )


def weights_of_model(encoder: Encoder) -> FusionWeights | None:
    """Weights that come with a model, in the file fusion.json in its folder; None where there are none.

    They are for collections that have the heads which they name, no more and no less.
    """
    path = encoder.source / _OF_MODEL
    return FusionWeights.load(path) if path.exists() else None


def _is_weight(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )


def fit_fusion(
    source: "Collection | Mapping[str, Run]",
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    depth: str | int = "auto",
) -> FusionWeights:
    """Fit the weights of a weighted fusion to the best mean nDCG@10.

    Parameters
    ----------
    source
        A collection, whose heads are searched; or lists of any heads, as head to query
        id to document id to score. Lists should have the scores of all heads for the candidates of each.
    queries
        Query id to text. With lists the texts are not looked at.
    qrels
        Query id to document id to grade, 1 or more for what is relevant. Queries without a relevant
        document say nothing and are left out.
    depth
        Of the queries' embeddings, as later searches will have it.

    Returns
    -------
    FusionWeights

    Raises
    ------
    InvalidArgument
        No query has a relevant document, or there are more than four heads.

    Notes
    -----
    All weights of a grid are tried, so there is no local optimum to be caught in, and the mean of those
    that are within 0.2 points of the best is taken, which depends less on single queries.
    """
    judged = _judged(queries, qrels)
    if not judged:
        raise InvalidArgument("no query has a relevant document; qrels need grades of 1 or more")
    heads, cases = _read(source, judged, qrels, depth)
    return _fit(heads, cases)


def cross_fit(
    source: "Collection | Mapping[str, Run]",
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    folds: int = 2,
    depth: str | int = "auto",
) -> dict[str, float]:
    """Mean nDCG@10 of each method, where no query is measured with weights that it was fitted on.

    Queries are dealt to the folds in their order, one after the other. Parameters are those of
    `fit_fusion`; the result has the entries of `FusionWeights.quality`.
    """
    judged = _judged(queries, qrels)
    if not 2 <= folds <= len(judged):
        raise InvalidArgument(f"folds is {folds}; allowed: 2 to {len(judged)} (queries with an answer)")
    heads, cases = _read(source, judged, qrels, depth)
    fits = [_fit(heads, [c for i, c in enumerate(cases) if i % folds != fold]) for fold in range(folds)]
    weighted = []
    for index, case in enumerate(cases):
        weights = np.array([[fits[index % folds].weights[head] for head in heads]])
        weighted.append(case.weighted(weights)[0])
    return {**_quality_of_parts(heads, cases), "weighted": float(np.mean(weighted))}


def _judged(queries: Mapping[str, str], qrels: Qrels) -> dict[str, str]:
    """Queries with a relevant document."""
    return {
        query: text for query, text in queries.items() if any(g > 0 for g in qrels.get(query, {}).values())
    }


@dataclasses.dataclass(frozen=True)
class _Case:
    """One query: what was found, in rows grouped by document.

    `starts` are the first rows of the documents, `gains` are by document. A document ranks where the best
    of its rows does.
    """

    standard: Floats  # [rows, heads], as a weighted fusion adds them
    ranks: Floats  # [rows, heads], 1 / (60 + rank), as reciprocal rank fusion adds them
    starts: npt.NDArray[np.int64]
    gains: Floats
    ideal: float  # DCG@10 of the best possible list

    def weighted(self, weights: Floats) -> Floats:
        """NDCG@10 of a weighted fusion for each row of `weights` [grid, heads]."""
        return self._ndcg(self.standard @ weights.T, -math.inf)

    def parts(self) -> Floats:
        """NDCG@10 of each head, and of reciprocal rank fusion."""
        return self._ndcg(np.c_[self.ranks, self.ranks.sum(axis=1)], 0.0)

    def _ndcg(self, rows: Floats, least: float) -> Floats:
        """NDCG@10 of each column of scores; what scores no more than `least` was not found."""
        if len(rows) == 0:
            return np.zeros(rows.shape[1])
        scores = np.maximum.reduceat(rows, self.starts, axis=0)
        order = np.argsort(-scores, axis=0, kind="stable")[:_CUT]
        gains = np.where(np.take_along_axis(scores, order, 0) > least, self.gains[order], 0.0)
        discounts = 1 / np.log2(np.arange(len(order)) + 2)
        result: Floats = discounts @ gains / self.ideal
        return result


def _fit(heads: Sequence[str], cases: Sequence[_Case]) -> FusionWeights:
    grid = np.array(list(_simplex(len(heads), STEPS[len(heads)])))
    quality = np.mean([case.weighted(grid) for case in cases], axis=0)
    chosen = grid[quality >= quality.max() - PLATEAU].mean(axis=0)
    weights = {head: round(float(weight), 4) for head, weight in zip(heads, chosen, strict=True)}
    fitted = np.array([list(weights.values())])
    figures = _quality_of_parts(heads, cases)
    figures["weighted"] = float(np.mean([case.weighted(fitted) for case in cases]))
    return FusionWeights(weights, figures, len(cases))


def _quality_of_parts(heads: Sequence[str], cases: Sequence[_Case]) -> dict[str, float]:
    means = np.mean([case.parts() for case in cases], axis=0)
    return dict(zip([*heads, "rrf"], map(float, means), strict=True))


def _simplex(heads: int, steps: int) -> Iterator[list[float]]:
    """All weights of `heads` that are multiples of 1 / steps and add up to 1."""
    for bars in combinations(range(steps + heads - 1), heads - 1):
        borders = [-1, *bars, steps + heads - 1]
        yield [(right - left - 1) / steps for left, right in pairwise(borders)]


def _read(
    source: "Collection | Mapping[str, Run]", queries: Mapping[str, str], qrels: Qrels, depth: str | int
) -> tuple[list[str], list[_Case]]:
    rows: Iterable[_Rows]
    if isinstance(source, Mapping):
        heads = list(source)
        if not 1 <= len(heads) <= max(STEPS):
            raise InvalidArgument(f"{len(heads)} heads; allowed: 1 to {max(STEPS)}")
        rows = (_rows_of_lists(source, query) for query in queries)
    else:
        heads = source.heads
        rows = _rows_of_collection(source, heads, list(queries.values()), depth)
    return heads, [_case(row, qrels[query], query) for query, row in zip(queries, rows, strict=True)]


@dataclasses.dataclass(frozen=True)
class _Rows:
    """What the heads found for one query."""

    documents: list[str]  # of each row
    standard: Floats  # [rows, heads]
    ranks: Floats  # [rows, heads], from 1; 0 where the head did not find it


def _rows_of_lists(source: Mapping[str, Run], query: str) -> _Rows:
    numbers: dict[str, int] = {}
    for run in source.values():
        for document in run.get(query, {}):
            numbers.setdefault(document, len(numbers))
    lists = [(head, _to_arrays(run.get(query, {}), numbers)) for head, run in source.items()]
    ranks = np.zeros((len(numbers), len(lists)))
    for column, (_, (ids, _scores)) in enumerate(lists):
        ranks[ids, column] = np.arange(1, len(ids) + 1)
    return _Rows(list(numbers), core.standard_scores(lists)[1], ranks)


def _rows_of_collection(
    collection: "Collection", heads: Sequence[str], queries: Sequence[str], depth: str | int
) -> Iterator[_Rows]:
    """All candidates of the heads. With weights of 1 the heads' parts are their standard scores."""
    options = core.SearchOptions(
        k=len(heads) * _CANDIDATES,
        candidates=_CANDIDATES,
        depth=str(depth),
        fusion="weighted",
        weights=dict.fromkeys(heads, 1.0),
        explain=True,
    )
    for result in core.search_batch(collection.native, [clean_text(query) for query in queries], [options]):
        hits = sorted(result.hits, key=lambda hit: hit.chunk.id)  # the order of equal scores
        parts = [why.contributions for hit in hits if (why := hit.explanation)]  # all have one
        yield _Rows(
            [hit.chunk.document for hit in hits],
            np.array([[part[head] for head in heads] for part in parts]).reshape(-1, len(heads)),
            np.array([[hit.ranks.get(head, 0) for head in heads] for hit in hits]).reshape(-1, len(heads)),
        )


def _case(rows: _Rows, judged: Mapping[str, int], query: str) -> _Case:
    # A document with the id of the query is the query itself, in sets where queries are documents.
    names = [name for name in dict.fromkeys(rows.documents) if name != query]
    place = {name: position for position, name in enumerate(names)}
    kept = [row for row, name in enumerate(rows.documents) if name in place]
    order = np.array(sorted(kept, key=lambda row: place[rows.documents[row]]), np.int64)
    owners = np.array([place[rows.documents[row]] for row in order], np.int64)
    ranks = rows.ranks[order]
    gains = sorted((float(grade) for grade in judged.values() if grade > 0), reverse=True)[:_CUT]
    return _Case(
        standard=rows.standard[order],
        ranks=np.where(ranks > 0, 1 / (_RRF_K + ranks), 0.0),
        starts=np.flatnonzero(np.diff(owners, prepend=-1)),
        gains=np.array([max(0, judged.get(name, 0)) for name in names], np.float64),
        ideal=sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains)),
    )


__all__ = [
    "Fused",
    "FusionWeights",
    "SearchOptions",
    "cross_fit",
    "fit_fusion",
    "fuse",
    "weights_of_model",
]
