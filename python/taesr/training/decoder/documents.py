"""Reading texts and conversations, file by file and line by line."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from taesr.errors import FormatError
from taesr.training.pool import read_lines

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Document:
    """A text or a conversation of a file; `key` decides whether it is held out."""

    path: str
    key: str
    text: str = ""
    messages: tuple[tuple[str, str], ...] = ()

    def held_out(self, share: float) -> bool:
        """Whether it is among the `share` of documents that are not trained on, whatever else there is."""
        digest = hashlib.blake2b(self.key.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") < share * 2**64


def read_documents(path: str, kind: str) -> Iterator[Document]:
    """Yield the documents of a file.

    Parameters
    ----------
    path
        .jsonl, or plain text with a blank line between documents; these with .gz or .xz.
    kind
        "text" or "chat".

    Raises
    ------
    IoError, FormatError
        Name the file, and the line where one is wrong.
    """
    name = path.removesuffix(".gz").removesuffix(".xz")
    if kind == "chat" or name.endswith((".jsonl", ".json")):
        for place, line in _lines(path):
            try:
                yield _record(path, line, kind)
            except ValueError as error:
                raise FormatError(f"{place}: {error}") from None
        return
    paragraphs: list[str] = []
    for _, line in _lines(path):
        if line.strip():
            paragraphs.append(line.rstrip())
        elif paragraphs:
            yield _text(path, "\n".join(paragraphs))
            paragraphs = []
    if paragraphs:
        yield _text(path, "\n".join(paragraphs))


def _text(path: str, text: str, document: str | None = None) -> Document:
    return Document(path, text if document is None else document, text)


def _record(path: str, line: str, kind: str) -> Document:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ValueError("blank line" if not line.strip() else f"not JSON ({problem})") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    document = record.get("document")
    if document is not None and not isinstance(document, str):
        raise ValueError(f'"document" is {document!r}; allowed: a string or null')
    if kind == "text":
        return _text(path, _checked(record.get("text"), '"text"'), document)
    messages = record.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError('"messages" must be a list of at least one message')
    parsed = tuple(_message(message, i) for i, message in enumerate(messages))
    if not any(role == "assistant" for role, _ in parsed[1:]):
        raise ValueError('"messages" has no answer: no message of the role "assistant" after another one')
    return Document(path, document or json.dumps(parsed), messages=parsed)


def _message(message: Any, i: int) -> tuple[str, str]:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise ValueError(f'message {i} must be an object of exactly "role" and "content"')
    if message["role"] not in _ROLES:
        raise ValueError(f'message {i} has "role" {message["role"]!r}; allowed: {", ".join(_ROLES)}')
    return message["role"], _checked(message["content"], f'"content" of message {i}')


def _checked(text: Any, what: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{what} must be a string that is not blank")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half of a surrogate pair, which is no character") from None
    return text


def _lines(path: str) -> Iterator[tuple[str, str]]:
    for number, raw in enumerate(read_lines(path), start=1):
        place = f"{path}:{number}"
        try:
            yield place, raw.decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{place}: not valid UTF-8 at byte {error.start}") from None
