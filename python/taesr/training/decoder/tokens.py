"""Token ids of all documents, end to end on the disk.

    cache.json           what it was made from; size and digest of every other file
    SPLIT.tokens         uint16, for SPLIT train and held
    SPLIT.starts.npy     int64 [documents + 1]
    SPLIT.trained        uint8 a token: 1 for what is learnt; of conversations only

The folder takes its name when it is whole, so that it can be made on one machine and used on another.
"""

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import numpy.typing as npt

from taesr.decoder import Decoder
from taesr.errors import ChecksumError, FormatError, InvalidArgument, IoError
from taesr.training.cache import file_digest, locked
from taesr.training.decoder.config import DecoderDataOptions
from taesr.training.decoder.documents import Document, read_documents

A = TypeVar("A")
B = TypeVar("B")
D = TypeVar("D", bound=np.generic)
Report = Callable[[str, int, int | None], None]
SPLITS = ("train", "held")

_FORMAT = 1
_END = "<|endoftext|>"
END_OF_MESSAGE = "<|im_end|>"
_GROUP = 64  # documents that a thread tokenises at a time


@dataclass(frozen=True)
class Tokens:
    """Documents of one split, memory-mapped."""

    tokens: npt.NDArray[np.uint16]
    starts: npt.NDArray[np.int64]  # [documents + 1]
    trained: npt.NDArray[np.uint8] | None

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.starts)


@dataclass(frozen=True)
class TokenCache:
    """An open cache; `end` is the token that ends a document and fills rows."""

    splits: dict[str, Tokens]
    end: int
    largest: int
    identity: str


def prepare_tokens(
    options: DecoderDataOptions, tokenizer: str | None, *, report: Report | None = None
) -> TokenCache:
    """Open the cache, made anew where it does not fit the sources, the tokenizer or the split.

    Raises
    ------
    IoError, FormatError, ChecksumError
        Name the file, and for a source the line.
    InvalidArgument
        There is nothing to make it from, or the folder holds something else.
    """
    folder = Path(options.cache)
    if not options.sources:
        if not (folder / "cache.json").is_file():
            raise InvalidArgument(f"data.sources is empty and {folder} is no cache; name files to read")
        return _open(folder, options.kind)
    if tokenizer is None:
        raise InvalidArgument("data.tokenizer is missing; name the GGUF file that has the tokenizer")
    with locked(folder):
        wanted = _fingerprint(options, tokenizer)
        if folder.exists() and any(folder.iterdir()):
            if not (folder / "cache.json").is_file():
                raise InvalidArgument(f"{folder} is not empty and no cache of tokens; name another folder")
            if _index(folder)["fingerprint"] == wanted:
                return _open(folder, options.kind)
        building = folder.with_name(f".{folder.name}.building")
        shutil.rmtree(building, ignore_errors=True)
        try:
            _build(building, options, Decoder.load(tokenizer), wanted, report)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(building, folder)
        except OSError as error:
            if isinstance(error, IoError):
                raise
            raise IoError(f"cannot write the cache {folder}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return _open(folder, options.kind)


def conversation_tokens(
    decoder: Decoder, messages: Iterable[tuple[str, str]], end: int
) -> tuple[list[int], list[int]]:
    """Token ids of a conversation, and 1 for each of an answer, which is what generation has to give.

    `end` is the token that ends a message. What follows the last answer is left out.
    """
    tokens: list[int] = []
    trained: list[int] = []
    so_far: list[dict[str, str]] = []
    for role, content in messages:
        if role == "assistant" and so_far:
            prompt = decoder.encode_chat(so_far)
            # An earlier answer stays as generated: with what stands before it, it might be other tokens.
            new = prompt[_after(prompt, end, tokens.count(end)) :]
            answer = [*decoder.encode(content), end]
            tokens += new + answer
            trained += [0] * len(new) + [1] * len(answer)
        so_far.append({"role": role, "content": content})
    return tokens, trained


def _after(tokens: list[int], end: int, count: int) -> int:
    """Place behind the first `count` times that `end` occurs."""
    place = 0
    for _ in range(count):
        place = tokens.index(end, place) + 1
    return place


class _Writer:
    """Appends documents to the files of one split."""

    def __init__(self, folder: Path, split: str, *, with_trained: bool) -> None:
        self._path = folder / f"{split}.starts.npy"
        self._tokens: IO[bytes] = open(folder / f"{split}.tokens", "wb")  # noqa: SIM115
        self._trained = open(folder / f"{split}.trained", "wb") if with_trained else None  # noqa: SIM115
        self._starts = [0]
        self.largest = 0

    def add(self, tokens: list[int], trained: list[int]) -> None:
        self.largest = max(self.largest, *tokens)
        np.array(tokens, np.uint16).tofile(self._tokens)
        if self._trained is not None:
            np.array(trained, np.uint8).tofile(self._trained)
        self._starts.append(self._starts[-1] + len(tokens))

    def close(self) -> None:
        self._tokens.close()
        if self._trained is not None:
            self._trained.close()
        np.save(self._path, np.array(self._starts, np.int64))


def _build(
    folder: Path,
    options: DecoderDataOptions,
    decoder: Decoder,
    wanted: dict[str, Any],
    report: Report | None,
) -> None:
    if decoder.config.vocab_size > 1 << 16:
        raise InvalidArgument(f"the tokenizer has {decoder.config.vocab_size} tokens; allowed: up to 65536")
    folder.mkdir(parents=True)
    end = only_token(decoder, _END)
    chat = options.kind == "chat"
    stop = only_token(decoder, END_OF_MESSAGE) if chat else end
    writers = {split: _Writer(folder, split, with_trained=chat) for split in SPLITS}

    def encode(group: list[Document]) -> list[tuple[Document, list[int], list[int]]]:
        if not chat:
            return [(document, [*decoder.encode(document.text), end], []) for document in group]
        return [(document, *conversation_tokens(decoder, document.messages, stop)) for document in group]

    documents = (
        document
        for path in (*options.sources, *options.held_out_sources)
        for document in read_documents(path, options.kind)
    )
    apart = set(options.held_out_sources)
    threads = options.threads or len(os.sched_getaffinity(0))
    done = 0
    try:
        for result in _in_order(encode, _groups(documents), threads):
            for document, tokens, trained in result:
                held = document.path in apart or document.held_out(options.held_out)
                writers["held" if held else "train"].add(tokens, trained)
            done += len(result)
            if report:
                report("tokenised documents", done, None)
    finally:
        for writer in writers.values():
            writer.close()
    if not done:
        raise FormatError(f"{', '.join(options.sources)}: no documents")
    files = {path.name: _entry(path) for path in sorted(folder.iterdir())}
    index = {
        "format": _FORMAT,
        "kind": options.kind,
        "end": end,
        "largest": max(writer.largest for writer in writers.values()),
        "fingerprint": wanted,
        "files": files,
    }
    (folder / "cache.json").write_text(json.dumps(index, indent=2) + "\n")


def _groups(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while group := list(islice(documents, _GROUP)):
        yield group


def _in_order(work: Callable[[A], B], items: Iterable[A], threads: int) -> Iterator[B]:
    """Results in the order of the items, few of them ahead."""
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 3 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def only_token(decoder: Decoder, name: str) -> int:
    """The token of this name. Raises InvalidArgument where the tokenizer has none."""
    tokens = decoder.encode(name, parse_special=True)
    if len(tokens) != 1:
        raise InvalidArgument(f"the tokenizer has no token {name}; use that of a SmolLM2 GGUF file")
    return tokens[0]


def _fingerprint(options: DecoderDataOptions, tokenizer: str) -> dict[str, Any]:
    return {
        "kind": options.kind,
        "held_out": options.held_out,
        "tokenizer": file_digest(tokenizer),
        "sources": [file_digest(path) for path in options.sources],
        "held_out_sources": [file_digest(path) for path in options.held_out_sources],
    }


def _entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def _index(folder: Path) -> dict[str, Any]:
    path = folder / "cache.json"
    try:
        index: dict[str, Any] = json.loads(path.read_text())
        if index["format"] != _FORMAT:
            raise FormatError(f"{path}: made by another version; delete the folder {folder}")
        return index
    except OSError as error:
        raise IoError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path}: damaged; delete the folder {folder}") from None


def _open(folder: Path, kind: str) -> TokenCache:
    index = _index(folder)
    if index["kind"] != kind:
        raise InvalidArgument(f"the cache {folder} is of kind {index['kind']}; data.kind is {kind}")
    for name, entry in index["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            raise ChecksumError(f"{path}: missing or cut short; delete the folder {folder}")
        if file_digest(path) != entry["sha256"]:
            raise ChecksumError(f"{path}: changed since it was written; delete the folder {folder}")
    splits = {split: _read(folder, split, with_trained=kind == "chat") for split in SPLITS}
    identity = "-".join(entry["sha256"][:16] for entry in index["files"].values())
    return TokenCache(splits, index["end"], index["largest"], identity)


def _read(folder: Path, split: str, *, with_trained: bool) -> Tokens:
    starts = np.load(folder / f"{split}.starts.npy")
    trained = _mapped(folder / f"{split}.trained", np.uint8) if with_trained else None
    return Tokens(_mapped(folder / f"{split}.tokens", np.uint16), starts, trained)


def _mapped(path: Path, dtype: type[D]) -> npt.NDArray[D]:
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)
