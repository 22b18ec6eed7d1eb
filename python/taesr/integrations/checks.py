"""What records, vectors and filters must be like for every database, so that databases can be swapped."""

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from taesr.document import Scalar
from taesr.errors import InvalidArgument
from taesr.integrations.backend import Filter, Record

# What one of the databases drops silently, takes for syntax or cannot name in a filter.
_BAD_KEY = re.compile(r"""^$|^[$#]|^chroma:|["'\\\x00-\x1f\x7f]""")
_MAX_K = 10_000


def check_records(records: Sequence[Record]) -> None:
    """Refuse ids, texts and metadata that not every database can keep."""
    seen: set[str] = set()
    for record in records:
        if not isinstance(record.id, str) or not record.id:
            raise InvalidArgument(f"a record's id is {record.id!r}; it must be a str that is not empty")
        if record.id in seen:
            raise InvalidArgument(f"record {record.id!r}: given twice in one call; ids must be unique")
        seen.add(record.id)
        _check_text(record.id, f"record {record.id!a}: its id")
        _check_text(record.text, f"record {record.id!r}: its text")
        for key, value in record.metadata.items():
            _check_key(key)
            _check_value(key, value)


def checked_vectors(vectors: npt.ArrayLike, rows: int, dimension: int) -> npt.NDArray[np.float32]:
    """float32 [rows, dimension], or InvalidArgument."""
    array = np.asarray(vectors, np.float32)
    if rows == 0 and array.size == 0:
        return np.empty((0, dimension), np.float32)
    if array.shape != (rows, dimension):
        raise InvalidArgument(f"vectors are {list(array.shape)}; this collection needs [{rows}, {dimension}]")
    if not np.isfinite(array).all():
        raise InvalidArgument("vectors hold infinite values or NaN; they must be finite")
    return array


def checked_vector(vector: npt.ArrayLike, dimension: int) -> npt.NDArray[np.float32]:
    """float32 [dimension], or InvalidArgument."""
    array = np.asarray(vector, np.float32)
    if array.shape != (dimension,):
        raise InvalidArgument(f"the query is {list(array.shape)}; this collection needs [{dimension}]")
    if not np.isfinite(array).all():
        raise InvalidArgument("the query holds infinite values or NaN; it must be finite")
    return array


def check_k(k: int) -> None:
    """Refuse a number of results that a search cannot return."""
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= _MAX_K:
        raise InvalidArgument(f"k is {k!r}; allowed: 1 to {_MAX_K}")


def check_filter(values: Filter | None) -> None:
    """Refuse keys and values that not every database can compare."""
    for key, value in (values or {}).items():
        _check_key(key)
        if value is None:
            raise InvalidArgument(
                f"filter: {key!r} is None, which vector databases do not compare; leave it out"
            )
        _check_value(key, value)


def _check_key(key: str) -> None:
    if not isinstance(key, str) or _BAD_KEY.search(key):
        raise InvalidArgument(
            f"metadata key {key!r}: keys must not be empty, begin with '$', '#' or 'chroma:', or have "
            "quotes, backslashes or control characters; rename it"
        )
    _check_text(key, f"metadata key {key!a}")


def _check_value(key: str, value: Scalar) -> None:
    if value is not None and not isinstance(value, str | int | float):
        raise InvalidArgument(
            f"metadata {key!r} is a {type(value).__name__}; allowed: str, int, float, bool and None"
        )
    if isinstance(value, str):
        _check_text(value, f"metadata {key!r}")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidArgument(f"metadata {key!r} is {value}; whole numbers must fit 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(f"metadata {key!r} is {value}; numbers must be finite")


def _check_text(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"{what} has a lone surrogate at character {error.start}, which UTF-8 cannot hold: replace it"
        ) from None


__all__ = ["check_filter", "check_k", "check_records", "checked_vector", "checked_vectors"]
