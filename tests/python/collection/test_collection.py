from pathlib import Path

import pytest

import taesr
from taesr import Collection, Document, Encoder


@pytest.fixture
def kb(tmp_path: Path, encoder: Encoder) -> Collection:
    return Collection.open(tmp_path / "kb", encoder=encoder)


def documents() -> list[Document]:
    return [
        Document(
            id="passwords",
            title="Passwords",
            text="To reset your password, open Settings and choose Security.",
        ),
        Document(
            id="invoices",
            title="Invoices",
            text="Invoices are sent by mail on the first day of every month.",
            metadata={"product": "billing", "year": 2026},
        ),
        Document(
            id="printing", title="Printing", text="If the printer is offline, switch it off and on again."
        ),
    ]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "keyword"])
def test_every_mode_finds_the_document(kb: Collection, mode: str) -> None:
    report = kb.add(documents())
    assert (report.added, report.chunks) == (3, 3)
    result = kb.search("how do I reset my password", k=2, mode=mode)
    assert result.hits[0].document == "passwords"
    assert result.hits[0].text == documents()[0].text
    assert set(result.hits[0].ranks) <= {"dense", "keyword"}
    assert result.depth == (0 if mode == "keyword" else 3)
    assert result.timings["total"] >= 0


def test_scores_are_cosines_and_fused_ranks(kb: Collection, encoder: Encoder) -> None:
    kb.add(documents())
    dense = kb.search("printer offline", mode="dense")
    assert len(dense) == 3
    assert all(-1.001 <= hit.score <= 1.001 for hit in dense)
    top = kb.search("printer offline").hits[0]
    assert top.score == pytest.approx(sum(1 / (60 + rank) for rank in top.ranks.values()))


def test_filter_keeps_only_what_matches(kb: Collection) -> None:
    kb.add(documents())
    for wanted in ({"product": "billing"}, {"year": 2026}, {"product": "billing", "year": 2026}):
        assert [hit.document for hit in kb.search("password", filter=wanted)] == ["invoices"]
    assert kb.search("password", filter={"product": "other"}).hits == []


def test_adding_again_changes_only_what_changed(kb: Collection) -> None:
    kb.add(documents())
    changed = [*documents()[:2], Document(id="printing", text="Paper jams are cleared from behind.")]
    report = kb.add(changed)
    assert (report.added, report.updated, report.unchanged, report.chunks) == (0, 1, 2, 1)
    assert kb.search("paper jam").hits[0].text == "Paper jams are cleared from behind."
    assert kb.remove(["printing", "nothing"]) == 1
    assert kb.document_count == 2


def test_collection_survives_closing(tmp_path: Path, encoder: Encoder) -> None:
    with Collection.open(tmp_path / "kb", encoder=encoder) as kb:
        kb.add(documents())
    with Collection.open(tmp_path / "kb", encoder=encoder, read_only=True) as kb:
        assert kb.search("reset password", k=1).hits[0].document == "passwords"
        with pytest.raises(taesr.InvalidArgument, match="read-only"):
            kb.add(documents())
    with pytest.raises(taesr.InvalidArgument, match="closed"):
        kb.search("anything")


def test_another_model_is_refused_and_leaves_the_collection_as_it_was(
    tmp_path: Path, encoder: Encoder
) -> None:
    with Collection.open(tmp_path / "kb", encoder=encoder) as kb:
        kb.add(documents())
    before = (tmp_path / "kb" / "collection.sqlite").read_bytes()

    other = tmp_path / "model"
    model = taesr.TAESRModel.from_pretrained(encoder.source)
    model.get_parameter("head.bias").data += 0.01
    model.save_pretrained(other)
    with pytest.raises(taesr.ModelMismatch, match=encoder.fingerprint[:8]):
        Collection.open(tmp_path / "kb", encoder=Encoder.load(other))
    assert (tmp_path / "kb" / "collection.sqlite").read_bytes() == before


def test_a_second_writer_is_refused_at_once(tmp_path: Path, kb: Collection, encoder: Encoder) -> None:
    with pytest.raises(taesr.IoError, match=r"process \d+|pid"):
        Collection.open(tmp_path / "kb", encoder=encoder)


@pytest.mark.parametrize(
    "query", ["", "   ", "the of and", "a\0b", "\ud800", "x" * 200_000, "日本語", '"unbalanced (AND']
)
def test_any_query_is_harmless(kb: Collection, query: str) -> None:
    kb.add(documents())
    for mode in ("hybrid", "dense", "keyword"):
        assert len(kb.search(query, mode=mode)) <= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 10**6}, "10,?000"),
        ({"mode": "fuzzy"}, "fuzzy"),
        ({"depth": "deep"}, "depth is 'deep'"),
        ({"dim": 500}, "dim is 500; allowed: 1 to 384"),
    ],
)
def test_bad_options_are_named(kb: Collection, options: dict, message: str) -> None:
    with pytest.raises(taesr.InvalidArgument, match=message):
        kb.search("password", **options)


class Folder:
    """A folder of Markdown files to ingest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)

    def write(self, name: str, text: str) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "docs")
    folder.write("a.md", "# Passwords\n\nOpen Settings to reset a password.")
    folder.write("deep/b.md", "# Printing\n\nThe printer is offline.")
    return folder


def test_a_second_ingest_changes_only_what_changed(kb: Collection, folder: Folder) -> None:
    first = kb.ingest(folder.path)
    assert (first.added, first.unchanged, first.removed) == (2, 0, 0)
    folder.write("a.md", "# Passwords\n\nAsk the desk.")
    folder.write("c.md", "# Paper\n\nTray two.")
    (folder.path / "deep/b.md").unlink()
    second = kb.ingest(folder.path)
    assert (second.added, second.updated, second.unchanged, second.removed) == (1, 1, 0, 1)
    assert sorted(info.id for info in kb.documents()) == ["a.md", "c.md"]
    third = kb.ingest(folder.path)
    assert (third.added, third.updated, third.unchanged, third.chunks) == (0, 0, 2, 0)
    assert kb.ingest(folder.path, replace=True).updated == 2


def test_a_file_that_turns_bad_keeps_its_last_good_content(kb: Collection, folder: Folder) -> None:
    kb.ingest(folder.path)
    (folder.path / "a.md").write_bytes(b"\0\1\2\3")
    report = kb.ingest(folder.path)
    assert [(Path(path).name, bool(reason)) for path, reason in report.failed] == [("a.md", True)]
    assert report.removed == 0
    assert kb.search("reset a password", k=1).hits[0].document == "a.md"


def test_a_folder_that_turns_unreadable_keeps_its_documents(
    kb: Collection, folder: Folder, monkeypatch
) -> None:
    kb.ingest(folder.path)
    import os

    real = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = kb.ingest(folder.path)
    assert report.removed == 0
    assert len(report.failed) == 1
    assert kb.document_count == 2


def test_two_folders_with_the_same_relative_path_do_not_overwrite_each_other(
    kb: Collection, folder: Folder, tmp_path: Path
) -> None:
    kb.ingest(folder.path)
    other = Folder(tmp_path / "other")
    other.write("a.md", "# Another\n\nSomething else.")
    report = kb.ingest(other.path)
    assert report.updated == 0
    assert "two collections" in report.failed[0][1]
    assert kb.search("reset a password", k=1).hits[0].source == str(folder.path / "a.md")


def test_documents_come_back_as_they_were_added(kb: Collection) -> None:
    original = Document(
        id="a", text="Intro. Part.", title="T", sections=(taesr.Section("P", 7, 12),), metadata={"year": 2026}
    )
    kb.add([original])
    stored = kb.document("a")
    assert (stored.text, stored.title, stored.sections) == (original.text, "T", original.sections)
    assert stored.metadata == {"year": 2026}
    assert kb.document("nothing") is None


def test_chunks_cover_a_document(encoder: Encoder) -> None:
    text = " ".join(f"Sentence number {i} is here." for i in range(200))
    chunks = taesr.chunk_document(Document(id="a", text=text), count_tokens=encoder.count_tokens)
    assert len(chunks) > 3
    assert all(chunk.tokens == encoder.count_tokens(chunk.text) <= 220 for chunk in chunks)
    assert all(text[chunk.begin : chunk.end] == chunk.text for chunk in chunks)  # ASCII: bytes are characters
    covered = {i for chunk in chunks for i in range(chunk.begin, chunk.end)}
    assert all(i in covered or text[i] == " " for i in range(len(text)))
    with pytest.raises(taesr.InvalidArgument, match="max_tokens"):
        taesr.chunk_document(Document(id="a", text=text), max_tokens=100)


def test_progress_ends_with_every_file(kb: Collection, folder: Folder) -> None:
    calls: list[tuple[int, int]] = []
    kb.ingest(folder.path, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (2, 2)


def test_long_documents_are_chunked_with_sections_and_offsets(kb: Collection, folder: Folder) -> None:
    body = " ".join(f"Step {i} of the installation copies file number {i} to the disk." for i in range(120))
    folder.write("long.md", f"# Guide\n\n## Install\n\n{body}\n\n## Remove\n\n{body}")
    kb.ingest(folder.path, chunk_tokens=200, overlap=50)
    hits = [hit for hit in kb.search("installation copies file number 77", k=50) if hit.document == "long.md"]
    assert len(hits) > 5
    text = kb.document("long.md").text.encode()
    for hit in hits:
        assert text[hit.begin : hit.end].decode() == hit.text
        assert hit.section.startswith("Guide > ")
