"""ChromaDB: embedded in a folder, or its HTTP server."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from taesr.document import Scalar
from taesr.errors import InvalidArgument
from taesr.integrations.backend import Filter, Neighbor, Record
from taesr.integrations.engine import BATCH, EngineBackend, check_made_for, check_one_way_in, is_url
from taesr.integrations.extras import require

# Chroma keeps no values that are None: their keys are listed here.
_NONES = "taesr_none"


class ChromaBackend(EngineBackend):
    """A Chroma collection, which is made when there is none; see `VectorBackend`.

    Chroma computes no embeddings here and reports no usage. Only one process may use a folder; several
    share a server.

    Parameters
    ----------
    collection
        Its name: 3 to 512 of a-z, A-Z, 0-9, ".", "_" and "-".
    location
        A folder for the embedded database, or ``"http://host:8000"`` for a server.
    dimension
        Values in a vector.
    client
        In place of `location`: a chromadb client of your own, with its credentials; `close` leaves
        it open.
    """

    def __init__(
        self, collection: str, *, location: str | Path | None = None, dimension: int, client: Any = None
    ) -> None:
        check_one_way_in(location, client)
        chromadb = require("chromadb", "chroma")
        errors = require("chromadb.errors", "chroma")
        httpx = require("httpx", "chroma")
        self._transport_error = httpx.TransportError
        super().__init__(
            f"chroma collection {collection!r} at {location or 'the given client'}",
            dimension,
            (errors.ChromaError, httpx.HTTPError, ValueError),
        )
        self._name = collection
        self._own_client: Any = None
        self._open(lambda: self._connect(chromadb, location, client))

    def _connect(self, chromadb: Any, location: str | Path | None, client: Any) -> None:
        if client is None:
            client = self._own_client = _new_client(chromadb, str(location))
        self._collection = client.get_or_create_collection(
            self._name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
        self._check()

    def _check(self) -> None:
        """What Chroma itself does not compare when a collection exists."""
        made = self._collection.configuration_json
        index = made.get("hnsw") or made.get("spann")
        check_made_for(self.where, "the metric", (index or {}).get("space"), "cosine")
        stored = self._collection.get(limit=1, include=["embeddings"])["embeddings"]
        if len(stored):
            check_made_for(self.where, "the dimension", len(stored[0]), self.dimension)

    def _is_unreachable(self, error: Exception) -> bool:
        return isinstance(error, self._transport_error) or "Could not connect" in str(error)

    def _upsert(self, records: Sequence[Record], vectors: npt.NDArray[np.float32]) -> None:
        ids = [record.id for record in records]
        metadatas: list[dict[str, Scalar] | None] = [_to_chroma(record.metadata) for record in records]
        # Chroma merges metadata into what is there; a None removes a key.
        stored = self._collection.get(ids=ids, include=["metadatas"])
        for name, old in zip(stored["ids"], stored["metadatas"], strict=True):
            index = ids.index(name)
            metadatas[index] = dict.fromkeys(old or ()) | (metadatas[index] or {}) or None
        self._collection.upsert(
            ids=ids, embeddings=vectors, documents=[record.text for record in records], metadatas=metadatas
        )

    def _delete_ids(self, ids: Sequence[str]) -> None:
        self._collection.delete(ids=list(ids))

    def _delete_matching(self, values: Filter) -> None:
        self._collection.delete(where=_where(values))

    def _get(self, ids: Sequence[str]) -> list[Record]:
        return _records(self._collection.get(ids=list(ids), include=["documents", "metadatas"]))

    def _query(self, vector: npt.NDArray[np.float32], k: int, values: Filter) -> list[Neighbor]:
        found = self._collection.query(
            query_embeddings=vector[None],
            n_results=k,
            where=_where(values),
            include=["documents", "metadatas", "distances"],
        )
        records = _records({key: found[key][0] for key in ("ids", "documents", "metadatas")})
        return [
            Neighbor(record, 1.0 - float(distance))
            for record, distance in zip(records, found["distances"][0], strict=True)
        ]

    def _scan(self, values: Filter) -> Iterator[Record]:
        offset = 0
        while True:
            page = _records(
                self._collection.get(
                    where=_where(values), limit=BATCH, offset=offset, include=["documents", "metadatas"]
                )
            )
            yield from page
            if len(page) < BATCH:
                return
            offset += BATCH

    def _count(self, values: Filter) -> int:
        if not values:
            return int(self._collection.count())
        return len(self._collection.get(where=_where(values), include=[])["ids"])

    def _close(self) -> None:
        if self._own_client is not None:
            self._own_client.close()


def _new_client(chromadb: Any, location: str) -> Any:
    settings = chromadb.config.Settings(anonymized_telemetry=False)
    if not is_url(location):
        return chromadb.PersistentClient(location, settings=settings)
    url = urlsplit(location)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InvalidArgument(f"location is {location!r}; a Chroma server's begins with http:// or https://")
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 8000)
    return chromadb.HttpClient(url.hostname, port, ssl=secure, settings=settings)


def _where(values: Filter) -> dict[str, Any] | None:
    conditions = [{key: {"$eq": value}} for key, value in values.items()]
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return {"$and": conditions}


def _to_chroma(metadata: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
    """What Chroma takes: values that are not None, or no metadata at all."""
    known: dict[str, Scalar] = {key: value for key, value in metadata.items() if value is not None}
    if nones := [key for key, value in metadata.items() if value is None]:
        known[_NONES] = json.dumps(nones)
    return known or None


def _records(found: Mapping[str, Any]) -> list[Record]:
    records = []
    for name, text, stored in zip(found["ids"], found["documents"], found["metadatas"], strict=True):
        metadata = dict(stored or {})
        metadata |= dict.fromkeys(json.loads(metadata.pop(_NONES, "[]")))
        records.append(Record(name, text or "", metadata))
    return records


__all__ = ["ChromaBackend"]
