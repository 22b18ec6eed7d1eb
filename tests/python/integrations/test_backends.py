"""Every vector database does what the protocol says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from taesr import Error, InvalidArgument, IoError
from taesr.integrations import Record, VectorBackend
from tests.python.integrations import engines

METADATA: dict[str, Any] = {
    "whole": 1,
    "float": 0.5,
    "yes": True,
    "no": False,
    "text": "1",
    "empty": "",
    "nothing": None,
    "large": 2**62,
    "negative": -7,
    "ключ ü.x": 'a "quoted" \\ back\nslash é',
}


def unit(*values: float) -> npt.NDArray[np.float32]:
    row = np.array(values, np.float32)
    return row / np.linalg.norm(row)


def fill(backend: VectorBackend) -> None:
    backend.upsert(
        [
            Record("a", "first", METADATA),
            Record("ü/文.md#1", "zweiter — 二", {"whole": 2}),
            Record("c", "", {}),
        ],
        np.eye(4, dtype=np.float32)[:3],
    )


def ids(found: Sequence[Any]) -> list[str]:
    return [getattr(item, "record", item).id for item in found]


def test_what_is_written_is_read(backend: VectorBackend) -> None:
    fill(backend)
    assert backend.count() == 3
    assert backend.get(["c", "unknown", "a"]) == [Record("c", "", {}), Record("a", "first", METADATA)]
    assert backend.get([]) == []
    assert sorted(ids(list(backend.scan()))) == ["a", "c", "ü/文.md#1"]


def test_scores_are_cosines_and_fewer_than_k_are_returned(backend: VectorBackend) -> None:
    fill(backend)
    found = backend.query(unit(3, 2, 1, 0), k=10)
    assert ids(found) == ["a", "ü/文.md#1", "c"]
    assert [neighbor.score for neighbor in found] == pytest.approx(list(unit(3, 2, 1)), abs=1e-5)
    assert found[1].record == Record("ü/文.md#1", "zweiter — 二", {"whole": 2})
    assert len(backend.query(unit(1, 1, 1, 1), k=2)) == 2


def test_an_empty_collection_answers(backend: VectorBackend) -> None:
    backend.upsert([], np.empty((0, 4), np.float32))
    assert backend.query(unit(1, 0, 0, 0), k=3) == []
    assert backend.query(unit(1, 0, 0, 0), k=3, filter={"whole": 1}) == []
    assert backend.get(["a"]) == list(backend.scan()) == []
    assert backend.count() == backend.count({"whole": 1}) == 0
    backend.delete(["a"])
    backend.delete([])
    backend.delete(filter={"whole": 1})


@pytest.mark.parametrize("key", [key for key, value in METADATA.items() if value is not None])
def test_every_value_can_be_filtered_by(backend: VectorBackend, key: str) -> None:
    fill(backend)
    assert ids(backend.query(unit(0, 0, 1, 0), k=3, filter={key: METADATA[key]})) == ["a"]


def test_filters_join_and_may_match_nothing(backend: VectorBackend) -> None:
    fill(backend)
    near = unit(1, 1, 1, 0)
    assert ids(backend.query(near, k=3, filter={"whole": 1, "text": "1"})) == ["a"]
    assert ids(backend.query(near, k=3, filter={"whole": 2.0})) == ["ü/文.md#1"]
    for nothing in ({"whole": 1, "text": "2"}, {"whole": "1"}, {"text": 1}, {"unknown": 1}, {"whole": 3}):
        assert backend.query(near, k=3, filter=nothing) == []
        assert backend.count(nothing) == 0
    assert backend.count({"whole": 2}) == 1
    assert ids(list(backend.scan({"whole": 2}))) == ["ü/文.md#1"]


def test_upserting_replaces_a_record_whole(backend: VectorBackend) -> None:
    fill(backend)
    backend.upsert([Record("a", "new", {"other": "x"})], unit(0, 0, 0, 1)[None])
    assert backend.count() == 3
    assert backend.get(["a"]) == [Record("a", "new", {"other": "x"})]
    assert backend.query(unit(0, 0, 0, 1), k=1)[0].score == pytest.approx(1, abs=1e-5)
    assert backend.count({"whole": 1}) == 0
    backend.upsert([Record("a", "bare", {})], unit(0, 0, 0, 1)[None])
    assert backend.get(["a"]) == [Record("a", "bare", {})]


def test_deleting_removes_what_was_named_and_no_more(backend: VectorBackend) -> None:
    fill(backend)
    backend.delete(["c", "unknown", "c"])
    assert backend.count() == 2
    backend.delete(filter={"whole": 3})
    assert backend.count() == 2
    backend.delete(filter={"whole": 2})
    assert ids(list(backend.scan())) == ["a"]
    assert ids(backend.query(unit(1, 1, 1, 1), k=9)) == ["a"]


def test_many_records_agree_with_exact_search(engine: str, location: str, collection: str) -> None:
    random = np.random.default_rng(5)
    # Local mode of Qdrant writes a file for every record.
    size = 300 if engine == "qdrant" else 1200
    vectors = random.standard_normal((size, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = random.integers(0, 7, len(vectors))
    backend = engines.open_backend(engine, location, dimension=16, collection=collection)
    backend.upsert(
        [Record(f"r{i}", f"text {i}", {"group": int(group)}) for i, group in enumerate(groups)], vectors
    )
    found = total = 0
    for query in vectors[:20] + 0.3 * random.standard_normal((20, 16)).astype(np.float32):
        cosines = vectors @ (query / np.linalg.norm(query))
        for group in (None, 3):
            allowed = np.arange(len(vectors)) if group is None else np.flatnonzero(groups == group)
            best = allowed[np.argsort(-cosines[allowed])[:10]]
            result = backend.query(query, k=10, filter=None if group is None else {"group": group})
            assert [n.score for n in result] == pytest.approx(
                [float(cosines[int(n.record.id[1:])]) for n in result], abs=1e-4
            )
            found += len({f"r{i}" for i in best} & set(ids(result)))
            total += 10
    assert found / total >= 0.95
    assert backend.count({"group": 3}) == (groups == 3).sum()
    assert len({record.id for record in backend.scan()}) == size
    assert len(backend.get([f"r{i}" for i in range(size)])) == size
    backend.delete([f"r{i}" for i in range(size // 2)])
    assert backend.count() == size - size // 2
    backend.close()


@pytest.mark.parametrize(
    ("records", "vectors", "message"),
    [
        ([Record("a", "x")], np.ones((1, 3)), r"\[1, 3\].*\[1, 4\]"),
        ([Record("a", "x")], np.ones(4), r"\[4\].*\[1, 4\]"),
        ([Record("a", "x")], np.full((1, 4), np.nan), "finite"),
        ([Record("a", "x"), Record("a", "y")], np.ones((2, 4)), "twice"),
        ([Record("", "x")], np.ones((1, 4)), "empty"),
        ([Record("a", "\ud800")], np.ones((1, 4)), "surrogate"),
        ([Record("a", "x", {"k": float("nan")})], np.ones((1, 4)), "finite"),
        ([Record("a", "x", {"k": 2**63})], np.ones((1, 4)), "64 bits"),
        ([Record("a", "x", {"k": ["list"]})], np.ones((1, 4)), "list"),  # type: ignore[dict-item]
        ([Record("a", "x", {"": 1})], np.ones((1, 4)), "keys must not be empty"),
        ([Record("a", "x", {"$or": 1})], np.ones((1, 4)), "rename"),
        ([Record("a", "x", {'a"b': 1})], np.ones((1, 4)), "quotes"),
    ],
)
def test_what_no_database_keeps_is_refused(
    backend: VectorBackend, records: list[Record], vectors: npt.NDArray[Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        backend.upsert(records, vectors)
    assert backend.count() == 0


def test_wrong_questions_are_refused(backend: VectorBackend) -> None:
    fill(backend)
    for k in (0, -1, 10_001, True):
        with pytest.raises(InvalidArgument, match="k is"):
            backend.query(unit(1, 0, 0, 0), k=k)
    with pytest.raises(InvalidArgument, match=r"\[3\].*\[4\]"):
        backend.query(unit(1, 0, 0), k=1)
    with pytest.raises(InvalidArgument, match="None"):
        backend.count({"nothing": None})  # type: ignore[dict-item]
    with pytest.raises(InvalidArgument, match="exactly one"):
        backend.delete()
    with pytest.raises(InvalidArgument, match="empty filter"):
        backend.delete(filter={})
    with pytest.raises(InvalidArgument, match="list"):
        backend.delete("abc")
    assert backend.count() == 3


def test_closing_twice_is_harmless_and_using_it_then_is_refused(backend: VectorBackend) -> None:
    backend.close()
    backend.close()
    with pytest.raises(InvalidArgument, match="closed"):
        backend.count()
    with pytest.raises(InvalidArgument, match="closed"):
        list(backend.scan())


def test_reopening_finds_the_records(engine: str, location: str, collection: str) -> None:
    if engine == "qdrant-memory":
        pytest.skip("memory is gone with its client")
    first = engines.open_backend(engine, location, dimension=4, collection=collection)
    fill(first)
    first.close()
    again = engines.open_backend(engine, location, dimension=4, collection=collection)
    assert again.get(["a"]) == [Record("a", "first", METADATA)]
    again.close()
    with pytest.raises(InvalidArgument, match=r"dimension 4; 8 is needed"):
        engines.open_backend(engine, location, dimension=8, collection=collection)


@pytest.mark.parametrize("name", ["chroma", "milvus", "qdrant"])
def test_a_server_that_is_not_running_is_named_with_the_remedy(name: str) -> None:
    engines.need(name)
    address = f"http://127.0.0.1:{engines.free_port()}"
    with pytest.raises(IoError, match=f"{address} does not answer.*start the server") as caught:
        engines.open_backend(name, address, dimension=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", engines.SERVERS)
def test_a_server_that_stops_is_named(name: str, tmp_path: Path) -> None:
    engines.need(name)
    with engines.served(name, tmp_path) as address:
        backend = engines.open_backend(name, address, dimension=4)
        fill(backend)
    for call in (backend.count, lambda: backend.query(unit(1, 0, 0, 0), k=1), lambda: fill(backend)):
        with pytest.raises(IoError, match=f"{address} does not answer") as caught:
            call()
        assert "\n" not in str(caught.value)
    backend.close()


@pytest.mark.parametrize("name", engines.EMBEDDED)
def test_a_place_that_cannot_hold_a_database_is_named(name: str, tmp_path: Path) -> None:
    engines.need(name)
    (tmp_path / "file").write_text("not a folder")
    location = tmp_path / "file" / ("kb.db" if name == "milvus" else "kb")
    with pytest.raises(Error, match="file") as caught:
        engines.open_backend(name, location, dimension=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", engines.EMBEDDED)
def test_wrong_ways_in_are_refused(name: str, tmp_path: Path) -> None:
    engines.need(name)
    with pytest.raises(InvalidArgument, match="exactly one"):
        engines.open_backend(name, None, dimension=4)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="dimension is 0"):
        engines.open_backend(name, engines.location_in(name, tmp_path), dimension=0)


def test_a_chroma_collection_of_another_metric_is_refused(tmp_path: Path) -> None:
    chromadb = pytest.importorskip("chromadb", reason="needs chromadb: pip install 'taesr[chroma]'")
    client = chromadb.PersistentClient(
        str(tmp_path), settings=chromadb.config.Settings(anonymized_telemetry=False)
    )
    client.create_collection("support", embedding_function=None)
    from taesr.integrations import ChromaBackend

    with pytest.raises(InvalidArgument, match="metric l2; cosine is needed"):
        ChromaBackend("support", client=client, dimension=4)
    backend = ChromaBackend("support-2", client=client, dimension=4)
    fill(backend)
    backend.close()
    assert client.get_collection("support-2", embedding_function=None).count() == 3  # it is still open


def test_a_milvus_collection_of_other_fields_is_refused(tmp_path: Path) -> None:
    engines.need("milvus")
    import pymilvus

    from taesr.integrations import MilvusBackend

    client = pymilvus.MilvusClient(str(tmp_path / "kb.db"))
    client.create_collection("support", dimension=4)
    with pytest.raises(InvalidArgument, match="fields"):
        MilvusBackend("support", client=client, dimension=4)
    with pytest.raises(InvalidArgument, match=r"\.db"):
        MilvusBackend("support", location=tmp_path / "kb", dimension=4)
    backend = MilvusBackend("support2", client=client, dimension=4)
    with pytest.raises(InvalidArgument, match="65536 bytes; allowed: 65535"):
        backend.upsert([Record("a", "é" * 32_768)], unit(1, 0, 0, 0)[None])
    client.close()


def test_a_qdrant_collection_of_other_vectors_is_refused() -> None:
    engines.need("qdrant")
    from qdrant_client import QdrantClient, models

    from taesr.integrations import QdrantBackend

    client = QdrantClient(":memory:")
    space = models.VectorParams(size=4, distance=models.Distance.DOT)
    client.create_collection("dot", vectors_config=space)
    client.create_collection("named", vectors_config={"dense": space})
    with pytest.raises(InvalidArgument, match="metric Dot; Cosine is needed"):
        QdrantBackend("dot", client=client, dimension=4)
    with pytest.raises(InvalidArgument, match="kind dict"):
        QdrantBackend("named", client=client, dimension=4)
