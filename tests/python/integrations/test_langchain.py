"""The standard suites of langchain-tests, and what they do not ask."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taesr
from taesr import Collection, Encoder, InvalidArgument

pytest.importorskip("langchain_core", reason="needs langchain-core: pip install 'taesr[langchain]'")
tests = pytest.importorskip(
    "langchain_tests.integration_tests", reason="needs langchain-tests: pip install langchain-tests"
)
from langchain_core.documents import Document  # noqa: E402
from langchain_core.embeddings import DeterministicFakeEmbedding  # noqa: E402
from langchain_tests.unit_tests import EmbeddingsUnitTests  # noqa: E402

from taesr.integrations.langchain import TaesrEmbeddings, TaesrVectorStore  # noqa: E402

# The suites hold tests of both kinds.
pytestmark = pytest.mark.filterwarnings("ignore:The test <Function")


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[TaesrEmbeddings]:
        return TaesrEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"precision": "float32", "depth": "medium", "dim": 128}


@pytest.mark.asyncio
class TestEmbeddings(tests.EmbeddingsIntegrationTests):  # type: ignore[misc, name-defined]
    @property
    def embeddings_class(self) -> type[TaesrEmbeddings]:
        return TaesrEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"precision": "float32"}


@pytest.mark.asyncio
class TestVectorStore(tests.VectorStoreIntegrationTests):  # type: ignore[misc, name-defined]
    @pytest.fixture
    def vectorstore(self, tmp_path: Path, encoder: Encoder) -> Iterator[TaesrVectorStore]:
        with Collection.open(tmp_path / "kb", encoder=encoder) as collection:
            yield TaesrVectorStore(collection)


@pytest.fixture
def store(tmp_path: Path, encoder: Encoder) -> Iterator[TaesrVectorStore]:
    with Collection.open(tmp_path / "kb", encoder=encoder) as collection:
        filled = TaesrVectorStore(collection)
        filled.add_documents(
            [
                Document("To reset your password, open Settings.", id="p", metadata={"topic": "account"}),
                Document("You reset your password in Settings.", id="q", metadata={"topic": "account"}),
                Document(
                    "Invoices are sent — 発票 — every month.", id="ü#1", metadata={"n": {"deep": [1, None]}}
                ),
            ]
        )
        yield filled


def test_embeddings_are_the_encoders(encoder: Encoder) -> None:
    embeddings = TaesrEmbeddings(encoder=encoder, dim=64)
    assert embeddings.embed_query("héllo") == encoder.encode("héllo", role="query", dim=64)[0].tolist()
    assert embeddings.embed_documents(["a", ""]) == encoder.encode(["a", ""], dim=64).tolist()
    assert embeddings.embed_documents([]) == []
    with pytest.raises(InvalidArgument, match="not both"):
        TaesrEmbeddings("model", encoder=encoder)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "keyword"])
def test_searches_filter_and_return_what_was_added(store: TaesrVectorStore, mode: str) -> None:
    found = store.similarity_search("when are invoices sent", k=1, mode=mode)
    assert found == store.get_by_ids(["ü#1"])
    assert found[0].metadata == {"n": {"deep": [1, None]}}
    filtered = store.similarity_search("reset invoices settings", k=9, mode=mode, filter={"topic": "account"})
    assert sorted(str(document.id) for document in filtered) == ["p", "q"]
    assert store.similarity_search("invoices", filter={"topic": "none"}) == []


def test_a_long_text_comes_back_whole_and_once(store: TaesrVectorStore) -> None:
    text = "\n\n".join(f"Step {i} copies file {i} and checks its size on the disk." for i in range(200))
    store.add_texts([text], ids=["long"])
    found = store.similarity_search("copy file 77 and check its size", k=3)
    assert [document.id for document in found].count("long") == 1
    assert len(found) == 3
    assert found[0].page_content == text


def test_relevance_scores_are_between_0_and_1(store: TaesrVectorStore) -> None:
    scored = store.similarity_search_with_relevance_scores("reset password", k=3)
    assert len(scored) == 3
    assert all(0 <= score <= 1 for _, score in scored)
    retriever = store.as_retriever(
        search_type="similarity_score_threshold",
        search_kwargs={"k": 3, "score_threshold": scored[0][1] - 1e-6},
    )
    assert [document.id for document in retriever.invoke("reset password")] == [scored[0][0].id]


def test_mmr_prefers_what_differs(store: TaesrVectorStore) -> None:
    same = store.max_marginal_relevance_search("reset password", k=2, lambda_mult=1.0)
    other = store.max_marginal_relevance_search("reset password", k=2, lambda_mult=0.0)
    assert {document.id for document in same} == {"p", "q"}
    assert "ü#1" in {document.id for document in other}
    assert store.max_marginal_relevance_search("x", k=2, filter={"topic": "none"}) == []
    with pytest.raises(InvalidArgument, match="lambda_mult"):
        store.max_marginal_relevance_search("x", lambda_mult=2)


def test_texts_without_ids_get_some(store: TaesrVectorStore) -> None:
    given = store.add_documents([Document("one"), Document("two", id="two")])
    assert given[1] == "two"
    assert store.get_by_ids(given)[0].page_content == "one"
    assert store.delete() is True
    assert store.collection.document_count == 0
    assert store.similarity_search("anything") == []


def test_wrong_use_is_refused(store: TaesrVectorStore, tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InvalidArgument, match="2 ids for 1 texts"):
        store.add_texts(["a"], ids=["a", "b"])
    with pytest.raises(InvalidArgument, match="JSON"):
        store.add_texts(["a"], [{"when": object()}])
    for k in (0, 10_001):
        with pytest.raises(InvalidArgument, match="k is"):
            store.similarity_search("a", k=k)
    with pytest.raises(InvalidArgument, match="TaesrEmbeddings"):
        TaesrVectorStore.from_texts(["a"], DeterministicFakeEmbedding(size=4), directory=tmp_path / "x")
    with pytest.raises(InvalidArgument, match="directory"):
        TaesrVectorStore.from_texts(["a"], TaesrEmbeddings(encoder=encoder))
    made = TaesrVectorStore.from_texts(
        ["a text"], TaesrEmbeddings(encoder=encoder), [{"n": 1}], ids=["a"], directory=tmp_path / "new"
    )
    assert made.similarity_search("a text")[0].metadata == {"n": 1}
    made.collection.close()
    with pytest.raises(taesr.InvalidArgument, match="closed"):
        made.similarity_search("a text")
