"""The databases that the tests run against, each the real one."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taesr.integrations import VectorBackend

EMBEDDED = ("chroma", "milvus", "qdrant")
SERVERS = ("chroma-server", "milvus-server")
NAMES = (*EMBEDDED, *SERVERS, "qdrant-memory")
_PACKAGES = {"chroma": ("chromadb",), "milvus": ("pymilvus", "milvus_lite"), "qdrant": ("qdrant_client",)}


def need(name: str) -> None:
    """Skip the test where the database's package is not installed."""
    extra = name.split("-")[0]
    for package in _PACKAGES[extra]:
        pytest.importorskip(package, reason=f"needs {package}: pip install 'taesr[{extra}]'")


def open_backend(
    name: str, location: str | Path, *, dimension: int, collection: str = "support"
) -> VectorBackend:
    """A backend of this kind."""
    from taesr.integrations import ChromaBackend, MilvusBackend, QdrantBackend

    classes = {"chroma": ChromaBackend, "milvus": MilvusBackend, "qdrant": QdrantBackend}
    return classes[name.split("-")[0]](collection, location=location, dimension=dimension)


def location_in(name: str, folder: Path) -> str:
    """Where a database that is embedded lies."""
    places = {"chroma": folder / "chroma", "milvus": folder / "milvus.db", "qdrant": folder / "qdrant"}
    return str(places.get(name, ":memory:"))


@contextlib.contextmanager
def served(name: str, folder: Path) -> Iterator[str]:
    """The address of a server that only this machine can reach."""
    command = {
        "chroma-server": ("chroma", "run", "--path"),
        # What milvus-lite serves is for clients what a Milvus server is.
        "milvus-server": ("milvus-lite", "server", "--data-dir"),
    }[name]
    program = shutil.which(command[0], path=os.path.dirname(sys.executable)) or shutil.which(command[0])
    if program is None:
        pytest.skip(f"the command {command[0]} is not on the path: pip install 'taesr[{name.split('-')[0]}]'")
    port = free_port()
    log = folder / f"{name}.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [program, *command[1:], str(folder / name), "--host", "127.0.0.1", "--port", str(port)],
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=os.environ | {"ANONYMIZED_TELEMETRY": "False"},
        )
    try:
        _wait_for(port, server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text()}")
