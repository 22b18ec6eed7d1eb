"""Retrieval and grounded answers that are small, fast and your own.

>>> import taesr
>>> encoder = taesr.Encoder.load()
>>> vectors = encoder.encode(["how do I reset my password"], role="query")
>>> vectors.shape
(1, 384)

Names are loaded when first used, so that importing the package costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taesr._build import __version__
    from taesr.answer import Answer, Citation, SupportBot
    from taesr.collection import Collection, Hit, IngestReport, SearchResult
    from taesr.config import TAESRConfig
    from taesr.decoder import Decoder, Generation, TextStream
    from taesr.document import Document, Section
    from taesr.encoded import Encoded
    from taesr.encoder import Encoder
    from taesr.errors import (
        ChecksumError,
        Error,
        FormatError,
        InvalidArgument,
        IoError,
        ModelMismatch,
        Overloaded,
        VersionError,
    )
    from taesr.generation_queue import GenerationQueue, QueuedText
    from taesr.info import build_info, cmake_dir
    from taesr.nn import TAESRModel, TAESROutput
    from taesr.text import chunk_document, split_sentences

_HOMES = {
    "Answer": "answer",
    "ChecksumError": "errors",
    "Citation": "answer",
    "Collection": "collection",
    "Decoder": "decoder",
    "Document": "document",
    "Encoded": "encoded",
    "Encoder": "encoder",
    "Error": "errors",
    "FormatError": "errors",
    "Generation": "decoder",
    "GenerationQueue": "generation_queue",
    "Hit": "collection",
    "IngestReport": "collection",
    "InvalidArgument": "errors",
    "IoError": "errors",
    "ModelMismatch": "errors",
    "Overloaded": "errors",
    "QueuedText": "generation_queue",
    "SearchResult": "collection",
    "Section": "document",
    "SupportBot": "answer",
    "TAESRConfig": "config",
    "TAESRModel": "nn",
    "TAESROutput": "nn",
    "TextStream": "decoder",
    "VersionError": "errors",
    "__version__": "_build",
    "build_info": "info",
    "chunk_document": "text",
    "cmake_dir": "info",
    "split_sentences": "text",
}

__all__ = [
    "Answer",
    "ChecksumError",
    "Citation",
    "Collection",
    "Decoder",
    "Document",
    "Encoded",
    "Encoder",
    "Error",
    "FormatError",
    "Generation",
    "GenerationQueue",
    "Hit",
    "IngestReport",
    "InvalidArgument",
    "IoError",
    "ModelMismatch",
    "Overloaded",
    "QueuedText",
    "SearchResult",
    "Section",
    "SupportBot",
    "TAESRConfig",
    "TAESRModel",
    "TAESROutput",
    "TextStream",
    "VersionError",
    "__version__",
    "build_info",
    "chunk_document",
    "cmake_dir",
    "split_sentences",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'taesr' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"taesr.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
