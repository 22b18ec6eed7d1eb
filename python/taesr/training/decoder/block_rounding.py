"""Matrices in ggml's blocks of 32 neighbouring values: integers, their scale, and perhaps what is added.

Scales and offsets are of half precision, as they are stored; a value is integer * scale + offset.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

BLOCK = 32

_SHARES = (1.0, 0.97, 0.94, 0.9, 0.86, 0.82, 0.78)  # of the values' range that the integers span


@dataclass(frozen=True)
class BlockKind:
    """One of ggml's types.

    Attributes
    ----------
    least, most
        Integers.
    grids
        Scales and offsets to try for blocks [n, 32]: pairs of [n, 1], first those of plain rounding.
    """

    name: str
    least: int
    most: int
    grids: Callable[[Tensor], Iterator[tuple[Tensor, Tensor]]]

    def integers(self, values: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        """The nearest ones, as floats."""
        steps = (values - offset) / torch.where(scale == 0, 1, scale)
        return steps.round().clamp(self.least, self.most)

    def plain_grid(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and offsets [n, 1] that ggml takes for blocks [n, 32]."""
        return next(self._halves(values))

    def best_grid(self, values: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the least squared error; `cost` [32] weighs the columns."""
        grids = list(self._halves(values))
        errors = [
            ((self.integers(values, scale, offset) * scale + offset - values).square() * cost).sum(1)
            for scale, offset in grids
        ]
        best = torch.stack(errors).argmin(0)[None, :, None]
        scales, offsets = (torch.stack(parts).gather(0, best)[0] for parts in zip(*grids, strict=True))
        return scales, offsets

    def _halves(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for pair in self.grids(values):
            scale, offset = (part.half().to(part.dtype) for part in pair)
            yield scale, offset


@dataclass
class RoundedMatrix:
    """A matrix in blocks.

    Attributes
    ----------
    integers
        int8 [rows, columns].
    scales, offsets
        float16 [rows, columns / 32].
    """

    kind: BlockKind
    integers: Tensor
    scales: Tensor
    offsets: Tensor

    def values(self) -> Tensor:
        """float32 [rows, columns], to the bit those that `Decoder.load` reads."""
        blocks = self.integers.float().view(len(self.integers), -1, BLOCK)
        values: Tensor = blocks * self.scales.float()[..., None] + self.offsets.float()[..., None]
        return values.flatten(1)

    def to_bytes(self) -> npt.NDArray[np.uint8]:
        """The blocks row after row, as ggml has them."""
        blocks = self.integers.view(len(self.integers), -1, BLOCK).numpy()
        parts: list[npt.NDArray[np.uint8]] = [_bytes_of(self.scales)]
        if self.kind is Q4_1:
            parts.append(_bytes_of(self.offsets))
        if self.kind is Q8_0:
            parts.append(blocks.view(np.uint8))
        else:  # the low halves of the bytes are the first 16 values, the high ones the last
            whole = (blocks - self.kind.least).astype(np.uint8)
            parts.append(whole[..., : BLOCK // 2] | (whole[..., BLOCK // 2 :] * 16).astype(np.uint8))
        return np.ascontiguousarray(np.concatenate(parts, -1))

    def rows(self, begin: int, end: int) -> "RoundedMatrix":
        """Some of the rows."""
        parts = (part[begin:end] for part in (self.integers, self.scales, self.offsets))
        return RoundedMatrix(self.kind, *parts)


def round_to_nearest(matrix: Tensor, kind: BlockKind) -> RoundedMatrix:
    """Round each value on its own, with the scales that ggml takes; columns are a multiple of 32."""
    blocks = matrix.reshape(-1, BLOCK)
    scale, offset = kind.plain_grid(blocks)
    integers = kind.integers(blocks, scale, offset).to(torch.int8)
    shape = len(matrix), -1
    return RoundedMatrix(kind, integers.view(matrix.shape), *(x.half().view(shape) for x in (scale, offset)))


def _bytes_of(halves: Tensor) -> npt.NDArray[np.uint8]:
    return halves.contiguous().numpy()[..., None].view(np.uint8)


def _q4_0_grids(values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The value farthest from 0 becomes -8 or is clipped; or -7, so that one on the other side is not."""
    farthest = values.gather(1, values.abs().argmax(1, keepdim=True))
    for share in (*_SHARES, 8 / 7):
        yield farthest * (share / -8), torch.zeros_like(farthest)


def _q4_1_grids(values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """From the least to the greatest value, or a part of that: its middle, or some way to either side."""
    least, most = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    for share in _SHARES:
        scale = (most - least) * share / 15
        for begin in (0.0,) if share == 1 else (0.25, 0.5, 0.75):
            yield scale, least + (most - least) * (1 - share) * begin


def _q8_0_grids(values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    scale = values.abs().amax(1, keepdim=True) / 127
    yield scale, torch.zeros_like(scale)


Q4_0 = BlockKind("q4_0", -8, 7, _q4_0_grids)
Q4_1 = BlockKind("q4_1", 0, 15, _q4_1_grids)
Q8_0 = BlockKind("q8_0", -127, 127, _q8_0_grids)
KINDS = {kind.name: kind for kind in (Q4_0, Q4_1, Q8_0)}
