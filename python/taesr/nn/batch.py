"""Texts as the encoder reads them in training: packed, without padding."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Self

import torch

from taesr._native import core
from taesr.config import TAESRConfig
from taesr.errors import InvalidArgument


@dataclasses.dataclass(frozen=True, eq=False)
class PackedBatch:
    """Sequences laid end to end.

    For speed on a GPU put the long sequences (more than 128 tokens) first, or the short ones.

    Parameters
    ----------
    tokens
        int64 [T], ids of all sequences, special tokens included.
    offsets
        B + 1 integers, or an int64 CPU tensor of them: sequence i has the tokens from offsets[i] to
        offsets[i + 1], at least one.
    roles
        int64 [B], 0 for passages and 1 for queries; on the device of the tokens.

    Raises
    ------
    InvalidArgument
        Offsets that do not rise from 0 to T, or roles that are not one a sequence.
    """

    tokens: torch.Tensor
    offsets: Sequence[int]
    roles: torch.Tensor

    def __post_init__(self) -> None:
        given = self.offsets
        offsets = given.tolist() if isinstance(given, torch.Tensor) else [int(offset) for offset in given]
        object.__setattr__(self, "offsets", offsets)
        if self.tokens.dim() != 1 or self.tokens.dtype != torch.int64 or len(self.tokens) == 0:
            raise InvalidArgument(
                f"tokens must be int64 [T] with T at least 1, "
                f"got {self.tokens.dtype} {tuple(self.tokens.shape)}"
            )
        rising = len(offsets) > 1 and all(a < b for a, b in itertools.pairwise(offsets))
        if not rising or offsets[0] != 0 or offsets[-1] != len(self.tokens):
            raise InvalidArgument(f"offsets must rise from 0 to the number of tokens, {len(self.tokens)}")
        if self.roles.dtype != torch.int64 or self.roles.shape != (len(offsets) - 1,):
            raise InvalidArgument(
                f"roles must be int64 [{len(offsets) - 1}], one a sequence, "
                f"got {self.roles.dtype} {tuple(self.roles.shape)}"
            )
        if self.roles.device != self.tokens.device:
            raise InvalidArgument(f"roles are on {self.roles.device}, tokens on {self.tokens.device}")

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.offsets) - 1

    @functools.cached_property
    def layout(self) -> core.PackedLayout:
        """Lengths and positions on the device of the tokens, computed once."""
        return core.PackedLayout(list(self.offsets), self.tokens.device)

    @functools.cached_property
    def _extremes(self) -> tuple[int, int, int, int]:
        """Smallest and largest token, smallest and largest role."""
        extremes = (*torch.aminmax(self.tokens), *torch.aminmax(self.roles))
        low, high, first, last = torch.stack(extremes).tolist()
        return low, high, first, last

    def check(self, config: TAESRConfig) -> None:
        """Raise InvalidArgument for ids and roles that a model of this config does not have."""
        low, high, first, last = self._extremes
        if low < 0 or high >= config.vocab_size:
            raise InvalidArgument(f"token ids from {low} to {high}; allowed: 0 to {config.vocab_size - 1}")
        if first < 0 or last > 1:
            raise InvalidArgument(f"roles from {first} to {last}; allowed: 0 to 1")

    def to(self, device: torch.device | str) -> Self:
        """The same batch on a device; copies from pinned memory do not wait."""
        extremes = self._extremes  # read where they are, so that `check` need not wait for the device
        moved = dataclasses.replace(
            self,
            tokens=self.tokens.to(device, non_blocking=True),
            roles=self.roles.to(device, non_blocking=True),
        )
        moved.__dict__["_extremes"] = extremes
        return moved
