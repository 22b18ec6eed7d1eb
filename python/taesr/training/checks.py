"""Checks of option values, whose errors name the option, its value and what is allowed."""

import math

from taesr.errors import InvalidArgument


def require(
    name: str,
    value: float,
    low: float,
    high: float = math.inf,
    *,
    without_low: bool = False,
    without_high: bool = False,
) -> None:
    """Refuse a number outside [low, high], or the bound itself where it is excluded; NaN always."""
    if low <= value <= high and not (without_low and value == low) and not (without_high and value == high):
        return
    above = "above " if without_low else "at least " if high == math.inf else ""
    to = "" if high == math.inf else f" to {'below ' if without_high else ''}{high:g}"
    raise InvalidArgument(f"{name} is {value:g}; allowed: {above}{low:g}{to}")


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not among the allowed ones."""
    if value not in allowed:
        raise InvalidArgument(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def require_dims(name: str, dims: dict[int, float] | None) -> None:
    """Refuse weights of slices that are empty, or that have a size below 1 or a negative weight."""
    if dims is None:
        return
    if not dims or any(size < 1 or not 0 <= weight < math.inf for size, weight in dims.items()):
        raise InvalidArgument(f"{name} is {dims}; allowed: sizes of at least 1 with weights of at least 0")
