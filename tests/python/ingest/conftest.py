"""Fixtures of the ingest tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from section_checks import check_sections

from taesr import ingest
from taesr.document import Document
from taesr.ingest import Limits, LoadedFile
from taesr.ingest.sandbox import Sandbox
from taesr.ingest.walk import find_files

Load = Callable[[str, bytes | str], LoadedFile]
Read = Callable[[str, bytes | str], Document]


@pytest.fixture(scope="session")
def parsers() -> Iterator[Sandbox]:
    """One parsing process for all tests, as in one ingest; `load_file` starts one for each file."""
    with Sandbox(Limits()) as sandbox:
        yield sandbox


@pytest.fixture
def load(tmp_path: Path, parsers: Sandbox) -> Load:
    """Writes a file and loads it."""

    def write_and_load(name: str, content: bytes | str) -> LoadedFile:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return ingest._load(find_files([path])[0], parsers, Limits(), {})

    return write_and_load


@pytest.fixture
def read(load: Load) -> Read:
    """Writes a file and returns its document, which must have been loaded and be consistent."""

    def write_and_read(name: str, content: bytes | str) -> Document:
        loaded = load(name, content)
        assert loaded.status == "loaded", loaded.reason
        document = loaded.document
        assert document is not None
        check_sections(document)
        return document

    return write_and_read


@pytest.fixture
def section_texts() -> Callable[[Document], dict[str, str]]:
    """Text of each section by its path."""
    return lambda document: {
        section.path: document.text.encode()[section.begin : section.end].decode().strip()
        for section in document.sections
    }
