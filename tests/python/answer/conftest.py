"""Collections to ask."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from asking import MakeCollection

import taesr
from taesr.samples import KNOWLEDGE_BASE


@pytest.fixture(scope="session")
def encoder() -> taesr.Encoder:
    """The bundled model, loaded once."""
    return taesr.Encoder.load()


@pytest.fixture(scope="session")
def knowledge_base(
    tmp_path_factory: pytest.TempPathFactory, encoder: taesr.Encoder
) -> Iterator[taesr.Collection]:
    """The bundled articles, opened for reading."""
    directory = tmp_path_factory.mktemp("answer") / "kb"
    with taesr.Collection.open(directory, encoder=encoder) as collection:
        report = collection.ingest([KNOWLEDGE_BASE], depth="easy")
        assert report.failed == []
    with taesr.Collection.open(directory, encoder=encoder, read_only=True) as collection:
        yield collection


@pytest.fixture
def make_collection(tmp_path: Path, encoder: taesr.Encoder) -> Iterator[MakeCollection]:
    """Makes collections of files by name and text, as `taesr ingest` reads them."""
    made: list[taesr.Collection] = []

    def make(files: Mapping[str, str]) -> taesr.Collection:
        folder = tmp_path / f"docs{len(made)}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        collection = taesr.Collection.open(tmp_path / f"kb{len(made)}", encoder=encoder)
        made.append(collection)
        if files:
            assert collection.ingest([folder], depth="easy").failed == []
        return collection

    yield make
    for collection in made:
        collection.close()
