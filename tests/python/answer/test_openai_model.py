"""An OpenAI-compatible endpoint, good and bad, over real HTTP."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from writing import passage

from taesr.answer import GeneratorOptions, create_generator
from taesr.answer.openai_model import OpenAIModel
from taesr.errors import FormatError, InvalidArgument, IoError

MESSAGES = [{"role": "user", "content": "How?"}]
KEY = "sk-very-secret"
Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Hands every request to the test's reply."""

    server: "Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.requests.append((self.path, dict(self.headers), json.loads(body)))
        try:
            self.server.reply(self)
        except (BrokenPipeError, ConnectionResetError):
            self.server.broken.set()

    def do_GET(self) -> None:
        self.do_POST()

    def begin(self, code: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def piece(self, text: str, **more: Any) -> None:
        self.event(json.dumps({"choices": [{"delta": {"content": text}, **more}]}))

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Replies as its attribute `reply` does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.broken = threading.Event()
        self.reply: Reply = lambda handler: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def text_of(server: Server, reply: Reply, *, timeout: float = 5, key: str = "") -> str:
    server.reply = reply
    return "".join(OpenAIModel(server.url, "m", key=key, timeout=timeout).stream(MESSAGES, max_tokens=9))


def good(handler: Handler) -> None:
    handler.begin()
    handler.wfile.write(b": keep-alive\n\nevent: message\n")
    handler.event(json.dumps({"choices": [{"delta": {"role": "assistant", "content": None}}]}))
    handler.piece("Hold ")
    handler.piece("it \u00e9 [1]")
    handler.event(json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]}))
    handler.event(json.dumps({"choices": [], "usage": {"total_tokens": 3}}))
    handler.event("[DONE]")


def test_pieces_arrive_and_the_request_is_what_the_interface_wants(server: Server) -> None:
    assert text_of(server, good, key=f" {KEY}\n") == "Hold it \u00e9 [1]"
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "m", "messages": MESSAGES, "max_tokens": 9, "temperature": 0, "stream": True}


def test_without_a_key_none_is_sent(server: Server) -> None:
    text_of(server, good)
    assert "Authorization" not in server.requests[0][1]


def test_pieces_come_before_the_answer_is_complete(server: Server) -> None:
    go_on = threading.Event()

    def reply(handler: Handler) -> None:
        handler.begin()
        handler.piece("first")
        go_on.wait(10)
        handler.piece("second")
        handler.event("[DONE]")

    server.reply = reply
    pieces = OpenAIModel(server.url, "m").stream(MESSAGES, max_tokens=9)
    assert next(pieces) == "first"
    go_on.set()
    assert list(pieces) == ["second"]


def test_closing_the_stream_closes_the_connection(server: Server) -> None:
    def reply(handler: Handler) -> None:
        handler.begin()
        for _ in range(2000):
            handler.piece("word " * 200)
            time.sleep(0.002)

    server.reply = reply
    pieces = OpenAIModel(server.url, "m").stream(MESSAGES, max_tokens=9)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert server.broken.wait(10)


def test_a_server_that_does_not_stream_is_read_too(server: Server) -> None:
    def reply(handler: Handler) -> None:
        handler.begin(kind="application/json; charset=utf-8")
        handler.wfile.write(json.dumps({"choices": [{"message": {"content": "Hold it"}}]}).encode())

    assert text_of(server, reply) == "Hold it"


@pytest.mark.parametrize(
    ("code", "body", "message"),
    [
        (401, {"error": {"message": "bad key"}}, r"answered 401: bad key; set OPENAI_API_KEY .*not set"),
        (403, {"error": "no"}, "answered 403: no; the key in OPENAI_API_KEY may not"),
        (404, {}, r"answered 404.*ends with /v1"),
        (429, {"message": "slow down"}, "answered 429: slow down; too many requests"),
        (400, {"error": {"message": "context too long"}}, "400: context too long; a context_tokens"),
        (500, "<html>oops</html>", "answered 500: <html>oops</html>; try again later"),
        (503, "", "answered 503; try again later"),
        (
            500,
            {"error": {"message": "line\none\x1b[31m " + "x" * 900}},
            r"500: line one \[31m x{100,190}; try",
        ),
    ],
)
def test_refusals_of_the_server_are_one_line_with_a_remedy(
    server: Server, code: int, body: Any, message: str
) -> None:
    def reply(handler: Handler) -> None:
        handler.begin(code, "application/json")
        handler.wfile.write((body if isinstance(body, str) else json.dumps(body)).encode())

    with pytest.raises(IoError, match=message) as caught:
        text_of(server, reply)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_key_is_in_no_message(server: Server) -> None:
    def reply(handler: Handler) -> None:
        handler.begin(401, "application/json")
        handler.wfile.write(json.dumps({"error": {"message": f"Incorrect key {KEY} provided"}}).encode())

    with pytest.raises(IoError, match=r"Incorrect key \*\*\* provided") as caught:
        text_of(server, reply, key=KEY)
    assert KEY not in str(caught.value)


def test_a_redirect_is_not_followed(server: Server) -> None:
    def reply(handler: Handler) -> None:
        handler.begin(307, Location=f"{server.url}/elsewhere")

    with pytest.raises(IoError, match="answered 307; it redirects, which is not followed"):
        text_of(server, reply, key=KEY)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("not json", "the reply is not JSON but 'not json'"),
        ("[1, 2]", "not a JSON object"),
        ("{}", 'no "choices"'),
        ('{"choices": [3]}', 'no "choices"'),
        ('{"choices": {"0": 1}}', 'no "choices"'),
        ('{"choices": [{"delta": {"content": 7}}]}', "is not a text"),
        ('{"choices": [{"delta": {"content": ["a"]}}]}', "is not a text"),
    ],
)
def test_malformed_events_are_format_errors(server: Server, event: str, message: str) -> None:
    def reply(handler: Handler) -> None:
        handler.begin()
        handler.event(event)

    with pytest.raises(FormatError, match=message):
        text_of(server, reply)


@pytest.mark.parametrize("body", ["", "nope", "[]", "{}", '{"choices": [{"message": {"content": null}}]}'])
def test_malformed_whole_replies_are_format_errors(server: Server, body: str) -> None:
    def reply(handler: Handler) -> None:
        handler.begin(kind="application/json")
        handler.wfile.write(body.encode())

    with pytest.raises(FormatError, match="chat/completions: the reply"):
        text_of(server, reply)


def test_an_error_in_the_middle_of_a_stream_is_reported(server: Server) -> None:
    def reply(handler: Handler) -> None:
        handler.begin()
        handler.piece("Hold ")
        handler.event(json.dumps({"error": {"message": "out of memory"}}))

    with pytest.raises(IoError, match="the server reports: out of memory"):
        text_of(server, reply)


def test_a_connection_that_ends_early_is_an_error_and_no_short_answer(server: Server) -> None:
    def reply(handler: Handler) -> None:
        handler.begin()
        handler.piece("Do not ")

    with pytest.raises(IoError, match="connection was lost"):
        text_of(server, reply)

    def cut(handler: Handler) -> None:
        handler.begin(**{"Content-Length": "9999"})
        handler.piece("Do not ")

    with pytest.raises(IoError, match="connection was lost"):
        text_of(server, cut)


def test_a_connection_that_is_dropped_before_the_reply_is_an_error(server: Server) -> None:
    def reply(handler: Handler) -> None:
        handler.connection.close()

    with pytest.raises(IoError, match=r"connection was lost|cannot be reached"):
        text_of(server, reply)


@pytest.mark.parametrize("headers_first", [False, True])
def test_silence_is_an_error_after_the_timeout(server: Server, headers_first: bool) -> None:
    release = threading.Event()

    def reply(handler: Handler) -> None:
        if headers_first:
            handler.begin()
            handler.wfile.flush()
        release.wait(20)

    begin = time.monotonic()
    with pytest.raises(IoError, match=r"sent no text for 0\.3 s; try again or raise the timeout"):
        text_of(server, reply, timeout=0.3)
    release.set()
    assert time.monotonic() - begin < 10


def test_signs_of_life_without_text_are_silence(server: Server) -> None:
    def reply(handler: Handler) -> None:
        handler.begin()
        for _ in range(400):
            handler.wfile.write(b": keep-alive\n\n")
            handler.wfile.flush()
            time.sleep(0.05)

    with pytest.raises(IoError, match="sent no text"):
        text_of(server, reply, timeout=0.3)


def test_an_endless_answer_and_an_endless_line_are_bounded(server: Server) -> None:
    def endless(handler: Handler) -> None:
        handler.begin()
        while True:
            handler.piece("word " * 1000)

    assert 65_000 < len(text_of(server, endless)) < 80_000

    def line(handler: Handler) -> None:
        handler.begin()
        handler.wfile.write(b"data: " + b"x" * (3 << 20))

    with pytest.raises(FormatError, match="longer than 1,048,576 bytes"):
        text_of(server, line)


def test_an_endpoint_that_is_not_there_is_said(server: Server) -> None:
    model = OpenAIModel("http://127.0.0.1:9/v1", "m", timeout=2)
    with pytest.raises(IoError, match=r"127\.0\.0\.1:9/v1.* cannot be reached: .*is the server running"):
        list(model.stream(MESSAGES, max_tokens=9))


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://host/v1", "file:///etc/passwd", "http://", "http://user:pw@host/v1"]
)
def test_urls_that_cannot_be_endpoints_are_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="url is"):
        OpenAIModel(url, "m")


def test_a_key_that_headers_cannot_carry_is_refused_without_showing_it() -> None:
    for key in ("two words", "k\u00e9y", "a\nb"):
        with pytest.raises(InvalidArgument, match="the key in MY_KEY has a space") as caught:
            OpenAIModel("http://host/v1", "m", key=key, key_variable="MY_KEY")
        assert key not in str(caught.value)


def test_the_generator_takes_its_key_from_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.reply = good
    options = GeneratorOptions(model="m", url=server.url, key_variable="MY_KEY")
    statements = create_generator("openai", options).generate("How?", [passage("Hold it.")], max_statements=1)
    assert [(s.text, s.sources) for s in statements] == [("Hold it \u00e9", (0,))]
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"
