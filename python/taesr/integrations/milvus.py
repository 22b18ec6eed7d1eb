"""Milvus: embedded (milvus-lite), one server or a cluster, through the same client."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from taesr.errors import InvalidArgument
from taesr.integrations.backend import Filter, Neighbor, Record
from taesr.integrations.engine import BATCH, EngineBackend, check_made_for, check_one_way_in, is_url
from taesr.integrations.extras import require

_FIELDS = ["id", "text", "metadata"]
_MAX_BYTES = 65_535  # of a VARCHAR field
_UNAVAILABLE = 2  # code of pymilvus for a server that does not answer
# Reads see every write that was acknowledged before, also on a cluster.
_CONSISTENCY = "Strong"


class MilvusBackend(EngineBackend):
    """A Milvus collection, which is made when there is none; see `VectorBackend`.

    Its fields are id, vector, text and metadata (JSON). Ids and texts hold up to 65,535 bytes. In
    filters milvus-lite takes true for 1 and false for 0.

    Parameters
    ----------
    collection
        Its name: letters, digits and "_".
    location
        A path that ends in ``.db`` for milvus-lite, or ``"http://host:19530"`` for a server or cluster.
    dimension
        Values in a vector.
    client
        In place of `location`: a MilvusClient of your own, with its credentials; `close` leaves it
        open.
    """

    def __init__(
        self, collection: str, *, location: str | Path | None = None, dimension: int, client: Any = None
    ) -> None:
        check_one_way_in(location, client)
        if location is not None and not is_url(str(location)) and not str(location).endswith(".db"):
            raise InvalidArgument(f"location is '{location}'; it must be a path that ends in .db, or a URL")
        pymilvus = require("pymilvus", "milvus")
        super().__init__(
            f"milvus collection {collection!r} at {location or 'the given client'}",
            dimension,
            (pymilvus.MilvusException, OSError, RuntimeError),
        )
        self._name = collection
        self._own_client: Any = None
        self._open(lambda: self._connect(pymilvus, location, client))

    def _connect(self, pymilvus: Any, location: str | Path | None, client: Any) -> None:
        if client is None:
            if not is_url(str(location)):
                require("milvus_lite", "milvus")
            client = self._own_client = pymilvus.MilvusClient(str(location))
        self._client = client
        types = pymilvus.DataType
        if self._client.has_collection(self._name):
            self._check()
            self._client.load_collection(self._name)
            return
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", types.VARCHAR, is_primary=True, max_length=_MAX_BYTES)
        schema.add_field("vector", types.FLOAT_VECTOR, dim=self.dimension)
        schema.add_field("text", types.VARCHAR, max_length=_MAX_BYTES)
        schema.add_field("metadata", types.JSON)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
        self._client.create_collection(
            self._name, schema=schema, index_params=index, consistency_level=_CONSISTENCY
        )

    def _check(self) -> None:
        fields = {field["name"]: field for field in self._client.describe_collection(self._name)["fields"]}
        check_made_for(self.where, "the fields", sorted(fields), ["id", "metadata", "text", "vector"])
        stored = int(fields["vector"]["params"]["dim"])
        check_made_for(self.where, "the dimension", stored, self.dimension)
        metric = self._client.describe_index(self._name, "vector")["metric_type"]
        check_made_for(self.where, "the metric", metric, "COSINE")

    def _is_unreachable(self, error: Exception) -> bool:
        return getattr(error, "code", None) == _UNAVAILABLE

    def _upsert(self, records: Sequence[Record], vectors: npt.NDArray[np.float32]) -> None:
        for record in records:
            for field in ("id", "text"):
                if (size := len(getattr(record, field).encode())) > _MAX_BYTES:
                    raise InvalidArgument(
                        f"record {record.id[:50]!r}: its {field} is {size} bytes; allowed: {_MAX_BYTES}"
                    )
        rows = [
            {"id": record.id, "vector": vector, "text": record.text, "metadata": dict(record.metadata)}
            for record, vector in zip(records, vectors, strict=True)
        ]
        self._client.upsert(self._name, rows)

    def _delete_ids(self, ids: Sequence[str]) -> None:
        self._client.delete(self._name, ids=list(ids))

    def _delete_matching(self, values: Filter) -> None:
        self._client.delete(self._name, filter=_expression(values))

    def _get(self, ids: Sequence[str]) -> list[Record]:
        rows = self._client.get(
            self._name, ids=list(ids), output_fields=_FIELDS, consistency_level=_CONSISTENCY
        )
        return [_record(row) for row in rows]

    def _query(self, vector: npt.NDArray[np.float32], k: int, values: Filter) -> list[Neighbor]:
        found = self._client.search(
            self._name,
            [vector],
            limit=k,
            filter=_expression(values),
            output_fields=_FIELDS,
            consistency_level=_CONSISTENCY,
        )
        return [
            Neighbor(_record(hit["entity"] | {"id": hit["id"]}), float(hit["distance"])) for hit in found[0]
        ]

    def _scan(self, values: Filter) -> Iterator[Record]:
        pages = self._client.query_iterator(
            self._name,
            batch_size=BATCH,
            filter=_expression(values),
            output_fields=_FIELDS,
            consistency_level=_CONSISTENCY,
        )
        try:
            while page := pages.next():
                yield from map(_record, page)
        finally:
            pages.close()

    def _count(self, values: Filter) -> int:
        rows = self._client.query(
            self._name,
            filter=_expression(values),
            output_fields=["count(*)"],
            consistency_level=_CONSISTENCY,
        )
        return int(rows[0]["count(*)"])

    def _close(self) -> None:
        if self._own_client is not None:
            self._own_client.close()


def _expression(values: Filter) -> str:
    """Literals of Milvus expressions are those of JSON."""
    return " and ".join(
        f'metadata["{key}"] == {json.dumps(value, ensure_ascii=False)}' for key, value in values.items()
    )


def _record(row: dict[str, Any]) -> Record:
    return Record(row["id"], row["text"], row["metadata"])


__all__ = ["MilvusBackend"]
