"""The teachers' joined vectors of every text: unit([w1 unit(t1) ; w2 unit(t2 - mean2) ; ...])."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from taesr.training.cache import Array, Cache

Rows = npt.NDArray[np.int64]

_CHUNK = 1 << 18


@dataclass(frozen=True)
class TeacherPart:
    """One teacher of the ensemble."""

    name: str
    vectors: Array  # [N, d] float16 or float32, on disk
    weight: float
    mean: Tensor | None  # [d] float32, subtracted first

    @property
    def width(self) -> int:
        return int(self.vectors.shape[1])


def balanced_mean(vectors: Array, role: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """The mean [d] float32 of the two roles' means, so that many queries do not outweigh the passages.

    `role` has an entry for each row of vectors [N, d]; what is beyond them is not looked at.
    """
    total = torch.zeros(2, vectors.shape[1], dtype=torch.float64, device=device)
    for begin in range(0, len(vectors), _CHUNK):
        chunk = torch.from_numpy(np.array(vectors[begin : begin + _CHUNK])).to(device).double()
        rows = torch.from_numpy(role[begin : begin + len(chunk)].astype(np.int64)).to(device)
        total.index_add_(0, rows, F.normalize(chunk, dim=1))
    counts = np.bincount(role[: len(vectors)], minlength=2)
    present = [total[i] / int(n) for i, n in enumerate(counts) if n]
    return torch.stack(present).mean(0).float()


class TeacherVectors:
    """Joined vectors of the N texts of the pool and of the M long texts made of them.

    They lie on the device in float16 if they take no more than `resident_gib`; otherwise each request
    reads its rows from disk, through pinned memory.

    Attributes
    ----------
    width : int
        W, the sum of the teachers' widths.
    resident : bool
    """

    def __init__(
        self, cache: Cache, parts: Sequence[TeacherPart], *, device: torch.device, resident_gib: float
    ) -> None:
        self.width = sum(part.width for part in parts)
        self._parts, self._device, self._count = list(parts), device, cache.pool_size
        self._means = [None if part.mean is None else part.mean.to(device) for part in parts]
        total = self._count + len(cache.long)
        self.resident = total * self.width * 2 <= resident_gib * 2**30
        self._matrix: Tensor | None = None
        self._long = torch.empty(0, self.width, dtype=torch.float16, device=device)
        if self.resident:
            matrix = torch.empty(total, self.width, dtype=torch.float16, device=device)
            for rows, chunk in self.chunks(self._count):
                matrix[rows.start : rows.stop] = chunk
            self._matrix = matrix
        self._long = self._long_vectors(cache)
        if self._matrix is not None:
            self._matrix[self._count :] = self._long

    def __len__(self) -> int:
        return self._count + len(self._long)

    def chunks(self, stop: int) -> Iterator[tuple[range, Tensor]]:
        """Vectors [n, W] float16 of rows 0 to stop, piece by piece."""
        for begin in range(0, stop, _CHUNK):
            rows = range(begin, min(begin + _CHUNK, stop))
            yield rows, self.take(np.arange(rows.start, rows.stop))

    def take(self, rows: Rows) -> Tensor:
        """Vectors [n, W] float16 of some rows."""
        return self.finish(torch.from_numpy(rows).to(self._device), self.fetch(rows))

    def fetch(self, rows: Rows) -> list[Tensor]:
        """What `finish` needs from the host: nothing if the vectors are resident, else pinned copies."""
        if self._matrix is not None:
            return []
        inside = np.where(rows < self._count, rows, 0)
        copies = [torch.from_numpy(part.vectors[inside]) for part in self._parts]
        return [copy.pin_memory() for copy in copies] if self._device.type == "cuda" else copies

    def finish(self, rows: Tensor, fetched: list[Tensor]) -> Tensor:
        """Vectors [n, W] float16 of rows (on the device), from what `fetch` gave; does not synchronise."""
        if self._matrix is not None:
            return self._matrix[rows]
        joined = self._join([copy.to(self._device, non_blocking=True) for copy in fetched])
        if not len(self._long):
            return joined
        long = self._long[(rows - self._count).clamp(min=0)]
        return torch.where((rows >= self._count).unsqueeze(1), long, joined)

    def _join(self, parts: list[Tensor]) -> Tensor:
        scaled = []
        for part, mean, vectors in zip(self._parts, self._means, parts, strict=True):
            unit = F.normalize(vectors.float(), dim=1)
            scaled.append((unit if mean is None else F.normalize(unit - mean, dim=1)) * part.weight)
        return F.normalize(torch.cat(scaled, 1), dim=1).half()

    def _long_vectors(self, cache: Cache) -> Tensor:
        """Vectors [M, W] of the long texts: the length-weighted mean of their passages'."""
        members, starts = cache.long.members, cache.long.starts
        total = torch.zeros(len(cache.long), self.width, device=self._device)
        owner = np.repeat(np.arange(len(cache.long)), np.diff(starts))
        lengths = cache.pool.lengths[members] - 2.0
        for begin in range(0, len(members), _CHUNK):
            piece = slice(begin, begin + _CHUNK)
            weight = torch.from_numpy(lengths[piece]).float().to(self._device)
            vectors = self.take(members[piece]).float() * weight.unsqueeze(1)
            total.index_add_(0, torch.from_numpy(owner[piece]).to(self._device), vectors)
        return F.normalize(total, dim=1).half()
