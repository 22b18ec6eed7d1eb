"""Is one system better than another on the same queries, or was it luck?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taesr.errors import InvalidArgument

_BLOCK = 1 << 20  # random numbers held at a time


@dataclass(frozen=True)
class PairedTest:
    """What a paired comparison showed.

    Attributes
    ----------
    difference : float
        Mean of the first system's values less that of the second's.
    low, high : float
        95 percent interval of the difference, by a bootstrap over the queries.
    p_value : float
        Of a two-sided sign-flip permutation test: how often a difference as large arises where the
        two systems are interchangeable. Never zero: at least 1 / (trials + 1).
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired_test(
    first: Sequence[float], second: Sequence[float], *, trials: int = 10_000, seed: int = 0
) -> PairedTest:
    """Compare two systems by their values on the same queries.

    The randomisation test that Smucker et al. (2007, doi:10.1145/1321440.1321528) recommend for
    retrieval measures; repeated calls give the same figures.

    Raises
    ------
    InvalidArgument
        Lists of different lengths, empty ones, or no trials.
    """
    if len(first) != len(second) or len(first) == 0:
        raise InvalidArgument(
            f"{len(first)} and {len(second)} values; a paired test needs equal numbers from 1 on"
        )
    if trials < 1:
        raise InvalidArgument(f"trials is {trials}; it must be at least 1")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    observed = float(differences.mean())
    generator = np.random.default_rng(seed)
    flipped, resampled = [], []
    count, block = len(differences), max(1, _BLOCK // len(differences))
    for begin in range(0, trials, block):
        rows = min(block, trials - begin)
        signs = 2.0 * generator.integers(0, 2, (rows, count)) - 1.0
        flipped.append(signs @ differences / count)
        resampled.append(differences[generator.integers(0, count, (rows, count))].mean(axis=1))
    # Sums of floats in another order differ in their last bits: they count as equal.
    extreme = int((np.abs(np.concatenate(flipped)) >= abs(observed) - 1e-12).sum())
    low, high = np.percentile(np.concatenate(resampled), [2.5, 97.5])
    return PairedTest(observed, float(low), float(high), (extreme + 1) / (trials + 1))
