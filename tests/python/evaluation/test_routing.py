"""Routers beside random ones."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from taesr.errors import InvalidArgument
from taesr.evaluation.plots import write_router_curve
from taesr.evaluation.routing import oracle_depths, random_router_curve, router_curve, router_point

RUNS = {1: [0.0, 1.0, 0.5, 0.2], 3: [0.5, 1.0, 0.5, 0.1], 6: [1.0, 1.0, 0.0, 0.2]}


def test_random_router_is_the_mean_over_every_assignment_of_the_histogram() -> None:
    used = [6, 1, 1, 3]
    every = [
        np.mean([RUNS[depth][query] for query, depth in enumerate(order)])
        for order in itertools.permutations(used)
    ]
    found = random_router_curve(RUNS, used, 4000)
    assert found.mean_depth == 2.75
    assert found.quality == pytest.approx(np.mean(every))
    assert found.trials.mean() == pytest.approx(np.mean(every), abs=0.005)
    assert found.deviation == pytest.approx(np.std(every), abs=0.01)
    assert found.per_query.mean() == pytest.approx(found.quality)


def test_one_depth_for_all_is_that_depth() -> None:
    point = router_point(RUNS, [3, 3, 3, 3])
    assert point.quality == point.random.quality == np.mean(RUNS[3])
    assert point.random.deviation == pytest.approx(0)
    assert point.test.p_value == 1


def test_router_that_knows_is_better_than_chance_and_a_coin_is_not() -> None:
    generator = np.random.default_rng(1)
    hard = generator.random(200) < 0.4
    runs = {1: [float(not h) for h in hard], 6: [1.0] * 200}
    knowing = router_point(runs, [6 if h else 1 for h in hard])
    guessing = router_point(runs, [6 if h else 1 for h in generator.permutation(hard)])
    assert knowing.quality == 1
    assert knowing.test.p_value < 0.001
    assert knowing.test.low > 0
    assert guessing.test.p_value > 0.05
    assert knowing.mean_depth == guessing.mean_depth == pytest.approx(guessing.random.mean_depth)


def test_higher_price_never_makes_a_router_deeper() -> None:
    generator = np.random.default_rng(2)
    runs = {depth: list(generator.random(50)) for depth in (1, 3, 6)}
    probabilities = generator.dirichlet([1, 1, 1], 50)
    points = router_curve(runs, probabilities, [-100, -0.5, 0, 0.2, 0.5, 100], trials=10)
    depths = [point.mean_depth for point in points]
    assert depths == sorted(depths, reverse=True)
    assert (depths[0], depths[-1]) == (6, 1)
    assert points[-1].quality == pytest.approx(np.mean(runs[1]))
    chosen = np.array([1, 3, 6])[probabilities.argmax(axis=1)]
    assert depths[2] == pytest.approx(chosen.mean())


def test_curve_is_drawn(tmp_path: Path) -> None:
    runs = {depth: list(np.random.default_rng(depth).random(50)) for depth in (1, 3, 6)}
    points = router_curve(runs, np.random.default_rng(0).dirichlet([1, 1, 1], 50), [0, 0.5], trials=10)
    write_router_curve(tmp_path / "curve.png", points, runs)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_oracle_takes_the_smallest_depth_that_is_as_good_as_the_deepest() -> None:
    assert oracle_depths(RUNS) == [6, 1, 1, 1]


@pytest.mark.parametrize(
    ("used", "message"),
    [
        ([1, 1, 1, 2], "depth 2 was used, but there is no run of that depth"),
        ([1, 1], "depth 1 has 4 values for 2 queries"),
        ([], "no queries"),
    ],
)
def test_wrong_depths_are_refused(used: list[int], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        random_router_curve(RUNS, used)


def test_probabilities_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="needs 3 columns, one a depth"):
        router_curve(RUNS, np.ones((4, 2)), [0])
