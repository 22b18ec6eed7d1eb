"""How the chunks of documents are kept as records of a vector database, and read back."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any, cast

from taesr._native import core
from taesr.collection import Hit
from taesr.document import Document, Scalar
from taesr.encoder import Encoder
from taesr.errors import InvalidArgument
from taesr.integrations.backend import Filter, Neighbor, Record
from taesr.integrations.checks import check_records
from taesr.text import chunk_document

_PREFIX = "taesr_"  # of what is kept beside a document's own metadata
_UNFINISHED = ""  # as the hash of a document that is being written

FIRST_RECORDS: Filter = {f"{_PREFIX}part": 0}


@dataclasses.dataclass(frozen=True, slots=True)
class StoredDocument:
    """One document of a collection, without its text."""

    id: str
    title: str
    source: str
    content_hash: str
    chunks: int


@dataclasses.dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A document's records, and what each is embedded as."""

    id: str
    records: list[Record]
    passages: list[str]


def prepare(document: Document, encoder: Encoder, *, chunk_tokens: int, overlap: int) -> PreparedDocument:
    """Cut a document; InvalidArgument for metadata that a database cannot keep."""
    chunks = chunk_document(
        document, max_tokens=chunk_tokens, overlap=overlap, count_tokens=encoder.count_tokens
    )
    shared: dict[str, Scalar] = {
        "document": document.id,
        "parts": len(chunks),
        "title": document.title,
        "source": document.source,
        "hash": content_hash(document),
        "model": encoder.fingerprint,
    }
    records, passages = [], []
    for part, chunk in enumerate(chunks):
        own: dict[str, Scalar] = {
            "part": part,
            "section": chunk.section,
            "begin": chunk.begin,
            "end": chunk.end,
        }
        metadata = {_PREFIX + key: value for key, value in (shared | own).items()}
        records.append(Record(record_id(document.id, part), chunk.text, {**document.metadata, **metadata}))
        passages.append(core.passage_text(document.title, chunk.section, chunk.text))
    check_records(records)
    return PreparedDocument(document.id, records, passages)


def unfinished(first: Record, parts: int) -> Record:
    """A first record while its document is being written and has up to `parts` records."""
    begun: dict[str, Scalar] = {f"{_PREFIX}hash": _UNFINISHED, f"{_PREFIX}parts": parts}
    return dataclasses.replace(first, metadata={**first.metadata, **begun})


def record_id(document: str, part: int) -> str:
    """The id of a chunk's record."""
    return f"{document}#{part}"


def records_of(document: str) -> Filter:
    """The filter that matches a document's records."""
    return {f"{_PREFIX}document": document}


def document_of(record: Record) -> str:
    """The id of a record's document."""
    return str(record.metadata[f"{_PREFIX}document"])


def stored_hash(first: Record | None) -> str:
    """The content hash of a document that was written to the end; empty for others."""
    return _UNFINISHED if first is None else str(first.metadata[f"{_PREFIX}hash"])


def stored_parts(first: Record | None) -> int:
    """How many records a document has at most."""
    return 0 if first is None else cast(int, first.metadata[f"{_PREFIX}parts"])


def model_of(record: Record) -> str | None:
    """The fingerprint of the model that a record was embedded with; None for records of other programs."""
    found = record.metadata.get(f"{_PREFIX}model")
    return None if found is None else str(found)


def stored_document(first: Record) -> StoredDocument:
    """What a first record says of its document."""
    return StoredDocument(
        id=document_of(first),
        title=str(first.metadata[f"{_PREFIX}title"]),
        source=str(first.metadata[f"{_PREFIX}source"]),
        content_hash=stored_hash(first),
        chunks=stored_parts(first),
    )


def hit_of(neighbor: Neighbor, rank: int) -> Hit:
    """A neighbor as a collection's search returns it."""
    record = neighbor.record
    own: dict[str, Any] = {
        key.removeprefix(_PREFIX): value for key, value in record.metadata.items() if key.startswith(_PREFIX)
    }
    return Hit(
        document=own["document"],
        title=own["title"],
        source=own["source"],
        metadata={key: value for key, value in record.metadata.items() if not key.startswith(_PREFIX)},
        section=own["section"],
        text=record.text,
        begin=own["begin"],
        end=own["end"],
        score=neighbor.score,
        ranks={"dense": rank},
        scores={"dense": neighbor.score},
        # A Collection numbers its chunks; databases name them.
        chunk_id=int.from_bytes(hashlib.blake2b(record.id.encode(), digest_size=8).digest()) >> 1,
    )


def content_hash(document: Document) -> str:
    """A document's own content hash, or one of its content."""
    if document.content_hash:
        return document.content_hash
    sections = [[section.path, section.begin, section.end] for section in document.sections]
    content = [document.title, document.text, document.source, dict(document.metadata), sections]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def check_documents(documents: Sequence[Document]) -> None:
    """Refuse ids that are there twice and metadata keys that are taken."""
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise InvalidArgument(f"document {document.id!r}: given twice in one call; ids must be unique")
        seen.add(document.id)
        if taken := [key for key in document.metadata if key.startswith(_PREFIX)]:
            raise InvalidArgument(
                f"document {document.id!r}: metadata {taken[0]!r}; names in {_PREFIX}* are taken"
            )
