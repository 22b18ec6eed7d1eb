"""Depth "auto" beside a random router with the same histogram of depths, and the deepest depth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from taesr.errors import InvalidArgument
from taesr.evaluation.ablation_cells import QUALITY, Cell, Depth, Encodings, measure, slice_vectors
from taesr.evaluation.beir import RetrievalDataset
from taesr.evaluation.exact import Floats
from taesr.evaluation.retrieval import EncodedTexts
from taesr.evaluation.routing import random_router_curve
from taesr.evaluation.significance import PairedTest, paired_test

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RouterResult:
    """Depth "auto" beside a random router and the deepest depth, on one set, at full size.

    Attributes
    ----------
    mean_depth : float
        Over all texts that were routed: queries, and documents unless their depth is fixed.
    quality, random_quality, deepest_quality : float
        Mean nDCG@10; the random router's over its trials.
    random_deviation : float
        Standard deviation of the random routers' means.
    per_query : dict of str to (float, float, float)
        nDCG@10 of router, random router (mean of the trials) and deepest depth.
    """

    dataset: str
    mean_depth: float
    query_depth: float
    document_depth: float
    quality: float
    random_quality: float
    random_deviation: float
    deepest_quality: float
    per_query: dict[str, tuple[float, float, float]]

    def against_random(self) -> PairedTest:
        """Router less random router."""
        return paired_test(*self._columns(0, 1))

    def against_deepest(self) -> PairedTest:
        """Router less deepest depth."""
        return paired_test(*self._columns(0, 2))

    def _columns(self, *columns: int) -> tuple[list[float], ...]:
        return tuple([row[column] for row in self.per_query.values()] for column in columns)


def compare_router(
    dataset: RetrievalDataset, encodings: Encodings, cells: Sequence[Cell], *, trials: int
) -> RouterResult:
    """Compare at the largest slice and the first precision of `cells`, which are all those of `dataset`.

    Where documents are routed too, every trial shuffles both sides and searches anew; where their depth
    is fixed, the cells of the fixed depths hold every answer already.

    Raises
    ------
    InvalidArgument
        The router used a depth that has no cell.
    """
    dim, precision = max(cell.dim for cell in cells), cells[0].precision
    runs = {
        cell.depth: [cell.per_query[query][QUALITY] for query in dataset.query_ids]
        for cell in cells
        if (cell.dim, cell.precision) == (dim, precision)
    }
    fixed = {depth: values for depth, values in runs.items() if isinstance(depth, int)}
    sides = [side["auto"] for side in (encodings.queries, encodings.documents) if "auto" in side]
    routed = [depth for side in sides for depth in side.depths]
    unmeasured = set(routed) - set(fixed)
    if unmeasured:
        raise InvalidArgument(
            f"the router used depth {min(unmeasured)}, which is not measured; add it to the depths"
        )
    query_depths = encodings.queries["auto"].depths
    if "auto" in encodings.documents:
        table = _random_trials(dataset, encodings, dim, precision, trials)
        chance, means = table.mean(axis=0), table.mean(axis=1)
    else:
        random = random_router_curve(fixed, query_depths)
        chance, means = random.per_query, random.trials
    rows = zip(dataset.query_ids, runs["auto"], chance, fixed[max(fixed)], strict=True)
    documents = encodings.documents.get("auto", next(iter(encodings.documents.values())))
    return RouterResult(
        dataset=dataset.name,
        mean_depth=float(np.mean(routed)),
        query_depth=float(np.mean(query_depths)),
        document_depth=float(np.mean(documents.depths)),
        quality=float(np.mean(runs["auto"])),
        random_quality=float(np.mean(chance)),
        random_deviation=float(np.std(means)),
        deepest_quality=float(np.mean(fixed[max(fixed)])),
        per_query={query: (auto, float(luck), deepest) for query, auto, luck, deepest in rows},
    )


def _random_trials(
    dataset: RetrievalDataset, encodings: Encodings, dim: int, precision: str, trials: int
) -> _Floats:
    """Shuffle the router's depths over queries and over documents; nDCG@10 [trials, queries]."""
    generator = np.random.default_rng(0)

    def shuffled(by_depth: dict[Depth, EncodedTexts]) -> Floats:
        depths = generator.permutation(by_depth["auto"].depths)
        vectors = np.empty_like(by_depth["auto"].vectors)
        for depth in set(depths.tolist()):
            vectors[depths == depth] = by_depth[depth].vectors[depths == depth]
        return slice_vectors(vectors, dim)

    table = np.empty((trials, len(dataset.query_ids)))
    for trial in range(trials):
        queries, documents = shuffled(encodings.queries), shuffled(encodings.documents)
        per_query, _ = measure(dataset, queries, documents, precision)
        table[trial] = [per_query[query][QUALITY] for query in dataset.query_ids]
    return table
