"""A batch on the device, and parts of it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from taesr.nn import PackedBatch

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Texts packed end to end: passages by falling length, then queries by falling length.

    Attributes
    ----------
    packed : PackedBatch
    texts : Tensor
        int64 [B], rows of the pool.
    passages : int
        The first `passages` texts are passages, the rest queries.
    target : Tensor
        float32 [B, D], unit rows: the teachers' vectors in the student's space.
    teacher : Tensor
        float16 [B, W], unit rows: the teachers' whole vectors.
    queries, positives : Tensor
        int64 [n]: places in the batch of the queries whose own passage is in it, and of these.
    lengths, groups : ndarray
        int64 [B] on the host: tokens, and the group of near texts, of each text.
    seed : int
        For what is drawn from this batch; the same when a run is resumed.
    """

    packed: PackedBatch
    texts: Tensor
    passages: int
    target: Tensor
    teacher: Tensor
    queries: Tensor
    positives: Tensor
    lengths: Places
    groups: Places
    seed: int

    @property
    def tokens(self) -> int:
        """Tokens of the batch, known on the host."""
        return len(self.packed.tokens)


@dataclass(frozen=True)
class Part:
    """Some texts of a batch, packed: `tokens` int64 [t] are the places of their tokens in the batch."""

    packed: PackedBatch
    tokens: Tensor
    texts: Tensor  # int64 [n], places in the batch
    lengths: Places


def to_device(values: npt.NDArray[np.int64] | Tensor, device: torch.device) -> Tensor:
    """Copy host values to a device without waiting for it."""
    host = values if isinstance(values, Tensor) else torch.from_numpy(values)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host


def take_part(batch: Batch, places: Places, *, inner: bool = False) -> Part:
    """The texts at some places of the batch, in this order; does not wait for the device.

    `inner` leaves out the special tokens at both ends of each text.
    """
    device = batch.texts.device
    offsets = np.concatenate([[0], batch.lengths.cumsum()]) + inner
    lengths = batch.lengths[places] - 2 * inner
    ends = lengths.cumsum()
    tokens = to_device(
        np.repeat(offsets[places] - (ends - lengths), lengths) + np.arange(lengths.sum()), device
    )
    texts = to_device(places, device)
    packed = PackedBatch(
        tokens=batch.packed.tokens[tokens],
        offsets=[0, *ends.tolist()],
        roles=batch.packed.roles[texts],
    )
    return Part(packed, tokens, texts, lengths)


def sample_texts(
    batch: Batch, *, queries: int, passages: int, max_tokens: int | None = None
) -> tuple[Places, Places]:
    """Places of some queries and passages, whole groups of near texts first, so that near ones meet.

    Parameters
    ----------
    queries, passages
        At most; each list keeps the batch's order.
    max_tokens
        Of both together, at most; a fifth of them is the queries'.
    """
    rng = np.random.default_rng(batch.seed)
    _, group = np.unique(batch.groups, return_inverse=True)
    order = np.lexsort((rng.random(len(group)), rng.permutation(group.max() + 1)[group]))
    chosen = _first(order[order < batch.passages], batch.lengths, passages, _share(max_tokens, 0.8))
    near = order[(order >= batch.passages) & np.isin(group[order], group[chosen])]
    asking = _first(near, batch.lengths, queries, _share(max_tokens, 0.2))
    return np.sort(asking), np.sort(chosen)


def _share(max_tokens: int | None, share: float) -> int | None:
    return None if max_tokens is None else int(max_tokens * share)


def _first(places: Places, lengths: Places, count: int, max_tokens: int | None) -> Places:
    places = places[:count]
    if max_tokens is None:
        return places
    return places[: int(np.searchsorted(lengths[places].cumsum(), max_tokens, side="right"))]


def pack_plan(pool: tuple[Tensor, Tensor, int], texts: Tensor, lengths: Places, passages: int) -> PackedBatch:
    """Gather texts out of the flat tokens, on their device and without waiting for it.

    Parameters
    ----------
    pool
        int32 [all tokens], int64 [N + 1] where each text begins, and the largest token id.
    texts
        int64 [B]: rows of the pool; the first `passages` are passages.
    lengths
        Tokens of these, on the host.
    """
    tokens, starts, largest = pool
    offsets = np.concatenate([[0], lengths.cumsum()])
    total = int(offsets[-1])
    shift = starts[texts] - to_device(offsets[:-1].copy(), texts.device)
    source = torch.repeat_interleave(shift, to_device(lengths, texts.device), output_size=total)
    source += torch.arange(total, device=texts.device)
    roles = (torch.arange(len(lengths), device=texts.device) >= passages).long()
    packed = PackedBatch(tokens=tokens[source].long(), offsets=offsets.tolist(), roles=roles)
    # The pool's own bounds: reading the batch's would wait for the device in every step.
    packed.__dict__["_extremes"] = (0, largest, 0, 1)
    return packed
