"""Paired comparisons."""

import itertools

import numpy as np
import pytest
from scipy import stats

from taesr.errors import InvalidArgument
from taesr.evaluation.significance import paired_test


def test_p_value_is_that_of_every_sign_flip() -> None:
    differences = np.array([0.3, 0.1, 0.25, -0.05, 0.4, 0.2, 0.0, 0.15])
    flips = np.array(list(itertools.product([-1, 1], repeat=len(differences))))
    exact = np.mean(np.abs(flips @ differences) >= abs(differences.sum()) - 1e-12)
    found = paired_test(list(differences), [0.0] * len(differences), trials=40_000)
    assert found.p_value == pytest.approx(exact, abs=0.004)
    assert found.difference == pytest.approx(differences.mean())


def test_large_sample_agrees_with_the_t_test() -> None:
    generator = np.random.default_rng(3)
    second = generator.normal(size=400)
    first = second + generator.normal(0.08, 0.7, size=400)
    found, reference = paired_test(list(first), list(second)), stats.ttest_rel(first, second)
    interval = reference.confidence_interval()
    assert found.p_value == pytest.approx(reference.pvalue, abs=0.015)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.01)


def test_chance_alone_is_found_significant_in_five_percent_of_cases() -> None:
    generator = np.random.default_rng(4)
    values = [paired_test(list(generator.normal(size=30)), [0.0] * 30, trials=400) for _ in range(300)]
    assert 0.02 < np.mean([value.p_value <= 0.05 for value in values]) < 0.09


def test_equal_systems_have_a_p_value_of_one() -> None:
    found = paired_test([0.2, 0.4], [0.2, 0.4])
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_repeated_calls_agree() -> None:
    first, second = list(np.linspace(0, 1, 50)), list(np.linspace(0.1, 0.9, 50) ** 2)
    assert paired_test(first, second) == paired_test(first, second)


@pytest.mark.parametrize(("first", "second", "trials"), [([1.0], [], 10), ([], [], 10), ([1.0], [1.0], 0)])
def test_wrong_arguments_are_refused(first: list[float], second: list[float], trials: int) -> None:
    with pytest.raises(InvalidArgument):
        paired_test(first, second, trials=trials)
