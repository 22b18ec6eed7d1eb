"""What the backends share: checks, batches, and errors of one line."""

import abc
import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from taesr.errors import Error, InvalidArgument, IoError
from taesr.integrations.backend import Filter, Neighbor, Record
from taesr.integrations.checks import (
    check_filter,
    check_k,
    check_records,
    checked_vector,
    checked_vectors,
)

# Records that travel in one request: a few MB of vectors and texts, below every database's limit.
BATCH = 500


class EngineBackend(abc.ABC):
    """A VectorBackend whose subclass makes the database's calls with arguments that were checked.

    Attributes
    ----------
    where
        Names the database and the collection in messages.
    failures
        What the database's client raises.
    """

    where: str
    failures: tuple[type[Exception], ...]

    def __init__(self, where: str, dimension: int, failures: tuple[type[Exception], ...]) -> None:
        if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 1:
            raise InvalidArgument(f"dimension is {dimension!r}; it must be at least 1")
        self.where = where
        self.failures = failures
        self._dimension = dimension
        self._closed = False

    @property
    def dimension(self) -> int:
        """Values in a vector."""
        return self._dimension

    def upsert(self, records: Sequence[Record], vectors: npt.NDArray[np.float32]) -> None:
        """Write records, replacing those of the same ids whole. See `VectorBackend`."""
        check_records(records)
        rows = checked_vectors(vectors, len(records), self.dimension)
        for first in range(0, len(records), BATCH):
            with self._engine():
                self._upsert(records[first : first + BATCH], rows[first : first + BATCH])

    def delete(self, ids: Sequence[str] | None = None, *, filter: Filter | None = None) -> None:  # noqa: A002
        """Remove records by id, or those that a filter matches. See `VectorBackend`."""
        check_filter(filter)
        if (ids is None) == (filter is None):
            raise InvalidArgument("delete takes ids or a filter, exactly one of them")
        if filter is not None and not filter:
            raise InvalidArgument("an empty filter would remove every record; name a key and value")
        if filter is not None:
            with self._engine():
                self._delete_matching(filter)
        for batch in _batches(ids or ()):
            with self._engine():
                self._delete_ids(batch)

    def get(self, ids: Sequence[str]) -> list[Record]:
        """The records with these ids, in this order. See `VectorBackend`."""
        found: dict[str, Record] = {}
        for batch in _batches(ids):
            with self._engine():
                found |= {record.id: record for record in self._get(batch)}
        return [found[name] for name in ids if name in found]

    def query(
        self,
        vector: npt.NDArray[np.float32],
        *,
        k: int,
        filter: Filter | None = None,  # noqa: A002
    ) -> list[Neighbor]:
        """The k nearest records that match the filter, best first. See `VectorBackend`."""
        check_k(k)
        check_filter(filter)
        row = checked_vector(vector, self.dimension)
        with self._engine():
            return self._query(row, k, filter or {})

    def scan(self, filter: Filter | None = None) -> Iterator[Record]:  # noqa: A002
        """All records that match the filter, in no order. See `VectorBackend`."""
        check_filter(filter)
        with self._engine():
            yield from self._scan(filter or {})

    def count(self, filter: Filter | None = None) -> int:  # noqa: A002
        """How many records match the filter."""
        check_filter(filter)
        with self._engine():
            return self._count(filter or {})

    def close(self) -> None:
        """Let go of files and connections; twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.where}, dimension={self.dimension})"

    def _open(self, connect: Callable[[], None]) -> None:
        """Connect; where that fails, nothing stays open."""
        try:
            with self._engine():
                connect()
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _engine(self) -> Iterator[None]:
        """Calls of the database's client run in this."""
        if self._closed:
            raise InvalidArgument(f"{self.where} is closed; open it again")
        try:
            yield
        except Error:
            raise
        except self.failures as error:
            said = " ".join(str(error).split())[:300] or type(error).__name__
            if self._is_unreachable(error):
                raise IoError(
                    f"{self.where} does not answer ({said}): start the server, or correct its address"
                ) from error
            raise Error(f"{self.where}: {said}") from error

    @abc.abstractmethod
    def _is_unreachable(self, error: Exception) -> bool: ...

    @abc.abstractmethod
    def _upsert(self, records: Sequence[Record], vectors: npt.NDArray[np.float32]) -> None: ...

    @abc.abstractmethod
    def _delete_ids(self, ids: Sequence[str]) -> None: ...

    @abc.abstractmethod
    def _delete_matching(self, values: Filter) -> None: ...

    @abc.abstractmethod
    def _get(self, ids: Sequence[str]) -> list[Record]: ...

    @abc.abstractmethod
    def _query(self, vector: npt.NDArray[np.float32], k: int, values: Filter) -> list[Neighbor]: ...

    @abc.abstractmethod
    def _scan(self, values: Filter) -> Iterator[Record]: ...

    @abc.abstractmethod
    def _count(self, values: Filter) -> int: ...

    @abc.abstractmethod
    def _close(self) -> None: ...


def is_url(location: str) -> bool:
    """Whether a location is a server's address rather than a path."""
    return "://" in location


def check_one_way_in(location: object, client: object) -> None:
    """Refuse both or neither of a location and a client."""
    if (location is None) == (client is None):
        raise InvalidArgument("give a location (a path or a URL) or a client, exactly one of them")


def check_made_for(where: str, what: str, found: object, needed: object) -> None:
    """Refuse a collection that exists and was made otherwise."""
    if found != needed:
        raise InvalidArgument(
            f"{where} has {what} {found}; {needed} is needed: name another collection, or remove this one"
        )


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    if isinstance(ids, str):
        raise InvalidArgument(f"ids is the str {ids!r}; it must be a list of them")
    unique = list(dict.fromkeys(ids))
    return (unique[first : first + BATCH] for first in range(0, len(unique), BATCH))


__all__ = ["BATCH", "EngineBackend", "check_made_for", "check_one_way_in", "is_url"]
