"""Starting the app's server: where it listens, and when it refuses to."""

import importlib.metadata
import socket
from pathlib import Path

import pytest

from taesr.app import launch
from taesr.errors import InvalidArgument, IoError


def test_the_server_listens_locally_without_telemetry_and_with_xsrf_protection(tmp_path: Path) -> None:
    command = launch.command(tmp_path, port=8601, host="127.0.0.1")
    for option in (
        "--server.address=127.0.0.1",
        "--server.port=8601",
        "--browser.gatherUsageStats=false",
        "--server.enableXsrfProtection=true",
        "--server.enableCORS=true",
        "--server.headless=true",
    ):
        assert option in command
    assert command[-2:] == ["--", str(tmp_path.resolve())]


LOCAL = ("127.0.0.1", "localhost", "::1", "127.9.9.9")
OTHERS = ("0.0.0.0", "::", "192.168.1.4", "example.org", "")


@pytest.mark.parametrize("host", [*LOCAL, *OTHERS])
def test_what_counts_as_this_computer(host: str) -> None:
    assert launch.is_local(host) is (host in LOCAL)


@pytest.mark.parametrize("password", [None, "", "short"])
def test_a_host_that_others_reach_needs_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str | None
) -> None:
    monkeypatch.delenv(launch.PASSWORD_VARIABLE, raising=False)
    if password is not None:
        monkeypatch.setenv(launch.PASSWORD_VARIABLE, password)
    with pytest.raises(InvalidArgument, match=r"TAESR_APP_PASSWORD.*12 characters or more"):
        launch.run(tmp_path, host="0.0.0.0")


def test_a_missing_collection_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(IoError, match="does not exist; make one with: taesr ingest"):
        launch.run(tmp_path / "nowhere")


def test_a_port_in_use_is_said_with_the_remedy(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(IoError, match="choose another with --port"),
    ):
        launch.run(tmp_path, port=taken.getsockname()[1])


def test_a_host_that_is_not_this_computer_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(launch.PASSWORD_VARIABLE, "long enough for this")
    with pytest.raises(IoError, match=r"192\.0\.2\.1"):
        launch.run(tmp_path, host="192.0.2.1")


def test_streamlit_missing_or_too_old_is_said_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(IoError, match=r"pip install 'streamlit>=1.59'"):
        launch.run(tmp_path)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.58.3")
    with pytest.raises(IoError, match=r"1.59 or newer, this is 1.58.3"):
        launch.run(tmp_path)
