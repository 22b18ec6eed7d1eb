"""What each batch holds: groups of near texts, every query once an epoch, the same again after a resume."""

import contextlib
import hashlib
import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from taesr.errors import InvalidArgument
from taesr.training.batch import Batch, Places, pack_plan, to_device
from taesr.training.data import TrainingData
from taesr.training.options import DataOptions

_IRRELEVANT = ("pools", "cache", "processes", "resident_gib", "prefetch")  # to what a batch holds


@dataclass(frozen=True)
class _Plan:
    """A batch before its tokens are gathered, on the host."""

    epoch: int
    number: int  # in its epoch
    texts: Places
    groups: Places
    passages: int
    queries: Places
    positives: Places
    seed: int
    vectors: list[Tensor]


@dataclass(frozen=True)
class _Epoch:
    texts: Places
    groups: Places
    cuts: Places  # batch i holds texts cuts[i] to cuts[i + 1]


class Planner:
    """An endless row of batches, planned ahead in a thread.

    An epoch takes every query and a share of the passages and long texts. Clustered batches hold
    groups of near texts, a passage with the queries made of it among them, so that the similarities
    within a batch hold hard negatives. Ranks take different groups of the same epoch. The batches
    of an epoch are of nearly equal size.

    Parameters
    ----------
    data : TrainingData
    options : DataOptions
    seed : int
        Of the run; the same on every rank.
    rank, world : int
        This process and how many there are.
    """

    def __init__(
        self, data: TrainingData, options: DataOptions, *, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self._data, self._options, self._seed, self._rank, self._world = data, options, seed, rank, world
        described = {k: v for k, v in asdict(options).items() if k not in _IRRELEVANT}
        identity = json.dumps([data.identity, described, seed, rank, world])
        self._identity = hashlib.sha256(identity.encode()).hexdigest()
        self._next = (0, 0)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._ready: queue.Queue[_Plan | BaseException] = queue.Queue(maxsize=options.prefetch)
        _check_size(data, options)

    @property
    def epoch(self) -> int:
        """Epoch of the next batch, from 0."""
        return self._next[0]

    def next(self) -> Batch:
        """The next batch, on the device; waits for the planning thread only, never for the device."""
        if self._thread is None:
            self._start()
        item = self._ready.get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        self._next = (item.epoch, item.number + 1)
        return self._gather(item)

    def state_dict(self) -> dict[str, Any]:
        """Where the row of batches stands after the last one handed out; JSON types only."""
        return {"epoch": self._next[0], "batch": self._next[1], "identity": self._identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the batch at which `state_dict` was taken.

        Raises InvalidArgument where data, options, seed, rank or number of ranks differ, since the
        batches would not be those that the run has not seen.
        """
        if state["identity"] != self._identity:
            raise InvalidArgument(
                "the checkpoint was made with another pool, data section, seed or number of processes; "
                "resume with the same ones, or begin a new run from its weights (model.init)"
            )
        self.close()
        self._next = (int(state["epoch"]), int(state["batch"]))

    def close(self) -> None:
        """End the planning thread; `next` starts another."""
        if self._thread is None:
            return
        self._stop.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._ready.get(timeout=0.01)
        self._thread = None
        self._ready = queue.Queue(maxsize=self._options.prefetch)

    def _start(self) -> None:
        self._stop = threading.Event()
        arguments = (self._next, self._ready, self._stop)
        self._thread = threading.Thread(target=self._work, args=arguments, name="taesr-planner", daemon=True)
        self._thread.start()

    def _work(
        self, begin: tuple[int, int], ready: "queue.Queue[_Plan | BaseException]", stop: threading.Event
    ) -> None:
        try:
            for plan in self._plans(*begin):
                while not stop.is_set():
                    with contextlib.suppress(queue.Full):
                        ready.put(plan, timeout=0.1)
                        break
                if stop.is_set():
                    return
        except BaseException as error:  # it belongs to whoever asks for the next batch
            ready.put(error)

    def _plans(self, epoch: int, number: int) -> Iterator[_Plan]:
        while True:
            plan = self._plan_epoch(epoch)
            for i in range(number, len(plan.cuts) - 1):
                yield self._plan_batch(plan, epoch, i)
            epoch, number = epoch + 1, 0

    def _plan_epoch(self, epoch: int) -> _Epoch:
        data, options = self._data, self._options
        rng = np.random.default_rng([self._seed, epoch])
        passages = np.where(data.long, options.long_share, options.passage_share)
        drawn = rng.random(len(data.role)) < np.where(data.role == 0, passages, 1.0)
        if options.clustered:
            texts, groups = _group(data, np.flatnonzero(drawn), options.group_tokens, rng)
        else:
            texts = rng.permutation(np.flatnonzero(drawn))
            groups = np.arange(len(texts))
        if data.negatives is not None:
            texts, groups = _with_negatives(data.negatives, options.mining.share, texts, groups, rng)
        mine = groups % self._world == self._rank
        texts, groups = texts[mine], groups[mine]
        if not len(texts):
            raise InvalidArgument(
                f"epoch {epoch} has no group of texts for process {self._rank} of {self._world}; "
                f"lower data.group_tokens or use fewer processes"
            )
        return _Epoch(texts, groups, _cuts(data.lengths[texts], options.batch_tokens))

    def _plan_batch(self, epoch: _Epoch, number: int, i: int) -> _Plan:
        data = self._data
        span = slice(epoch.cuts[i], epoch.cuts[i + 1])
        # A mined negative may be in the batch in its own right, or for two queries.
        texts, first = np.unique(epoch.texts[span], return_index=True)
        groups = epoch.groups[span][first]
        order = np.lexsort((texts, -data.lengths[texts], data.role[texts]))
        texts, groups = texts[order], groups[order]
        passages = int((data.role[texts] == 0).sum())
        queries, positives = _pairs(data.parent[texts], texts, passages)
        mixed = np.random.SeedSequence([self._seed, number, i, self._rank])
        return _Plan(
            epoch=number,
            number=i,
            texts=texts,
            groups=groups,
            passages=passages,
            queries=queries,
            positives=positives,
            seed=int(mixed.generate_state(1)[0]),
            vectors=data.vectors.fetch(texts),
        )

    def _gather(self, plan: _Plan) -> Batch:
        data = self._data
        texts = to_device(plan.texts, data.device)
        lengths = data.lengths[plan.texts]
        teacher = data.vectors.finish(texts, plan.vectors)
        return Batch(
            packed=pack_plan((data.tokens, data.starts, data.largest), texts, lengths, plan.passages),
            texts=texts,
            passages=plan.passages,
            target=data.space.target(teacher),
            teacher=teacher,
            queries=to_device(plan.queries, data.device),
            positives=to_device(plan.positives, data.device),
            lengths=lengths,
            groups=plan.groups,
            seed=plan.seed,
        )


def _group(
    data: TrainingData, texts: Places, group_tokens: int, rng: np.random.Generator
) -> tuple[Places, Places]:
    """Texts in the order of their groups, and each one's group: about group_tokens of one cluster."""
    if data.cluster is None:
        raise InvalidArgument("clustered batches need clusters; prepare the data with clustered on")
    everyone = np.arange(len(data.role))
    unit = np.where(data.parent >= 0, data.parent, everyone)  # a passage and its queries stay together
    texts = texts[np.lexsort((rng.random(len(everyone))[unit[texts]], data.cluster[texts]))]
    cluster, lengths = data.cluster[texts].astype(np.int64), data.lengths[texts]
    ends = lengths.cumsum()
    first = np.r_[True, cluster[1:] != cluster[:-1]]
    base = np.maximum.accumulate(np.where(first, ends - lengths, 0))
    part = (ends - base - 1) // group_tokens
    new = np.r_[True, (cluster[1:] != cluster[:-1]) | (part[1:] != part[:-1])]
    groups = new.cumsum() - 1
    groups = rng.permutation(groups[-1] + 1)[groups] if len(groups) else groups
    order = np.argsort(groups, kind="stable")
    return texts[order], groups[order]


def _with_negatives(
    negatives: npt.NDArray[np.int64], share: float, texts: Places, groups: Places, rng: np.random.Generator
) -> tuple[Places, Places]:
    """A share of the queries is followed by one of its hard negatives, in its group."""
    table = negatives[texts]
    known = (table >= 0).sum(1)
    pick = (rng.random(len(texts)) * known).astype(np.int64)
    chosen = np.where(known > 0, table[np.arange(len(texts)), pick], -1)  # the known ones come first
    chosen[rng.random(len(texts)) >= share] = -1
    both = np.stack([texts, chosen], 1).ravel()
    return both[both >= 0], np.repeat(groups, 2)[both >= 0]


def _cuts(lengths: Places, batch_tokens: int) -> Places:
    """Where batches begin and end: of nearly equal tokens, none over batch_tokens."""
    ends = lengths.cumsum()
    # A batch may take the end of the text that its predecessor had no room for.
    room = max(1, batch_tokens - int(lengths.max()) + 1)
    count = -(-int(ends[-1]) // room)
    marks = np.arange(1, count + 1) * (ends[-1] / count)
    marks[-1] = ends[-1]
    return np.unique(np.concatenate([[0], np.searchsorted(ends, marks, side="right")]))


def _pairs(parent: Places, texts: Places, passages: int) -> tuple[Places, Places]:
    """Places of the queries whose passage is among the batch's first `passages` texts, and of these."""
    order = np.argsort(texts[:passages], kind="stable")
    queries = np.flatnonzero(parent >= 0)
    if not len(queries) or not passages:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    at = np.searchsorted(texts[:passages], parent[queries], sorter=order)
    place = order[np.minimum(at, passages - 1)]
    found = texts[place] == parent[queries]
    return queries[found], place[found]


def _check_size(data: TrainingData, options: DataOptions) -> None:
    longest = int(data.lengths.max())
    if options.batch_tokens < longest:
        raise InvalidArgument(
            f"batch_tokens is {options.batch_tokens}; "
            f"allowed: at least {longest}, the tokens of the longest text"
        )
