"""The protocol of vector databases: what taesr asks of one."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from taesr.document import Scalar

Filter = Mapping[str, str | int | float | bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What a database keeps beside a vector.

    Attributes
    ----------
    id
        Unique in a collection; any text.
    text
        The passage that was embedded.
    metadata
        Values to filter by: str, int of 64 bits, finite float, bool or None. Keys are not empty, do
        not begin with "$", "#" or "chroma:", and have no quotes, backslashes or control characters.
    """

    id: str
    text: str
    metadata: Mapping[str, Scalar] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Neighbor:
    """A record that a query found, and the cosine of its vector and the query's."""

    record: Record
    score: float


class VectorBackend(Protocol):
    """One collection of a vector database: records with one vector each, compared by cosine.

    A filter names values that the metadata must have, all of them. Values of different types are never
    equal, except that an int equals a float of the same value; None is not compared. Methods raise
    InvalidArgument for wrong arguments, before the database sees them; IoError with the address where
    the database does not answer; Error for what else it reports.
    """

    @property
    def dimension(self) -> int:
        """Values in a vector."""
        ...

    def upsert(self, records: Sequence[Record], vectors: npt.NDArray[np.float32]) -> None:
        """Write records, replacing those of the same ids whole.

        Parameters
        ----------
        records
            Any number, with different ids.
        vectors
            float32 [len(records), dimension], finite.
        """
        ...

    def delete(self, ids: Sequence[str] | None = None, *, filter: Filter | None = None) -> None:  # noqa: A002
        """Remove records by id, or those that a filter matches; unknown ids are ignored.

        Exactly one of the two is given, and a filter is not empty.
        """
        ...

    def get(self, ids: Sequence[str]) -> list[Record]:
        """The records with these ids, in this order; unknown ids are left out."""
        ...

    def query(
        self,
        vector: npt.NDArray[np.float32],
        *,
        k: int,
        filter: Filter | None = None,  # noqa: A002
    ) -> list[Neighbor]:
        """The k nearest records that match the filter, best first; fewer when there are fewer.

        Parameters
        ----------
        vector
            float32 [dimension], finite.
        k
            1 to 10,000.
        """
        ...

    def scan(self, filter: Filter | None = None) -> Iterator[Record]:  # noqa: A002
        """All records that match the filter, in no order, for as long as nobody writes."""
        ...

    def count(self, filter: Filter | None = None) -> int:  # noqa: A002
        """How many records match the filter."""
        ...

    def close(self) -> None:
        """Let go of files and connections; twice is harmless."""
        ...


__all__ = ["Filter", "Neighbor", "Record", "VectorBackend"]
