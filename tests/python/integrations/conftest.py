from collections.abc import Iterator
from pathlib import Path

import pytest

from taesr.integrations import VectorBackend
from tests.python.integrations import engines


@pytest.fixture(scope="session")
def chroma_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Chroma server for all tests."""
    with engines.served("chroma-server", tmp_path_factory.mktemp("served")) as address:
        yield address


@pytest.fixture(scope="session")
def milvus_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Milvus server for all tests."""
    with engines.served("milvus-server", tmp_path_factory.mktemp("served")) as address:
        yield address


@pytest.fixture(params=engines.NAMES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of a database that is installed."""
    name: str = request.param
    engines.need(name)
    return name


@pytest.fixture
def location(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the database is."""
    if engine in engines.SERVERS:
        address: str = request.getfixturevalue(f"{engine.split('-')[0]}_address")
        return address
    return engines.location_in(engine, tmp_path)


@pytest.fixture
def collection(request: pytest.FixtureRequest) -> str:
    """A collection's name of the test's own: the server outlives it."""
    return f"t{abs(hash(request.node.nodeid))}"


@pytest.fixture
def backend(engine: str, location: str, collection: str) -> Iterator[VectorBackend]:
    """An empty collection of vectors with four values."""
    opened = engines.open_backend(engine, location, dimension=4, collection=collection)
    yield opened
    opened.close()
