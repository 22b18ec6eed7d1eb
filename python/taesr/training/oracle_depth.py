"""The oracle depth of a text: the smallest whose nearest passages are (nearly) those of the deepest depth."""

from collections.abc import Sequence

import torch
from torch import Tensor

_BLOCK = 1024  # queries searched at once


def oracle_labels(tops: Sequence[Tensor], overlap: float) -> tuple[Tensor, Tensor]:
    """Return the class of each text, and how many neighbours it keeps.

    Parameters
    ----------
    tops : sequence of Tensor
        int64 [n, k] by ascending depth: the nearest passages.
    overlap : float
        Share of the last depth's that is enough.

    Returns
    -------
    int64 [n], the first depth that is enough, and float32 [n, depths], shares of the last depth's.
    """
    kept = torch.stack([overlap_of(top, tops[-1]) for top in tops], 1)
    enough = kept >= overlap - 1e-6
    enough[:, -1] = True
    return enough.int().argmax(1), kept


def mistake_costs(labels: Tensor, kept: Tensor, depths: Sequence[int], price: float) -> Tensor:
    """Cost of each text's worst mistake: neighbours lost at the easiest depth, or recursions for nothing.

    Parameters
    ----------
    labels, kept : Tensor
        Of `oracle_labels`.
    depths : sequence of int
        Recursions of the classes.
    price : float
        What a needless recursion costs, as a share of neighbours lost, if all of them were needless.

    Returns
    -------
    float32 [n], above 0.
    """
    needed = torch.tensor(depths, dtype=torch.float32, device=labels.device)[labels]
    lost = torch.where(labels > 0, 1 - kept[:, 0], torch.zeros_like(needed))
    wasted = price * (depths[-1] - needed) / depths[-1]
    return torch.maximum(lost, wasted).clamp_min(1e-3)


def nearest(queries: Tensor, index: Tensor, k: int, *, exclude: Tensor | None = None) -> Tensor:
    """Rows of `index` [n, d] with the largest products, int64 [q, k]; `exclude` int64 [q] are no answers."""
    found = []
    for begin in range(0, len(queries), _BLOCK):
        scores = queries[begin : begin + _BLOCK] @ index.T
        if exclude is not None:
            scores.scatter_(1, exclude[begin : begin + _BLOCK, None], -torch.inf)
        found.append(scores.topk(k, 1).indices)
    return torch.cat(found)


def own_passage_ndcg(queries: Tensor, index: Tensor, own: Tensor) -> Tensor:
    """nDCG@10 of each query with one relevant row of `index`: float32 [q]. Equal scores rank above it."""
    values = []
    for begin in range(0, len(queries), _BLOCK):
        scores = queries[begin : begin + _BLOCK] @ index.T
        own_scores = scores.gather(1, own[begin : begin + _BLOCK, None])
        ranks = (scores >= own_scores).sum(1).float()
        values.append(torch.where(ranks <= 10, 1 / torch.log2(1 + ranks), torch.zeros_like(ranks)))
    return torch.cat(values)


def overlap_of(found: Tensor, wanted: Tensor) -> Tensor:
    """Share of `found` [n, k] that is among `wanted` [n, k], by row."""
    return (found[:, :, None] == wanted[:, None, :]).any(2).float().mean(1)
