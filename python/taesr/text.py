"""Cutting texts: sentences and chunks."""

import json
from collections.abc import Callable

from taesr._native import core
from taesr.document import Document

split_sentences = core.split_sentences


def chunk_document(
    document: Document,
    *,
    max_tokens: int = 220,
    overlap: int = 50,
    count_tokens: Callable[[str], int] | None = None,
) -> list[core.Chunk]:
    """Cut a document into chunks at paragraph and sentence ends, with overlap inside a section.

    Parameters
    ----------
    max_tokens, overlap
        Largest chunk, 200 to 800 tokens, and what neighbours share, 50 to 100.
    count_tokens
        Length of a text in tokens, such as `Encoder.count_tokens`; None counts words.

    Returns
    -------
    Chunks with `section`, `text`, `tokens` and the bytes `begin` to `end` of the document's UTF-8 text;
    every character that is not white space lies in at least one.
    """
    options = core.ChunkOptions(max_tokens=max_tokens, overlap=overlap)
    return core.chunk_document(to_native(document), options, count_tokens)


def to_native(document: Document) -> core.Document:
    """The C++ twin of a document."""
    return core.Document(
        id=document.id,
        text=document.text,
        title=document.title,
        sections=[core.Section(s.path, s.begin, s.end) for s in document.sections],
        source=document.source,
        metadata=json.dumps(dict(document.metadata), allow_nan=False),
        content_hash=document.content_hash,
    )


__all__ = ["chunk_document", "split_sentences", "to_native"]
