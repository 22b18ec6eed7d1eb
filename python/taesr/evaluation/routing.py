"""Does a depth router know anything, or would a coin with the same mean depth do as well?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from taesr.errors import InvalidArgument
from taesr.evaluation.significance import PairedTest, paired_test

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RandomRouter:
    """A router that hands out the same depths, to queries chosen at random.

    Attributes
    ----------
    mean_depth : float
    quality : float
        Mean over queries and trials.
    deviation : float
        Standard deviation of the trials' means.
    trials : float64 [trials]
        Mean over the queries, by trial.
    per_query : float64 [queries]
        What a query can expect: the mean of its values at the depths, weighted with their shares.
    """

    mean_depth: float
    quality: float
    deviation: float
    trials: _Floats
    per_query: _Floats


@dataclass(frozen=True)
class RouterPoint:
    """A router beside a random one of equal mean depth.

    Attributes
    ----------
    mean_depth, quality : float
        Of the router.
    random : RandomRouter
        With the same histogram of depths.
    test : PairedTest
        Router less random router, by query.
    """

    mean_depth: float
    quality: float
    random: RandomRouter
    test: PairedTest


def random_router_curve(
    per_depth_runs: Mapping[int, Sequence[float]],
    depths_used: Sequence[int],
    trials: int = 1000,
    *,
    seed: int = 0,
) -> RandomRouter:
    """Assign depths at random with the histogram that a router had.

    Parameters
    ----------
    per_depth_runs : mapping
        Depth to the value of every query at that depth, in one order of queries.
    depths_used : sequence of int
        The depth that the router gave each query, in the same order.
    trials : int
        Random assignments, each a permutation of `depths_used`.

    Raises
    ------
    InvalidArgument
        A depth without a run, runs of different lengths, no queries or no trials.
    """
    values, columns = _table(per_depth_runs, depths_used)
    if trials < 1:
        raise InvalidArgument(f"trials is {trials}; it must be at least 1")
    generator = np.random.default_rng(seed)
    rows = np.arange(len(columns))
    means = np.array([values[rows, generator.permutation(columns)].mean() for _ in range(trials)])
    shares = np.bincount(columns, minlength=values.shape[1]) / len(columns)
    expected = values @ shares
    return RandomRouter(
        mean_depth=float(np.mean(depths_used)),
        quality=float(expected.mean()),
        deviation=float(means.std()),
        trials=means,
        per_query=expected,
    )


def router_point(
    per_depth_runs: Mapping[int, Sequence[float]],
    depths_used: Sequence[int],
    *,
    trials: int = 1000,
    seed: int = 0,
) -> RouterPoint:
    """Compare a router with a random one; arguments as in `random_router_curve`."""
    values, columns = _table(per_depth_runs, depths_used)
    routed = values[np.arange(len(columns)), columns]
    chance = random_router_curve(per_depth_runs, depths_used, trials, seed=seed)
    return RouterPoint(
        mean_depth=chance.mean_depth,
        quality=float(routed.mean()),
        random=chance,
        test=paired_test(list(routed), list(chance.per_query), seed=seed),
    )


def router_curve(
    per_depth_runs: Mapping[int, Sequence[float]],
    probabilities: npt.NDArray[np.floating],
    penalties: Sequence[float],
    *,
    trials: int = 1000,
) -> list[RouterPoint]:
    """Trade quality for depth: one point for each price of a recursion.

    Parameters
    ----------
    per_depth_runs : mapping
        As in `random_router_curve`.
    probabilities : float [queries, depths]
        The router's, columns by ascending depth, rows adding up to 1.
    penalties : sequence of float
        Each query takes the depth with the largest ``log(probability) - penalty * depth``; 0 is the
        router as it is, larger prices move it to smaller depths, negative ones to larger.

    Returns
    -------
    list of RouterPoint, by penalty
    """
    depths = np.array(sorted(per_depth_runs))
    if probabilities.ndim != 2 or probabilities.shape[1] != len(depths):
        raise InvalidArgument(
            f"probabilities has the shape {probabilities.shape}; it needs {len(depths)} columns, one a depth"
        )
    scores = np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
    chosen = [depths[np.argmax(scores - penalty * depths, axis=1)] for penalty in penalties]
    return [router_point(per_depth_runs, [int(d) for d in row], trials=trials) for row in chosen]


def oracle_depths(per_depth_runs: Mapping[int, Sequence[float]]) -> list[int]:
    """Return, for each query, the smallest depth whose value is at least that of the deepest."""
    depths = sorted(per_depth_runs)
    values, _ = _table(per_depth_runs, [depths[0]] * len(per_depth_runs[depths[0]]))
    return [depths[int(np.argmax(row >= row[-1]))] for row in values]


def _table(
    per_depth_runs: Mapping[int, Sequence[float]], depths_used: Sequence[int]
) -> tuple[_Floats, npt.NDArray[np.int64]]:
    """Return values [queries, depths] by ascending depth, and the column of each query's depth."""
    depths = sorted(per_depth_runs)
    if len(depths_used) == 0:
        raise InvalidArgument("there are no queries to route")
    for depth in depths:
        if len(per_depth_runs[depth]) != len(depths_used):
            raise InvalidArgument(
                f"depth {depth} has {len(per_depth_runs[depth])} values for {len(depths_used)} queries"
            )
    missing = set(depths_used) - set(depths)
    if missing:
        raise InvalidArgument(f"depth {min(missing)} was used, but there is no run of that depth")
    values = np.array([per_depth_runs[depth] for depth in depths], dtype=np.float64).T
    return values, np.searchsorted(depths, depths_used)
