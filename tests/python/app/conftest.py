"""A collection of the bundled articles for the app to open."""

from pathlib import Path

import pytest

import taesr
from taesr.samples import KNOWLEDGE_BASE


@pytest.fixture(scope="session")
def collection_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a closed collection."""
    directory = tmp_path_factory.mktemp("app") / "handbook"
    with taesr.Collection.open(directory) as collection:
        assert collection.ingest([KNOWLEDGE_BASE], depth="easy").failed == []
    return directory
