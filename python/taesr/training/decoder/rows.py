"""Rows of one length from documents of many, and batches of them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from taesr.errors import InvalidArgument
from taesr.training.decoder.config import DecoderDataOptions
from taesr.training.decoder.tokens import TokenCache, Tokens

Spans = list[tuple[int, int]]  # of tokens on the disk, one for each document in a row
_OPEN_ROWS = 32  # that a conversation may still go into


@dataclass(frozen=True)
class RowBatch:
    """Rows on the device.

    Attributes
    ----------
    inputs
        int64 [B, T].
    targets
        int64 [n]: the next tokens that are learnt, row by row.
    places
        int64 [n]: where in the flattened [B * T] their predecessors lie; None where all are learnt.
    documents
        int32 [B, T]: whom tokens may attend to; None for everyone before them.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    places: torch.Tensor | None
    documents: torch.Tensor | None

    @property
    def tokens(self) -> int:
        return self.inputs.numel()


class RowReader:
    """Turns spans of one split into batches."""

    def __init__(self, tokens: Tokens, cache: TokenCache, options: DecoderDataOptions) -> None:
        self._tokens = tokens
        self._end = cache.end
        self._length = options.sequence_length
        self._apart = options.apart

    def read(self, rows: Sequence[Spans], device: torch.device) -> RowBatch:
        """Read rows of at most sequence_length + 1 tokens each; what is missing is filled and not learnt."""
        shape = (len(rows), self._length + 1)
        tokens = np.full(shape, self._end, np.int64)
        learnt = np.zeros(shape, np.bool_)
        documents = np.zeros(shape, np.int32)
        for row, spans in enumerate(rows):
            at = 0
            for number, (begin, stop) in enumerate(spans, start=1):
                here = np.s_[row, at : at + stop - begin]
                tokens[here] = self._tokens.tokens[begin:stop]
                trained = self._tokens.trained
                learnt[here] = True if trained is None else trained[begin:stop] != 0
                documents[here] = number
                at += stop - begin
        if self._apart:  # a text's first token follows from nothing
            learnt[:, 1:] &= documents[:, 1:] == documents[:, :-1]
        chosen = np.flatnonzero(learnt[:, 1:])
        return RowBatch(
            inputs=_to(tokens[:, :-1], device),
            targets=_to(tokens[:, 1:].reshape(-1)[chosen], device),
            places=None if len(chosen) == shape[0] * self._length else _to(chosen, device),
            documents=_to(documents[:, :-1], device) if self._apart else None,
        )


class StreamRows(Sequence[Spans]):
    """Rows of a stream of documents; each begins with the last token of the one before."""

    def __init__(self, tokens: Tokens, order: npt.NDArray[np.int64], length: int) -> None:
        self._starts = tokens.starts[:-1][order]
        self._ends = tokens.lengths[order].cumsum()
        self._length = length

    def __len__(self) -> int:
        return max(0, (int(self._ends[-1]) if len(self._ends) else 0) - 1) // self._length

    def __getitem__(self, row: Any) -> Any:
        at, stop = row * self._length, (row + 1) * self._length + 1
        spans: Spans = []
        document = int(np.searchsorted(self._ends, at, side="right"))
        while at < stop:
            end = int(self._ends[document])
            begin = int(self._ends[document - 1]) if document else 0
            taken = min(stop, end) - at
            first = int(self._starts[document]) + at - begin
            spans.append((first, first + taken))
            at, document = at + taken, document + 1
        return spans


def whole_rows(tokens: Tokens, order: npt.NDArray[np.int64], length: int) -> list[Spans]:
    """Whole documents in rows, each in the first of the last rows with room; longer ones are left out."""
    rows: list[Spans] = []
    room: list[tuple[int, int]] = []  # (row, tokens) of those that are open
    starts, lengths = tokens.starts, tokens.lengths
    for document in order.tolist():
        size = int(lengths[document])
        if size > length + 1:
            continue
        place = next((i for i, (_, free) in enumerate(room) if free >= size), None)
        if place is None:
            rows.append([])
            room.append((len(rows) - 1, length + 1))
            room = room[-_OPEN_ROWS:]
            place = len(room) - 1
        row, free = room[place]
        room[place] = (row, free - size)
        rows[row].append((int(starts[document]), int(starts[document]) + size))
    return rows


def rows_of(tokens: Tokens, order: npt.NDArray[np.int64], options: DecoderDataOptions) -> Sequence[Spans]:
    """Rows of the documents in this order, as the options want them."""
    make = whole_rows if options.kind == "chat" else StreamRows
    return make(tokens, order, options.sequence_length)


class BatchPlanner:
    """Batches without end, in an order that the seed gives; the documents are shuffled every epoch.

    Raises InvalidArgument where an epoch has no batch for every process.
    """

    def __init__(
        self,
        cache: TokenCache,
        options: DecoderDataOptions,
        *,
        seed: int,
        rank: int,
        world: int,
        device: torch.device,
    ) -> None:
        self._tokens = cache.splits["train"]
        self._reader = RowReader(self._tokens, cache, options)
        self._options = options
        self._seed, self._rank, self._world, self._device = seed, rank, world, device
        self._identity = [cache.identity, options.kind, options.apart, options.sequence_length]
        self._identity += [options.batch_sequences, seed, world]
        self._next = (0, 0)
        self._given = (0, 0)
        self._worker: ThreadPoolExecutor | None = None
        self._plan: Iterator[tuple[tuple[int, int], list[Spans]]] = iter(())
        self._ahead: Future[tuple[tuple[int, int], RowBatch]] | None = None
        if not self._batches(self._rows(0)):
            wanted = options.batch_sequences * world
            raise InvalidArgument(
                f"the texts make {len(self._rows(0))} rows of data.sequence_length "
                f"{options.sequence_length}; allowed: at least {wanted}, a batch of every process"
            )

    @property
    def epoch(self) -> int:
        """Passes over the data, from 0."""
        return self._given[0]

    def next(self) -> RowBatch:
        """Return this process's next batch; the one after it is read meanwhile."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "taesr-rows")
            self._plan = self._plans(*self._next)
            self._ahead = self._worker.submit(self._read)
        assert self._ahead is not None
        self._given, batch = self._ahead.result()
        self._next = (self._given[0], self._given[1] + 1)
        self._ahead = self._worker.submit(self._read)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch is."""
        return {"identity": self._identity, "epoch": self._next[0], "batch": self._next[1]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; raises InvalidArgument for other data or options."""
        if state["identity"] != self._identity:
            raise InvalidArgument(
                "the checkpoint was made with other texts, another data section, seed or number of "
                "processes; resume with the same ones, or begin a new run from its weights (model.init)"
            )
        self.close()
        self._next = (int(state["epoch"]), int(state["batch"]))

    def close(self) -> None:
        """End the reading thread; `next` starts another."""
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)
        self._worker = self._ahead = None

    def _rows(self, epoch: int) -> Sequence[Spans]:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._tokens.lengths))
        return rows_of(self._tokens, order, self._options)

    def _batches(self, rows: Sequence[Spans]) -> int:
        return len(rows) // (self._options.batch_sequences * self._world)

    def _plans(self, epoch: int, number: int) -> Iterator[tuple[tuple[int, int], list[Spans]]]:
        size = self._options.batch_sequences
        while True:
            rows = self._rows(epoch)
            for batch in range(number, self._batches(rows)):
                begin = (batch * self._world + self._rank) * size
                yield (epoch, batch), [rows[row] for row in range(begin, begin + size)]
            epoch, number = epoch + 1, 0

    def _read(self) -> tuple[tuple[int, int], RowBatch]:
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)  # of this thread
        place, rows = next(self._plan)
        return place, self._reader.read(rows, self._device)


def _to(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
