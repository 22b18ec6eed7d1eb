"""Tokenising the pool in several processes."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from taesr._native import core
from taesr.errors import Error, FormatError
from taesr.training.pool import Block, check_parents, parse_block, read_blocks

Report = Callable[[str, int, int | None], None]  # what is being done, how much is done, of how much

_WORTH_PROCESSES = 8 << 20  # bytes; less is done before the processes have started


@dataclass(frozen=True)
class TokenRules:
    """How texts become token ids.

    Attributes
    ----------
    tokenizer : str
        A SentencePiece model's file.
    bos_id, eos_id : int
        Put around each text.
    limits : tuple of int
        Tokens of a passage and of a query, at most, these two included; what is over is cut.
    """

    tokenizer: str
    bos_id: int
    eos_id: int
    limits: tuple[int, int]


@dataclass(frozen=True)
class TokenisedPool:
    """Every text of the pool as token ids, laid end to end."""

    tokens: npt.NDArray[np.int32]  # [all tokens], texts with their special tokens
    starts: npt.NDArray[np.int64]  # [N + 1]
    role: npt.NDArray[np.uint8]  # [N]
    parent: npt.NDArray[np.int64]  # [N]
    document: npt.NDArray[np.int64]  # [N]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.starts)


@dataclass(frozen=True)
class _Part:
    tokens: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]
    role: npt.NDArray[np.uint8]
    parent: npt.NDArray[np.int64]
    document: npt.NDArray[np.int64]


def tokenise(
    pools: Sequence[str | Path], rules: TokenRules, *, processes: int = 0, report: Report | None = None
) -> TokenisedPool:
    """Tokenise a pool; `processes` 0 takes one a core.

    Raises
    ------
    IoError, FormatError
        Name the file, and the line where one is wrong.
    """
    files: list[tuple[str, int]] = []
    parts: list[_Part] = []
    done = 0
    for block, part in _parts(pools, rules, processes):
        if not files or files[-1][0] != block.path or block.first_line == 1:
            files.append((block.path, 0))
        files[-1] = (block.path, files[-1][1] + len(part.lengths))
        parts.append(part)
        done += len(part.lengths)
        if report:
            report("tokenised texts", done, None)
    if not parts:
        raise FormatError(f"{', '.join(map(str, pools))}: the pool holds no text")
    role, parent, document, lengths, tokens = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("role", "parent", "document", "lengths", "tokens")
    )
    check_parents(role, parent, files)
    if not (role == 0).any():
        raise FormatError(f"{', '.join(map(str, pools))}: the pool holds no passage")
    return TokenisedPool(tokens, np.concatenate([[0], lengths.cumsum()]), role, parent, document)


def _parts(pools: Sequence[str | Path], rules: TokenRules, processes: int) -> Iterator[tuple[Block, _Part]]:
    blocks = (block for path in pools for block in read_blocks(path))
    if processes == 0:
        small = sum(os.path.getsize(p) for p in pools if os.path.exists(p)) < _WORTH_PROCESSES
        processes = 1 if small else len(os.sched_getaffinity(0))
    if processes == 1:
        _start(rules)
        yield from ((block, _tokenise_block(block)) for block in blocks)
        return
    # Not forked: a fork of a process with torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    waiting: deque[tuple[Block, Future[_Part]]] = deque()
    with ProcessPoolExecutor(processes, context, _start, (rules,)) as workers:
        try:
            for block in blocks:
                waiting.append((block, workers.submit(_tokenise_block, block)))
                if len(waiting) >= 3 * processes:
                    yield _result(*waiting.popleft())
            while waiting:
                yield _result(*waiting.popleft())
        finally:
            workers.shutdown(wait=True, cancel_futures=True)


def _result(block: Block, future: "Future[_Part]") -> tuple[Block, _Part]:
    try:
        return block, future.result()
    except BrokenProcessPool as error:
        raise Error(
            f"{block.path}: a process that tokenises has died, perhaps for want of memory; "
            f"set data.processes to a smaller number"
        ) from error


_rules: TokenRules
_tokenizer: core.Tokenizer


def _start(rules: TokenRules) -> None:
    """A process holds its own tokenizer: SentencePiece models do not travel between processes."""
    global _rules, _tokenizer
    _rules, _tokenizer = rules, core.Tokenizer.load(rules.tokenizer)


def _tokenise_block(block: Block) -> _Part:
    records = parse_block(block)
    rules, encode = _rules, _tokenizer.encode
    ids: list[list[int]] = []
    for i, (text, role) in enumerate(zip(records.texts, records.role.tolist(), strict=True)):
        pieces = encode(text)[: rules.limits[role] - 2]
        if not pieces:
            raise FormatError(f"{block.path}:{block.first_line + i}: the tokenizer finds nothing in the text")
        ids.append([rules.bos_id, *pieces, rules.eos_id])
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    tokens = np.fromiter((i for text in ids for i in text), np.int32, int(lengths.sum()))
    return _Part(tokens, lengths, records.role, records.parent, records.document)
