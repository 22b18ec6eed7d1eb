"""LangChain's `Embeddings` and `VectorStore` over taesr.

>>> from taesr.integrations.langchain import TaesrVectorStore            # doctest: +SKIP
>>> store = TaesrVectorStore(taesr.Collection.open("kb"))
>>> retriever = store.as_retriever(search_kwargs={"k": 3, "filter": {"product": "phone"}})
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from taesr._native import core
from taesr.collection import Collection, Hit, Mode
from taesr.document import Document, Scalar
from taesr.encoder import Encoder, Precision
from taesr.errors import InvalidArgument
from taesr.integrations.extras import missing

try:
    from langchain_core.documents import Document as LangChainDocument
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance
except ImportError as error:
    raise missing("langchain", error) from error

_MAX_CHUNKS = 10_000  # of one search


class TaesrEmbeddings(Embeddings):  # type: ignore[misc]
    """The encoder for LangChain: unit vectors, queries and documents in one space.

    Parameters
    ----------
    model
        A model folder; None for the default one.
    encoder
        In place of `model`: one that is loaded already.
    precision
        As in `Encoder.load`.
    depth, dim
        As in `Encoder.encode`.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        encoder: Encoder | None = None,
        precision: Precision = "auto",
        depth: str | int = "auto",
        dim: int | None = None,
    ) -> None:
        if encoder is not None and model is not None:
            raise InvalidArgument("give a model or an encoder, not both")
        self.encoder = encoder or Encoder.load(model, precision=precision)
        self.depth = depth
        self.dim = dim

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts that are searched: one list of `dim` floats each."""
        rows = self.encoder.encode(texts, role="passage", depth=self.depth, dim=self.dim)
        vectors: list[list[float]] = rows.tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed a question: `dim` floats."""
        vector: list[float] = self.encoder.encode(text, role="query", depth=self.depth, dim=self.dim)[
            0
        ].tolist()
        return vector


class TaesrVectorStore(VectorStore):  # type: ignore[misc]
    """A `taesr.Collection` for LangChain.

    What is added is returned: a text that is longer than a chunk is found by its best chunk and comes
    back whole, once. Metadata is any JSON; strings, numbers, booleans and null can be filtered by.

    Parameters
    ----------
    collection
        Stays yours: close it when done.
    mode
        "hybrid", "dense" or "keyword", as in `Collection.search`; each search may name another.
    depth
        Recursions of queries and documents.
    """

    def __init__(self, collection: Collection, *, mode: Mode = "hybrid", depth: str | int = "auto") -> None:
        self.collection = collection
        self.mode: Mode = mode
        self.depth = depth

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        directory: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """Open or make the collection in `directory` and add texts.

        Parameters
        ----------
        embedding
            TaesrEmbeddings with all dimensions: a collection embeds with its own model.
        options
            Of the constructor.
        """
        if directory is None:
            raise InvalidArgument("from_texts needs directory=..., where the collection lies")
        if not isinstance(embedding, TaesrEmbeddings) or embedding.dim is not None:
            raise InvalidArgument(
                "embedding must be TaesrEmbeddings without dim: a collection has its own model"
            )
        collection = Collection.open(directory, encoder=embedding.encoder)
        store = cls(collection, **{"depth": embedding.depth, **options})
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @property
    def embeddings(self) -> TaesrEmbeddings:
        """The collection's encoder."""
        return TaesrEmbeddings(encoder=self.collection.encoder, depth=self.depth)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **options: Any,
    ) -> list[str]:
        """Add texts, replacing those whose ids are there; texts without an id get one.

        Parameters
        ----------
        options
            Of `Collection.add`, such as `chunk_tokens` and `progress`.

        Returns
        -------
        The ids, in the order of the texts.
        """
        given = list(texts)
        for name, values in (("metadatas", metadatas), ("ids", ids)):
            if values is not None and len(values) != len(given):
                raise InvalidArgument(f"{len(values)} {name} for {len(given)} texts; there must be one each")
        names = [name or str(uuid.uuid4()) for name in ids or [None] * len(given)]
        documents = [
            Document(id=name, text=text, metadata=metadata or {})
            for name, text, metadata in zip(names, given, metadatas or [{}] * len(given), strict=True)
        ]
        try:
            self.collection.add(documents, **{"depth": self.depth, **options})
        except TypeError as error:  # of what JSON cannot hold
            raise InvalidArgument(f"metadata must be JSON: {error}") from None
        return names

    def delete(self, ids: list[str] | None = None, **_: Any) -> bool:
        """Remove documents by id, or all of them without ids; unknown ids are ignored."""
        self.collection.remove([info.id for info in self.collection.documents()] if ids is None else ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[LangChainDocument]:
        """The documents with these ids, in this order; unknown ids are left out."""
        found = (self.collection.document(name) for name in ids)
        return [_to_langchain(document) for document in found if document is not None]

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[LangChainDocument]:
        """The k documents that answer `query`, best first; fewer when there are fewer.

        Parameters
        ----------
        options
            `filter`: metadata values that a document must have; `mode`: another one than the store's.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, **options)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[LangChainDocument, float]]:
        """Like `similarity_search`, with scores: higher is better; a cosine where the mode is "dense"."""
        return [(self._document(hit), hit.score) for hit in self._best(query, k, **options)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[LangChainDocument]:
        """k documents that answer `query` and differ among themselves (MMR; Carbonell and Goldstein 1998).

        The best chunks of `fetch_k` documents are embedded again for it.

        Parameters
        ----------
        fetch_k
            Documents to choose from.
        lambda_mult
            1: relevance alone, 0: difference alone.
        """
        if not 0 <= lambda_mult <= 1:
            raise InvalidArgument(f"lambda_mult is {lambda_mult}; allowed: 0 to 1")
        hits = self._best(query, max(k, fetch_k), **options)
        if not hits:
            return []
        passages = [core.passage_text(hit.title, hit.section, hit.text) for hit in hits]
        vectors = self.embeddings.embed_documents(passages)
        asked = np.array(self.embeddings.embed_query(query), np.float32)
        chosen = maximal_marginal_relevance(asked, vectors, lambda_mult=lambda_mult, k=k)
        return [self._document(hits[index]) for index in chosen]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[LangChainDocument, float]]:
        # LangChain's thresholds are from 0 to 1, which cosines are and fused ranks are not.
        found = self.similarity_search_with_score(query, k, **{**options, "mode": "dense"})
        return [(document, min(max(score, 0.0), 1.0)) for document, score in found]

    def _best(
        self,
        query: str,
        k: int,
        *,
        filter: Mapping[str, Scalar] | None = None,  # noqa: A002 - LangChain's word for it
        mode: Mode | None = None,
        **_: Any,
    ) -> list[Hit]:
        """The best chunk of each of the k best documents."""
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= _MAX_CHUNKS:
            raise InvalidArgument(f"k is {k!r}; allowed: 1 to {_MAX_CHUNKS}")
        chunks = k
        while True:
            hits = self.collection.search(
                query, k=chunks, mode=mode or self.mode, depth=self.depth, filter=filter
            ).hits
            best: dict[str, Hit] = {}
            for hit in hits:
                best.setdefault(hit.document, hit)
            if len(best) >= k or len(hits) < chunks or chunks == _MAX_CHUNKS:
                return list(best.values())[:k]
            chunks = min(4 * chunks, _MAX_CHUNKS)

    def _document(self, hit: Hit) -> LangChainDocument:
        document = self.collection.document(hit.document)
        if document is None:  # removed since it was found
            return LangChainDocument(id=hit.document, page_content=hit.text, metadata=hit.metadata)
        return _to_langchain(document)


def _to_langchain(document: Document) -> LangChainDocument:
    return LangChainDocument(id=document.id, page_content=document.text, metadata=dict(document.metadata))


__all__ = ["TaesrEmbeddings", "TaesrVectorStore"]
