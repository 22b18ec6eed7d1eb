"""Qdrant: a server, or its local mode in a folder or in memory."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from taesr.integrations.backend import Filter, Neighbor, Record
from taesr.integrations.engine import BATCH, EngineBackend, check_made_for, check_one_way_in, is_url
from taesr.integrations.extras import require

# Points are numbered by UUIDs made of the records' ids in this name space.
_IDS = uuid.UUID("5f9c6f0e-52f1-5d0c-9d8e-6b1f3c1f7a55")
_EXACT = 2**53  # whole numbers up to this are floats without loss


class QdrantBackend(EngineBackend):
    """A Qdrant collection, which is made when there is none; see `VectorBackend`.

    A point's payload is ``{"id": ..., "text": ..., "metadata": {...}}``. Local mode is for trials: it
    compares every vector, and only one process may use a folder.

    Parameters
    ----------
    collection
        Its name.
    location
        ``"http://host:6333"`` for a server, a folder for local mode, or ``":memory:"``.
    dimension
        Values in a vector.
    client
        In place of `location`: a QdrantClient of your own, with its credentials; `close` leaves it
        open.
    """

    def __init__(
        self, collection: str, *, location: str | Path | None = None, dimension: int, client: Any = None
    ) -> None:
        check_one_way_in(location, client)
        qdrant = require("qdrant_client", "qdrant")
        self._models = require("qdrant_client.models", "qdrant")
        exceptions = require("qdrant_client.http.exceptions", "qdrant")
        self._no_answer = exceptions.ResponseHandlingException
        super().__init__(
            f"qdrant collection {collection!r} at {location or 'the given client'}",
            dimension,
            (exceptions.ApiException, ValueError, RuntimeError, OSError),
        )
        self._name = collection
        self._own_client: Any = None
        self._open(lambda: self._connect(qdrant, location, client))

    def _connect(self, qdrant: Any, location: str | Path | None, client: Any) -> None:
        if client is None:
            client = self._own_client = _new_client(qdrant, str(location))
        self._client = client
        models = self._models
        if not self._client.collection_exists(self._name):
            space = models.VectorParams(size=self.dimension, distance=models.Distance.COSINE)
            self._client.create_collection(self._name, vectors_config=space)
            return
        space = self._client.get_collection(self._name).config.params.vectors
        # Several named vectors are a dict; no vectors at all, None.
        check_made_for(self.where, "vectors of kind", type(space).__name__, "VectorParams")
        check_made_for(self.where, "the dimension", space.size, self.dimension)
        check_made_for(self.where, "the metric", space.distance.value, "Cosine")

    def _is_unreachable(self, error: Exception) -> bool:
        return isinstance(error, self._no_answer)

    def _upsert(self, records: Sequence[Record], vectors: npt.NDArray[np.float32]) -> None:
        points = [
            self._models.PointStruct(
                id=_point_id(record.id),
                vector=vector.tolist(),
                payload={"id": record.id, "text": record.text, "metadata": dict(record.metadata)},
            )
            for record, vector in zip(records, vectors, strict=True)
        ]
        self._client.upsert(self._name, points=points, wait=True)

    def _delete_ids(self, ids: Sequence[str]) -> None:
        selector = self._models.PointIdsList(points=[_point_id(name) for name in ids])
        self._client.delete(self._name, points_selector=selector, wait=True)

    def _delete_matching(self, values: Filter) -> None:
        selector = self._models.FilterSelector(filter=self._filter(values))
        self._client.delete(self._name, points_selector=selector, wait=True)

    def _get(self, ids: Sequence[str]) -> list[Record]:
        points = self._client.retrieve(self._name, ids=[_point_id(name) for name in ids], with_payload=True)
        return [_record(point.payload) for point in points]

    def _query(self, vector: npt.NDArray[np.float32], k: int, values: Filter) -> list[Neighbor]:
        found = self._client.query_points(
            self._name, query=vector.tolist(), limit=k, query_filter=self._filter(values), with_payload=True
        )
        return [Neighbor(_record(point.payload), float(point.score)) for point in found.points]

    def _scan(self, values: Filter) -> Iterator[Record]:
        offset = None
        while True:
            points, offset = self._client.scroll(
                self._name,
                scroll_filter=self._filter(values),
                limit=BATCH,
                offset=offset,
                with_payload=True,
            )
            yield from (_record(point.payload) for point in points)
            if offset is None:
                return

    def _count(self, values: Filter) -> int:
        counted = self._client.count(self._name, count_filter=self._filter(values), exact=True)
        return int(counted.count)

    def _close(self) -> None:
        if self._own_client is not None:
            self._own_client.close()

    def _filter(self, values: Filter) -> Any:
        if not values:
            return None
        return self._models.Filter(must=[self._condition(key, value) for key, value in values.items()])

    def _condition(self, key: str, value: str | int | float | bool) -> Any:
        path = f'metadata."{key}"'
        # A match compares whole numbers with whole numbers only; a range, with all numbers.
        if isinstance(value, float) or (type(value) is int and abs(value) <= _EXACT):
            bounds = self._models.Range(gte=value, lte=value)
            return self._models.FieldCondition(key=path, range=bounds)
        return self._models.FieldCondition(key=path, match=self._models.MatchValue(value=value))


def _new_client(qdrant: Any, location: str) -> Any:
    if location == ":memory:":
        return qdrant.QdrantClient(location=location)
    if is_url(location):
        # The check of versions prints a warning where the server does not answer; the first call says so.
        return qdrant.QdrantClient(url=location, check_compatibility=False)
    return qdrant.QdrantClient(path=location)


def _point_id(name: str) -> str:
    return str(uuid.uuid5(_IDS, name))


def _record(payload: dict[str, Any]) -> Record:
    return Record(payload["id"], payload["text"], payload["metadata"])


__all__ = ["QdrantBackend"]
