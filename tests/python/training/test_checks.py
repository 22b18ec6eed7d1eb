"""Ranges of option values, their bounds included or not."""

import math
from typing import Any

import pytest

from taesr import InvalidArgument
from taesr.training.checks import require


@pytest.mark.parametrize(
    ("value", "low", "high", "without", "message"),
    [
        (0.5, 1, math.inf, {}, "at least 1"),
        (math.nan, 1, math.inf, {}, "at least 1"),
        (0, 0, math.inf, {"without_low": True}, "above 0"),
        (1.5, 0, 1, {}, "0 to 1"),
        (0, 0, 1, {"without_low": True}, "above 0 to 1"),
        (1, 0, 1, {"without_high": True}, "0 to below 1"),
        (math.nan, 0, 1, {"without_low": True, "without_high": True}, "above 0 to below 1"),
    ],
)
def test_a_value_outside_its_range_is_named_with_the_range(
    value: float, low: float, high: float, without: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument) as error:
        require("lr", value, low, high, **without)
    assert str(error.value) == f"lr is {value:g}; allowed: {message}"


def test_bounds_that_are_not_excluded_are_allowed() -> None:
    require("share", 0, 0, 1)
    require("share", 1, 0, 1)
    require("share", 1, 0, 1, without_low=True)
    require("share", 0, 0, 1, without_high=True)
    require("share", 1e-9, 0, without_low=True)
