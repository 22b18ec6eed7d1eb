"""A collection whose chunks and vectors lie in a vector database."""

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from taesr.document import Document
from taesr.encoder import Encoder, clean_text
from taesr.errors import InvalidArgument, ModelMismatch
from taesr.hits import SearchResult
from taesr.integrations.backend import Filter, Record, VectorBackend
from taesr.integrations.checks import check_filter, check_k
from taesr.integrations.records import (
    FIRST_RECORDS,
    PreparedDocument,
    StoredDocument,
    check_documents,
    content_hash,
    document_of,
    hit_of,
    model_of,
    prepare,
    record_id,
    records_of,
    stored_document,
    stored_hash,
    stored_parts,
    unfinished,
)
from taesr.updating import IngestReport, Progress, bring_up_to_date

_BATCH_BYTES = 1 << 20
_BATCH_DOCUMENTS = 256
_BLANK = " \t\r\n"


class ExternalCollection:
    """A `taesr.Collection` over a vector database: documents are cut and embedded as there.

    Dense search only, by cosine; the database's vectors have the backend's dimension, which is at most
    the encoder's. Every record is one chunk with the document's metadata beside keys that begin with
    "taesr_". One process writes at a time; readers see chunks of a document while it is written.
    Interrupted, `add` and `ingest` are to be called again, and finish what they began.

    Parameters
    ----------
    backend
        An empty collection, or one that was filled in this way. `close` closes it.
    encoder
        Must be the model that the collection was made with; None loads the default one.

    Raises
    ------
    ModelMismatch
        The records are of another model, or of another program.

    Examples
    --------
    >>> backend = ChromaBackend("support", location="chroma", dimension=384)     # doctest: +SKIP
    >>> with ExternalCollection(backend) as kb:                                  # doctest: +SKIP
    ...     kb.ingest(["docs"])
    ...     for hit in kb.search("reset password", k=5):
    ...         print(hit.document, hit.section, hit.score)
    """

    def __init__(self, backend: VectorBackend, *, encoder: Encoder | None = None) -> None:
        self.backend = backend
        self.encoder = encoder or Encoder.load()
        if backend.dimension > self.encoder.dimension:
            raise InvalidArgument(
                f"the backend's dimension is {backend.dimension}; allowed: 1 to {self.encoder.dimension}"
            )
        for record in backend.scan():
            self._check_model(record)
            break

    def add(
        self,
        documents: Iterable[Document],
        *,
        replace: bool = False,
        chunk_tokens: int = 220,
        overlap: int = 50,
        depth: str | int = "auto",
        progress: Progress | None = None,
    ) -> IngestReport:
        """Add new documents and replace those whose content changed; see `Collection.add`.

        A document without text to search has no record; it counts as unchanged.
        """
        given = list(documents)
        check_documents(given)
        report = IngestReport()
        done = 0
        for batch in _batches(given):
            stored = self._first_records([document.id for document in batch])
            changed = [
                prepare(document, self.encoder, chunk_tokens=chunk_tokens, overlap=overlap)
                for document in batch
                if replace or stored_hash(stored.get(document.id)) != content_hash(document)
            ]
            passages = [passage for document in changed for passage in document.passages]
            vectors = self.encoder.encode(passages, role="passage", depth=depth, dim=self.backend.dimension)
            self._write(changed, vectors, stored)
            updated = sum(document.id in stored for document in changed)
            added = sum(bool(document.records) and document.id not in stored for document in changed)
            report = dataclasses.replace(
                report,
                added=report.added + added,
                updated=report.updated + updated,
                unchanged=report.unchanged + len(batch) - added - updated,
                chunks=report.chunks + len(passages),
            )
            done += len(batch)
            if progress is not None:
                progress(done, len(given))
        return report

    def ingest(
        self,
        paths: Sequence[str | Path] | str | Path,
        *,
        replace: bool = False,
        chunk_tokens: int = 220,
        overlap: int = 50,
        depth: str | int = "auto",
        progress: Progress | None = None,
    ) -> IngestReport:
        """Bring the collection up to date with files and folders; see `Collection.ingest`."""
        return bring_up_to_date(
            self,
            paths,
            replace=replace,
            chunk_tokens=chunk_tokens,
            overlap=overlap,
            depth=depth,
            progress=progress,
        )

    def remove(self, ids: Iterable[str]) -> int:
        """Remove documents by id; unknown ids are ignored. Returns how many there were."""
        names = list(dict.fromkeys(ids))
        there = self._first_records(names)
        for name in there:
            self.backend.delete(filter=records_of(name))
        return len(there)

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        mode: str = "dense",
        depth: str | int = "auto",
        dim: int | None = None,
        filter: Filter | None = None,  # noqa: A002 - the field's word for it
    ) -> SearchResult:
        """Find the chunks that answer `query`; none answers a blank one.

        Parameters
        ----------
        k
            Most hits, 1 to 10,000; fewer when there are fewer.
        mode
            "dense": the database compares embeddings by cosine.
        depth
            Recursions of the query's embedding.
        dim
            None or the backend's dimension.
        filter
            Only documents whose metadata has these values, as `VectorBackend` compares them.
        """
        if mode != "dense":
            raise InvalidArgument(f"mode is {mode!r}; a vector database searches with mode 'dense' only")
        if dim not in (None, self.backend.dimension):
            raise InvalidArgument(f"dim is {dim}; the vectors in the database have {self.backend.dimension}")
        check_k(k)
        check_filter(filter)
        query = clean_text(query)
        if not query.strip(_BLANK):
            return SearchResult([], 0, dict.fromkeys(("encode", "retrieve", "total"), 0.0))
        begin = time.perf_counter()
        encoded = self.encoder.encode_detailed(query, role="query", depth=depth, dim=self.backend.dimension)
        middle = time.perf_counter()
        found = self.backend.query(encoded.embeddings[0], k=k, filter=filter)
        end = time.perf_counter()
        for neighbor in found:
            self._check_model(neighbor.record)
        timings = {
            "encode": 1000 * (middle - begin),
            "retrieve": 1000 * (end - middle),
            "total": 1000 * (end - begin),
        }
        hits = [hit_of(neighbor, rank) for rank, neighbor in enumerate(found, 1)]
        return SearchResult(hits, encoded.depths[0], timings)

    def documents(self) -> list[StoredDocument]:
        """Id, title, source, content hash and number of chunks of every document."""
        return [stored_document(record) for record in self.backend.scan(FIRST_RECORDS)]

    @property
    def document_count(self) -> int:
        """Documents with text."""
        return self.backend.count(FIRST_RECORDS)

    @property
    def chunk_count(self) -> int:
        """Chunks."""
        return self.backend.count()

    def close(self) -> None:
        """Close the backend; twice is harmless."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ExternalCollection({self.backend!r})"

    def _first_records(self, ids: Sequence[str]) -> dict[str, Record]:
        """By document."""
        found = self.backend.get([record_id(name, 0) for name in ids])
        return {document_of(record): record for record in found}

    def _write(
        self,
        documents: Sequence[PreparedDocument],
        vectors: npt.NDArray[np.float32],
        stored: Mapping[str, Record],
    ) -> None:
        # Note [First record of a document]
        # Databases have no transactions over several records. A document's first record tells whether
        # all are there: it is written without a hash before anything else of the document changes, and
        # with the hash at the end. It also says how many records there are at most, so that the next
        # call finds and removes what an interrupted one left behind.
        begun: list[Record] = []
        surplus: list[str] = []
        for document in documents:
            parts = len(document.records)
            before = stored_parts(stored.get(document.id))
            if parts and max(before, parts) > 1:
                begun.append(unfinished(document.records[0], max(before, parts)))
            surplus += (record_id(document.id, part) for part in range(parts, before))
        records = [record for document in documents for record in document.records]
        rows = {record.id: row for row, record in enumerate(records)}

        def upsert(some: list[Record]) -> None:
            self.backend.upsert(some, vectors[[rows[record.id] for record in some]])

        upsert(begun)
        upsert([record for document in documents for record in document.records[1:]])
        self.backend.delete(surplus[::-1])  # of a document that became empty, the first record last
        upsert([record for document in documents for record in document.records[:1]])

    def _check_model(self, record: Record) -> None:
        made_with = model_of(record)
        if made_with == self.encoder.fingerprint:
            return
        by = "another program" if made_with is None else f"the model {made_with}"
        raise ModelMismatch(
            f"record {record.id!r} is of {by}, and this collection's model is {self.encoder.fingerprint}: "
            "name another collection, or open it with its own model"
        )


def _batches(documents: Sequence[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


__all__ = ["ExternalCollection", "StoredDocument"]
