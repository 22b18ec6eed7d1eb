"""The app in a real browser, started as `taesr app` starts it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import EXECUTABLE, Chromium

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="chromium is not installed")

ANSWERS = "document.querySelectorAll('.answer, .unsure').length"
INPUT = "document.querySelector('[data-testid=stChatInput] textarea')"


@pytest.fixture(scope="module")
def address(collection_path: Path) -> Iterator[str]:
    """A running app."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--collection", str(collection_path), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "taesr", "app", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        announced = server.stdout.readline()
        assert f"http://127.0.0.1:{port}" in announced
        wait_until_it_listens(port)
        yield f"http://127.0.0.1:{port}"
        # What Ctrl-C sends; nothing may go on listening.
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the app did not start")


def ask(page: Chromium, question: str, answers: int) -> None:
    page.wait_for(f"{INPUT} !== null && !{INPUT}.disabled")
    page.evaluate(f"{INPUT}.focus()")
    page.type(question)
    page.wait_for(f"{INPUT}.value.length > 0")
    page.press_enter()
    page.wait_for(f"{ANSWERS} === {answers}", seconds=120)


def test_a_visitor_asks_reads_the_source_and_is_told_when_the_bot_is_not_sure(
    address: str, tmp_path: Path
) -> None:
    with Chromium() as page:
        page.open(address)
        page.wait_for("document.querySelector('.welcome') !== null", seconds=120)
        ask(page, "How do I move a collection to another computer?", 1)
        page.wait_for("document.querySelector('.card mark') !== null")
        assert "move-or-back-up.md" in page.evaluate("document.querySelector('.card').innerText")
        assert page.evaluate("document.querySelector('.welcome') === null")
        ask(page, "What is the best pizza in Naples?", 2)
        assert page.evaluate("document.querySelectorAll('.unsure').length") == 1
        page.evaluate(
            "[...document.querySelectorAll('button')].find(b => /Read the doc/.test(b.innerText)).click()"
        )
        page.wait_for("document.querySelector('.document-text mark') !== null")
        picture = Path(os.environ.get("TAESR_SCREENSHOTS", tmp_path)) / "app.png"
        page.screenshot(picture)
        assert picture.stat().st_size > 20_000
        outside = [url for url in page.requests if not url.startswith((address, "data:", "blob:", "about:"))]
        assert outside == []


def test_an_example_is_one_click_away(address: str) -> None:
    with Chromium() as page:
        page.open(address)
        page.wait_for(
            "[...document.querySelectorAll('button')].some(b => /file formats/.test(b.innerText))",
            seconds=120,
        )
        page.evaluate(
            "[...document.querySelectorAll('button')].find(b => /file formats/.test(b.innerText)).click()"
        )
        page.wait_for(f"{ANSWERS} === 1", seconds=120)
        assert "Markdown" in page.evaluate("document.querySelector('.answer').innerText")


def test_a_question_with_markup_is_text_in_the_browser(address: str) -> None:
    with Chromium() as page:
        page.open(address)
        ask(page, "<img src=x onerror=document.title='owned'> ![a](https://evil.example/a.png)", 1)
        assert page.evaluate("document.title") != "owned"
        assert page.evaluate("document.querySelectorAll('.question img').length") == 0
        assert not any("evil.example" in url for url in page.requests)
