"""The app in a real browser, started as `taesr app` starts it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from chromium import EXECUTABLE, Chromium

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="chromium is not installed")

ANSWERS = "document.querySelectorAll('.answer, .unsure').length"
INPUT = "document.querySelector('[data-testid=stChatInput] textarea')"


@pytest.fixture(scope="module")
def address(collection_path: Path) -> Iterator[str]:
    """A running app."""
    with serve(collection_path) as found:
        yield found


@contextmanager
def serve(collection_path: Path, *more: str) -> Iterator[str]:
    """Run an app with further options; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--collection", str(collection_path), "--host", "127.0.0.1", "--port", str(port), *more]
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


def begin_question(page: Chromium, question: str = "How do I move a collection to another computer?") -> None:
    page.wait_for(f"{INPUT} !== null && !{INPUT}.disabled")
    page.evaluate(f"{INPUT}.focus()")
    page.type(question)
    page.wait_for(f"{INPUT}.value.length > 0")
    page.press_enter()


def ask(page: Chromium, question: str, answers: int) -> None:
    begin_question(page, question)
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


class Slow(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that writes a word, and the rest when the test lets it."""

    go_on = threading.Event()

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self.word("<b>Copy</b> ")
            self.go_on.wait(60)
            for _ in range(50):
                self.word("its folder to the other computer [1]. ")
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            pass

    def word(self, text: str) -> None:
        event = {"choices": [{"delta": {"content": text}}]}
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


def test_an_answer_is_read_while_it_is_written_and_can_be_stopped(collection_path: Path) -> None:
    endpoint = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{endpoint.server_port}/v1"
    options = ["--generator", "openai", "--generator-url", url, "--generator-model", "m"]
    stop = "[...document.querySelectorAll('button')].find(b => /^Stop/.test(b.innerText))"
    try:
        with serve(collection_path, *options) as address, Chromium() as page:
            page.open(address)
            page.wait_for(f"{INPUT} !== null", seconds=120)
            begin_question(page)
            page.wait_for("document.querySelector('.draft')?.innerText.trim() === '<b>Copy</b>'")
            page.wait_for(f"{stop} !== undefined")
            page.evaluate(f"{stop}.click()")
            Slow.go_on.set()
            page.wait_for("document.querySelector('.unsure')?.innerText.includes('Stopped')")
            begin_question(page)
            page.wait_for("document.querySelector('.answer')?.innerText.includes('other computer')")
            assert page.evaluate("document.querySelector('.draft') === null")
    finally:
        Slow.go_on.set()
        endpoint.shutdown()
        endpoint.server_close()
