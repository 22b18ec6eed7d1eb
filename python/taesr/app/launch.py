"""Starts the web server of the app."""

import importlib.metadata
import ipaddress
import json
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from taesr.errors import InvalidArgument, IoError

PASSWORD_VARIABLE = "TAESR_APP_PASSWORD"
_STREAMLIT_VERSION = (1, 59)
_MIN_PASSWORD = 12


def run(
    collection: Path,
    *,
    port: int = 8501,
    host: str = "127.0.0.1",
    generator: str = "extractive",
    generator_options: Mapping[str, Any] | None = None,
) -> NoReturn:
    """Serve a chat over `collection` until it is stopped with Ctrl-C.

    Does not return: this process becomes the web server.

    Parameters
    ----------
    collection
        Folder of the collection; it is opened for reading only.
    port, host
        Where to listen. By default only programs on this computer can connect. Any other host needs
        a password of at least 12 characters in the environment variable TAESR_APP_PASSWORD, which
        the app then asks for.
    generator, generator_options
        What writes answers, as `taesr.answer.create_generator` takes it, and the fields of its
        `GeneratorOptions`. Visitors can switch to extractive answers.

    Raises
    ------
    InvalidArgument
        The host can be reached from outside and there is no password.
    IoError
        There is no collection, streamlit is missing or too old, or the port is in use.
    """
    if not collection.is_dir():
        remedy = f"make one with: taesr ingest PATH --collection {collection}"
        raise IoError(f"collection {collection} does not exist; {remedy}")
    _check_streamlit()
    _check_password(host)
    _check_port(host, port)
    print(f"The chat is at http://{_in_url(host)}:{port} - stop it with Ctrl-C.", flush=True)
    # The process becomes the server, so that whatever stops it stops the server and leaves nothing behind.
    arguments = command(collection, port=port, host=host)
    if generator != "extractive":
        arguments.append(json.dumps([generator, dict(generator_options or {})]))
    os.execv(arguments[0], arguments)


def command(collection: Path, *, port: int, host: str) -> list[str]:
    """The server's command line. Options given here win over the user's own Streamlit settings."""
    options = {
        "server.address": host,
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.enableXsrfProtection": "true",
        "server.enableCORS": "true",
        "server.enableStaticServing": "false",
        "server.maxUploadSize": 1,
        "server.disconnectedSessionTTL": 60,
        "browser.gatherUsageStats": "false",
        "browser.serverAddress": host,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "logger.level": "warning",
        # By mode, so that the app follows the visitor's choice of light or dark.
        "theme.light.primaryColor": "#2f6f5e",
        "theme.dark.primaryColor": "#5fb39b",
        "theme.light.showWidgetBorder": "true",
        "theme.dark.showWidgetBorder": "true",
    }
    script = Path(__file__).with_name("main.py")
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(script), *flags, "--", str(collection.resolve())]


def _check_streamlit() -> None:
    wanted = ".".join(map(str, _STREAMLIT_VERSION))
    remedy = f"install it with: pip install 'streamlit>={wanted}'"
    try:
        found = importlib.metadata.version("streamlit")
    except importlib.metadata.PackageNotFoundError:
        raise IoError(f"the app needs the package streamlit; {remedy}") from None
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < _STREAMLIT_VERSION:
        raise IoError(f"the app needs streamlit {wanted} or newer, this is {found}; {remedy}")


def _check_password(host: str) -> None:
    if is_local(host):
        return
    length = len(os.environ.get(PASSWORD_VARIABLE, ""))
    if length < _MIN_PASSWORD:
        state = f"has {length} characters" if length else "is not set"
        raise InvalidArgument(
            f"host {host} lets others on the network read the collection, and {PASSWORD_VARIABLE} {state}; "
            f"set it to a password of {_MIN_PASSWORD} characters or more, or use 127.0.0.1"
        )


def is_local(host: str) -> bool:
    """Whether only programs on this computer can connect to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise IoError(
            f"cannot listen on host {host}: {error.strerror}; give this computer's name or address"
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise IoError(
                f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port"
            ) from error


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
