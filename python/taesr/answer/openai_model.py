"""Language models behind an OpenAI-compatible endpoint (`/chat/completions`), local or remote.

The question and the passages that are read go to that endpoint.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from taesr.answer.prompt import Message
from taesr.errors import FormatError, InvalidArgument, IoError

_MAX_LINE = 1 << 20  # bytes of one event
_MAX_TEXT = 1 << 16  # characters of an answer, whatever the server was asked for
_MAX_REASON = 200  # characters of a server's own message that are shown


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are errors: the key would follow them to wherever they lead."""

    def redirect_request(self, *_: Any) -> None:
        return None


class OpenAIModel:
    """A model of an OpenAI-compatible server, asked over HTTP with streaming.

    Parameters
    ----------
    url
        The endpoint up to `/v1`.
    model
        Name of the model.
    key, key_variable
        The key, none if empty, and where it comes from, for messages.
    context_tokens
        Most tokens of prompt and answer together; prompts are estimated at a token for 3 bytes.
    timeout
        Seconds without text after which the reply counts as lost.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str = "",
        key_variable: str = "OPENAI_API_KEY",
        context_tokens: int = 8192,
        timeout: float = 60.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise InvalidArgument(
                f"url is {url!r}; give one such as https://host/v1, without a user or query"
            )
        key = key.strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise InvalidArgument(
                f"the key in {key_variable} has a space or a character that keys cannot have"
            )
        self._url = url.rstrip("/") + "/chat/completions"
        self._model = model
        self._key = key
        self._key_variable = key_variable
        self._context_tokens = context_tokens
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_NoRedirect)

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._context_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """An estimate: a token for 3 bytes, and 8 for each message."""
        return sum(len(message["content"].encode("utf-8")) // 3 + 9 for message in messages)

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        """Pieces of the answer; raises IoError or FormatError, which name the endpoint."""
        with self._open(messages, max_tokens) as response:
            try:
                if "json" in (response.headers.get_content_type() or ""):
                    yield self._whole(response.read(_MAX_LINE))
                else:
                    yield from self._pieces(response)
            except TimeoutError as error:
                raise self._silent() from error
            except (http.client.HTTPException, OSError) as error:
                if isinstance(error, IoError):
                    raise
                raise self._lost(str(error) or type(error).__name__) from error

    def _open(self, messages: Sequence[Message], max_tokens: int) -> Any:
        body = {
            "model": self._model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
        }
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode("utf-8"), headers)
        try:
            return self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise self._silent() from error
            raise IoError(f"{self._url} cannot be reached: {error.reason}; is the server running?") from error
        except TimeoutError as error:
            raise self._silent() from error
        except (http.client.HTTPException, OSError) as error:
            raise self._lost(str(error) or type(error).__name__) from error

    def _pieces(self, response: Any) -> Iterator[str]:
        """The texts of server-sent events up to `[DONE]`."""
        length, finished = 0, False
        last = time.monotonic()
        while line := response.readline(_MAX_LINE + 1):
            if len(line) > _MAX_LINE:
                raise FormatError(f"{self._url}: an event is longer than {_MAX_LINE:,} bytes")
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                piece, ended = self._parse_event(data)
                finished = finished or ended
                if piece:
                    length += len(piece)
                    yield piece
                    last = time.monotonic()
            # A server that only sends signs of life is silent all the same.
            if time.monotonic() - last > self._timeout:
                raise self._silent()
            if length > _MAX_TEXT:
                return
        if not finished:
            raise self._lost("it ended in the middle of the answer")

    def _parse_event(self, data: bytes) -> tuple[str, bool]:
        """The text of an event, and whether the answer ends with it."""
        event = self._parse(data)
        choices = event.get("choices")
        if not choices and isinstance(choices, list):
            return "", False  # of usage
        choice = self._choice(event)
        delta = choice.get("delta")
        piece = delta.get("content") if isinstance(delta, dict) else None
        if piece is not None and not isinstance(piece, str):
            raise FormatError(f'{self._url}: "content" of an event is not a text')
        return piece or "", choice.get("finish_reason") is not None

    def _whole(self, data: bytes) -> str:
        """The answer of a server that does not stream."""
        message = self._choice(self._parse(data)).get("message")
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str):
            raise FormatError(f'{self._url}: the reply has no text "choices[0].message.content"')
        return text[:_MAX_TEXT]

    def _parse(self, data: bytes) -> dict[str, Any]:
        try:
            fields = json.loads(data)
        except ValueError:
            start = data[:60].decode("utf-8", errors="replace")
            raise FormatError(f"{self._url}: the reply is not JSON but {start!r}") from None
        if not isinstance(fields, dict):
            raise FormatError(f"{self._url}: the reply is not a JSON object")
        if fields.get("error"):
            raise IoError(f"{self._url}: the server reports: {self._shown(_reason(fields))}")
        return fields

    def _choice(self, fields: dict[str, Any]) -> dict[str, Any]:
        choices = fields.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise FormatError(
                f'{self._url}: the reply has no "choices"; is this an OpenAI-compatible endpoint?'
            )
        choice: dict[str, Any] = choices[0]
        return choice

    def _refused(self, error: urllib.error.HTTPError) -> IoError:
        try:
            said = error.read(_MAX_LINE).decode("utf-8", errors="replace")
        except (http.client.HTTPException, OSError):
            said = ""
        with suppress(ValueError):
            said = _reason(json.loads(said))
        remedy = {
            401: f"set {self._key_variable} to a valid key" + ("" if self._key else "; it is not set"),
            403: f"the key in {self._key_variable} may not use this model",
            404: f'check the url, which usually ends with /v1, and the model "{self._model}"',
            429: "too many requests or no credit; try again later",
        }.get(error.code)
        if remedy is None:
            remedy = (
                "it redirects, which is not followed; give the final url"
                if 300 <= error.code < 400
                else "a context_tokens that the model has may help"
                if error.code in (400, 413)
                else "try again later"
            )
        said = f": {self._shown(said)}" if said.strip() else ""
        return IoError(f"{self._url} answered {error.code}{said}; {remedy}")

    def _shown(self, said: str) -> str:
        """A server's message in one short line that does not repeat the key."""
        line = "".join(c if c.isprintable() else " " for c in said)
        line = " ".join(line.split())
        if self._key:
            line = line.replace(self._key, "***")
        return line[:_MAX_REASON]

    def _silent(self) -> IoError:
        return IoError(f"{self._url} sent no text for {self._timeout:g} s; try again or raise the timeout")

    def _lost(self, reason: str) -> IoError:
        return IoError(f"{self._url}: the connection was lost ({reason}); try again")


def _reason(fields: Any) -> str:
    """The message of an error object."""
    error = fields.get("error", fields) if isinstance(fields, dict) else fields
    message = error.get("message", error) if isinstance(error, dict) else error
    return message if isinstance(message, str) else json.dumps(message)
