"""A collection over a vector database finds what a collection of taesr's own finds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from taesr import (
    Collection,
    Document,
    Encoder,
    InvalidArgument,
    ModelMismatch,
    Section,
    SupportBot,
    TAESRModel,
)
from taesr.answer import AnswerOptions
from taesr.integrations import ExternalCollection, Record, VectorBackend
from tests.python.integrations import engines
from tests.python.small_models import save, small_config

QUESTIONS = [
    "how do I reset my password",
    "printer offline",
    "when are invoices sent",
    "Ärger mit Umlauten",
    "",
]
HANDBOOK = "\n\n".join(
    f"Step {i} of the installation copies file number {i} to the disk and checks its size." for i in range(60)
)


def documents() -> list[Document]:
    return [
        Document(
            id="passwords",
            title="Passwords",
            text="To reset your password, open Settings and choose Security.",
            source="/docs/passwords.md",
            metadata={"product": "account", "public": True, "owner": None},
        ),
        Document(
            id="ordner/Überweisung #3.md",
            title="Invoices",
            text="Invoices are sent by mail on the first day of every month. — 発票",
            metadata={"product": "billing", "year": 2026, "rate": 0.19},
        ),
        Document(
            id="printing",
            text="Printers\n\nIf the printer is offline, switch it off and on again.",
            sections=(Section("Printers", 0, 10), Section("Printers > Offline", 10, 64)),
        ),
        Document(id="handbook", title="Handbook", text=HANDBOOK),
        Document(id="empty", text=" \n"),
    ]


@pytest.fixture
def kb(engine: str, location: str, collection: str, encoder: Encoder) -> Iterator[ExternalCollection]:
    backend = engines.open_backend(engine, location, dimension=encoder.dimension, collection=collection)
    with ExternalCollection(backend, encoder=encoder) as opened:
        yield opened


@pytest.fixture
def local(encoder: Encoder) -> Iterator[ExternalCollection]:
    """Over the database that needs no disk."""
    engines.need("qdrant")
    backend = engines.open_backend("qdrant-memory", ":memory:", dimension=encoder.dimension)
    with ExternalCollection(backend, encoder=encoder) as opened:
        yield opened


def plain(hit: Any) -> tuple[Any, ...]:
    """What a hit says, without the number of its chunk."""
    place = (hit.document, hit.title, hit.source, hit.section, hit.text, hit.begin, hit.end)
    return (*place, hit.metadata, hit.ranks)


def test_hits_are_those_of_a_collection(kb: ExternalCollection, tmp_path: Path, encoder: Encoder) -> None:
    with Collection.open(tmp_path / "own", encoder=encoder) as own:
        own.add(documents())
        report = kb.add(documents())
        assert (report.added, report.unchanged, report.chunks) == (4, 1, own.chunk_count)
        assert kb.chunk_count == own.chunk_count
        assert kb.document_count == 4
        for question in QUESTIONS:
            expected = own.search(question, k=4, mode="dense")
            found = kb.search(question, k=4)
            assert [plain(hit) for hit in found] == [plain(hit) for hit in expected]
            assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-4)
            assert found.depth == expected.depth
            assert set(found.timings) >= {"encode", "retrieve", "total"}
        best = kb.search("password", filter={"product": "billing", "year": 2026}).hits
        assert [hit.document for hit in best] == ["ordner/Überweisung #3.md"]
        assert kb.search("password", filter={"public": True}).hits[0].scores["dense"] == pytest.approx(
            own.search("password", mode="dense", filter={"public": True}).hits[0].score, abs=1e-4
        )
        assert kb.search("password", filter={"product": "none"}).hits == []
        assert len(kb.search("password", k=1000)) == own.chunk_count
        assert len({hit.chunk_id for hit in kb.search("password", k=1000)}) == own.chunk_count


def test_adding_again_changes_only_what_changed(kb: ExternalCollection) -> None:
    kb.add(documents())
    handbook_chunks = next(d.chunks for d in kb.documents() if d.id == "handbook")
    assert handbook_chunks > 3
    changed = [d for d in documents() if d.id != "handbook"]
    report = kb.add([*changed, Document(id="handbook", title="Handbook", text="Insert the disk.")])
    assert (report.added, report.updated, report.unchanged, report.chunks) == (0, 1, 4, 1)
    assert kb.search("Insert the disk", k=1).hits[0].text == "Insert the disk."
    assert [hit.document for hit in kb.search("file number 7", k=50)].count("handbook") == 1
    assert kb.add([Document(id="handbook", text="")]).updated == 1
    assert {document.id for document in kb.documents()} == {
        "passwords",
        "ordner/Überweisung #3.md",
        "printing",
    }
    assert kb.remove(["printing", "unknown", "printing"]) == 1
    assert kb.remove([]) == 0
    assert kb.document_count == 2
    assert kb.add(documents()[:1], replace=True).updated == 1


def test_folders_are_ingested_and_vanished_files_removed(local: ExternalCollection, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# Passwords\n\nTo reset a password, open Settings.\n")
    (folder / "b.md").write_text("# Printing\n\nSwitch the printer off and on again.\n")
    (folder / "c.bin").write_bytes(b"\0\1\2")
    first = local.ingest(folder)
    assert (first.added, first.skipped, first.removed) == (2, 1, 0)
    hit = local.search("reset a password", k=1).hits[0]
    assert (hit.document, hit.section, hit.source) == ("a.md", "Passwords", str(folder / "a.md"))
    (folder / "a.md").unlink()
    (folder / "b.md").write_text("# Printing\n\nBuy a new printer.\n")
    second = local.ingest(folder)
    assert (second.updated, second.removed, local.document_count) == (1, 1, 1)
    assert local.ingest(folder).unchanged == 1


def test_a_support_bot_answers_from_it(local: ExternalCollection) -> None:
    local.add(documents())
    bot = SupportBot(local, options=AnswerOptions(mode="dense"))  # type: ignore[arg-type]
    answer = bot.ask("How do I reset my password?")
    assert answer.citations[0].document == "passwords"


def test_shorter_vectors_are_prefixes(encoder: Encoder) -> None:
    engines.need("qdrant")
    backend = engines.open_backend("qdrant-memory", ":memory:", dimension=128)
    kb = ExternalCollection(backend, encoder=encoder)
    kb.add(documents()[:1])
    query = encoder.encode("reset password", role="query", dim=128)[0]
    text = "Passwords\nTo reset your password, open Settings and choose Security."
    passage = encoder.encode(text, dim=128)[0]
    assert kb.search("reset password", dim=128).hits[0].score == pytest.approx(
        float(query @ passage), abs=1e-4
    )
    with pytest.raises(InvalidArgument, match="dim is 64"):
        kb.search("reset password", dim=64)


class _Breaks:
    """A backend that fails at its n-th change."""

    def __init__(self, backend: VectorBackend, after: int) -> None:
        self.backend = backend
        self.left = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def _change(self) -> None:
        if self.left == 0:
            raise OSError("the plug was pulled")
        self.left -= 1

    def upsert(self, records: Sequence[Record], vectors: npt.NDArray[np.float32]) -> None:
        for i, record in enumerate(records):
            self._change()
            self.backend.upsert([record], vectors[i : i + 1])

    def delete(self, ids: Sequence[str]) -> None:
        for name in ids:
            self._change()
            self.backend.delete([name])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    torch.manual_seed(0)
    return Encoder.load(save(TAESRModel(small_config()), tmp_path_factory.mktemp("models") / "tiny"))


LONG = Document(id="a", text=HANDBOOK[:2400])
SHORT = Document(id="a", text=HANDBOOK[:1400])
LINE = Document(id="a", text="One line.")
NOTHING = Document(id="a", text="")


@pytest.mark.parametrize(
    ("before", "after"),
    [(NOTHING, LONG), (SHORT, LONG), (LONG, SHORT), (LONG, LINE), (LONG, NOTHING)],
)
def test_adding_again_finishes_what_was_interrupted_at_any_record(
    tiny: Encoder, before: Document, after: Document
) -> None:
    engines.need("qdrant")

    def start(document: Document) -> VectorBackend:
        backend = engines.open_backend("qdrant-memory", ":memory:", dimension=4)
        ExternalCollection(backend, encoder=tiny).add([document])
        return backend

    def content(backend: VectorBackend) -> list[tuple[Any, ...]]:
        return sorted((r.id, r.text, sorted(r.metadata.items())) for r in backend.scan())

    expected = content(start(after))
    interrupted = 0
    while True:
        backend = start(before)
        broken: Any = _Breaks(backend, interrupted)
        try:
            ExternalCollection(broken, encoder=tiny).add([after])
        except OSError:
            interrupted += 1
        else:
            break
        again = ExternalCollection(backend, encoder=tiny).add([after])
        assert again.added + again.updated + again.unchanged == 1
        assert content(backend) == expected
        assert ExternalCollection(backend, encoder=tiny).add([after]).unchanged == 1
    assert content(backend) == expected
    assert interrupted > 2


def test_records_of_others_are_refused(encoder: Encoder) -> None:
    engines.need("qdrant")
    for metadata, message in (({}, "another program"), ({"taesr_model": "123"}, "the model 123")):
        backend = engines.open_backend("qdrant-memory", ":memory:", dimension=4)
        kb = ExternalCollection(backend, encoder=encoder)
        backend.upsert([Record("x", "text", metadata)], np.ones((1, 4), np.float32))
        with pytest.raises(ModelMismatch, match=message):
            kb.search("anything")
        with pytest.raises(ModelMismatch, match=message):
            ExternalCollection(backend, encoder=encoder)


def test_wrong_use_is_refused_before_anything_is_written(local: ExternalCollection, encoder: Encoder) -> None:
    for wrong, message in (
        ([Document(id="a", text="x"), Document(id="a", text="y")], "twice"),
        ([Document(id="a", text="x", metadata={"taesr_part": 1})], "taken"),
        ([Document(id="a", text="x"), Document(id="b", text="x", metadata={"n": float("nan")})], "float"),
        ([Document(id="a", text="x"), Document(id="b", text="x", metadata={"$k": 1})], "rename"),
    ):
        with pytest.raises(ValueError, match=message):
            local.add(wrong)
        assert local.chunk_count == 0
    with pytest.raises(InvalidArgument, match="'hybrid'"):
        local.search("x", mode="hybrid")
    for k in (0, 10_001):
        with pytest.raises(InvalidArgument, match="k is"):
            local.search("x", k=k)
    wide = engines.open_backend("qdrant-memory", ":memory:", dimension=encoder.dimension + 1)
    with pytest.raises(InvalidArgument, match="dimension"):
        ExternalCollection(wide, encoder=encoder)
    local.close()
    local.close()
    with pytest.raises(InvalidArgument, match="closed"):
        local.search("x")


def test_progress_counts_documents(local: ExternalCollection) -> None:
    seen: list[tuple[int, int]] = []
    local.add(
        [Document(id=f"{i}", text="") for i in range(600)],
        progress=lambda done, all_: seen.append((done, all_)),
    )
    assert seen == [(256, 600), (512, 600), (600, 600)]
