"""taesr beside what a company runs already: vector databases, LangChain, Ray Data.

>>> from taesr.integrations import ExternalCollection, QdrantBackend      # doctest: +SKIP
>>> with QdrantBackend("support", location="http://127.0.0.1:6333", dimension=384) as backend:
...     kb = ExternalCollection(backend)
...     kb.ingest(["docs"])
...     hits = kb.search("reset password", k=5).hits

`taesr.integrations.langchain` and `taesr.integrations.ray` are imported by their own names. Each needs its
package, which ``pip install 'taesr[chroma]'`` (or milvus, qdrant, langchain, ray) brings.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taesr.integrations.backend import Filter, Neighbor, Record, VectorBackend
    from taesr.integrations.chroma import ChromaBackend
    from taesr.integrations.external_collection import ExternalCollection
    from taesr.integrations.milvus import MilvusBackend
    from taesr.integrations.qdrant import QdrantBackend
    from taesr.integrations.records import StoredDocument

_HOMES = {
    "ChromaBackend": "chroma",
    "ExternalCollection": "external_collection",
    "Filter": "backend",
    "MilvusBackend": "milvus",
    "Neighbor": "backend",
    "QdrantBackend": "qdrant",
    "Record": "backend",
    "StoredDocument": "records",
    "VectorBackend": "backend",
}

__all__ = [
    "ChromaBackend",
    "ExternalCollection",
    "Filter",
    "MilvusBackend",
    "Neighbor",
    "QdrantBackend",
    "Record",
    "StoredDocument",
    "VectorBackend",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'taesr.integrations' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"taesr.integrations.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
