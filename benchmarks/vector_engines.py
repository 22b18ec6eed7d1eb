"""Indexes of vectors behind one face: ours and those of other libraries, for vector_search.py."""

import os
import tempfile
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from taesr._native import core

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
M, BUILD_WIDTH, K = 16, 200, 10
ROWS_AT_ONCE = 4096


class Index(ABC):
    """Vectors known by their positions, 0 to n - 1. What a library cannot do raises NotImplementedError."""

    name: str

    @abstractmethod
    def load(self) -> None:
        """Import the library, so that its own memory is not counted as the index's."""

    @abstractmethod
    def build(self, vectors: Floats, ranks: Floats, threads: int) -> None:
        """Index unit vectors; `ranks` are metadata, from 0 to 1, for filters."""

    @abstractmethod
    def set_width(self, width: int) -> None:
        """Let later searches look at so many candidates (ef)."""

    @abstractmethod
    def search(self, query: Floats) -> Ints:
        """Return the positions of the K nearest to one query [1, dim]."""

    def prepare(self, ranks: Floats, below: float) -> Any:
        """Return a filter for rows whose rank is below a number."""
        raise NotImplementedError

    def search_filtered(self, query: Floats, prepared: Any) -> Ints:
        """Return the nearest among those that a filter allows."""
        raise NotImplementedError

    def replace(self, positions: Ints, vectors: Floats) -> None:
        """Delete rows, and then add the same vectors again under the same positions."""
        raise NotImplementedError


class Taesr(Index):
    """Our index, which builds with all cores."""

    def __init__(self, form: str) -> None:
        self.name = f"taesr {form}"
        self._form = form

    def load(self) -> None:
        pass  # imported already

    def build(self, vectors: Floats, ranks: Floats, threads: int) -> None:
        self._index = core.HnswIndex(
            vectors.shape[1], format=self._form, links=M, construction_width=BUILD_WIDTH
        )
        self._positions = np.arange(len(vectors))  # by what the index calls a row
        self._add(vectors)

    def _add(self, vectors: Floats) -> None:
        for begin in range(0, len(vectors), ROWS_AT_ONCE):  # no copy of all is made
            self._index.stage(vectors[begin : begin + ROWS_AT_ONCE])
        self._index.link()

    def set_width(self, width: int) -> None:
        self._index.set_search_width(width)

    def search(self, query: Floats) -> Ints:
        found: Ints = self._positions[self._index.search(query, K)[0]]
        return found

    def prepare(self, ranks: Floats, below: float) -> Any:
        return self._index.prepare_filter(np.flatnonzero(ranks < below).tolist())

    def search_filtered(self, query: Floats, prepared: Any) -> Ints:
        found: Ints = self._positions[self._index.search(query, K, prepared)[0]]
        return found

    def replace(self, positions: Ints, vectors: Floats) -> None:
        self._index.remove(positions.tolist())
        self._positions = np.concatenate([self._positions, positions])
        self._add(vectors)


class Hnswlib(Index):
    """hnswlib; its filters are Python functions."""

    name = "hnswlib float32"

    def load(self) -> None:
        import hnswlib

        self._library: Any = hnswlib

    def build(self, vectors: Floats, ranks: Floats, threads: int) -> None:
        self._index = self._library.Index(space="ip", dim=vectors.shape[1])
        self._index.init_index(max_elements=len(vectors), M=M, ef_construction=BUILD_WIDTH)
        self._threads = threads
        self._index.add_items(vectors, num_threads=threads)

    def set_width(self, width: int) -> None:
        self._index.set_ef(width)

    def search(self, query: Floats) -> Ints:
        return np.asarray(self._index.knn_query(query, k=K, num_threads=1)[0][0], np.int64)

    def prepare(self, ranks: Floats, below: float) -> Any:
        return frozenset(np.flatnonzero(ranks < below).tolist()).__contains__

    def search_filtered(self, query: Floats, prepared: Any) -> Ints:
        try:
            labels = self._index.knn_query(query, k=K, num_threads=1, filter=prepared)[0][0]
        except RuntimeError:  # it throws where it finds fewer than K
            return np.empty(0, np.int64)
        return np.asarray(labels, np.int64)

    def replace(self, positions: Ints, vectors: Floats) -> None:
        for position in positions:
            self._index.mark_deleted(position)
        self._index.add_items(vectors, positions, num_threads=self._threads)


class Faiss(Index):
    """faiss; its HNSW cannot delete."""

    name = "faiss HNSW float32"

    def load(self) -> None:
        import faiss

        self._library: Any = faiss

    def build(self, vectors: Floats, ranks: Floats, threads: int) -> None:
        self._library.omp_set_num_threads(threads)
        self._index = self._library.IndexHNSWFlat(vectors.shape[1], M, self._library.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = BUILD_WIDTH
        self._index.add(vectors)
        self._library.omp_set_num_threads(1)

    def set_width(self, width: int) -> None:
        self._index.hnsw.efSearch = width

    def search(self, query: Floats) -> Ints:
        return np.asarray(self._index.search(query, K)[1][0], np.int64)

    def prepare(self, ranks: Floats, below: float) -> Any:
        bits = np.packbits(ranks < below, bitorder="little")
        selector = self._library.IDSelectorBitmap(bits)
        return self._library.SearchParametersHNSW(sel=selector, efSearch=self._index.hnsw.efSearch), bits

    def search_filtered(self, query: Floats, prepared: Any) -> Ints:
        return np.asarray(self._index.search(query, K, params=prepared[0])[1][0], np.int64)


class Usearch(Index):
    """usearch; from Python it has no filters."""

    name = "usearch float32"

    def load(self) -> None:
        import usearch.index

        self._library: Any = usearch.index

    def build(self, vectors: Floats, ranks: Floats, threads: int) -> None:
        self._threads = threads
        self._index = self._library.Index(
            ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=M, expansion_add=BUILD_WIDTH
        )
        self._index.add(np.arange(len(vectors)), vectors, threads=threads)

    def set_width(self, width: int) -> None:
        self._index.expansion_search = width

    def search(self, query: Floats) -> Ints:
        return np.asarray(self._index.search(query[0], K, threads=1).keys, np.int64)

    def replace(self, positions: Ints, vectors: Floats) -> None:
        self._index.remove(positions, threads=self._threads)
        self._index.add(positions, vectors, threads=self._threads)


class Chroma(Index):
    """ChromaDB in a folder, opened anew for each width: an open collection keeps the one that it has."""

    name = "chromadb float32"

    def load(self) -> None:
        import chromadb

        self._library: Any = chromadb

    def build(self, vectors: Floats, ranks: Floats, threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        graph = {
            "space": "ip",
            "max_neighbors": M,
            "ef_construction": BUILD_WIDTH,
            "ef_search": BUILD_WIDTH,
            "num_threads": threads,
        }
        self._client = self._open()
        self._rows = self._client.create_collection(
            "vectors", configuration={"hnsw": graph}, embedding_function=None
        )
        self._add(np.arange(len(vectors)), vectors, ranks)

    def _open(self) -> Any:
        settings = self._library.config.Settings(anonymized_telemetry=False)
        return self._library.PersistentClient(self._folder.name, settings=settings)

    def _add(self, positions: Ints, vectors: Floats, ranks: Floats) -> None:
        for begin in range(0, len(vectors), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            self._rows.add(
                ids=[str(position) for position in positions[part]],
                embeddings=vectors[part],
                metadatas=[{"rank": float(rank)} for rank in ranks[part]],
            )

    def set_width(self, width: int) -> None:
        self._rows.modify(configuration={"hnsw": {"ef_search": width}})
        self._client.close()
        self._client = self._open()
        self._rows = self._client.get_collection("vectors", embedding_function=None)

    def search(self, query: Floats) -> Ints:
        found = self._rows.query(query_embeddings=query, n_results=K, include=[])
        return np.array(found["ids"][0], np.int64)

    def prepare(self, ranks: Floats, below: float) -> Any:
        return {"rank": {"$lt": below}}

    def search_filtered(self, query: Floats, prepared: Any) -> Ints:
        found = self._rows.query(query_embeddings=query, n_results=K, include=[], where=prepared)
        return np.array(found["ids"][0], np.int64)

    def replace(self, positions: Ints, vectors: Floats) -> None:
        for begin in range(0, len(positions), ROWS_AT_ONCE):
            self._rows.delete(ids=[str(p) for p in positions[begin : begin + ROWS_AT_ONCE]])
        self._add(positions, vectors, np.zeros(len(positions), np.float32))


def engines() -> dict[str, Index]:
    """Return all, by the name that chooses them."""
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
    return {
        "int8": Taesr("int8"),
        "float16": Taesr("float16"),
        "float32": Taesr("float32"),
        "hnswlib": Hnswlib(),
        "faiss": Faiss(),
        "usearch": Usearch(),
        "chromadb": Chroma(),
    }
