"""InfoNCE over queries and their passages."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from taesr.training.losses.kl import at_least_float32


def contrastive_mask(
    teacher: Tensor, queries: Tensor, positives: Tensor, passages: int, ceiling: float
) -> Tensor:
    """Which passages count as negatives or as the positive, bool [n, passages].

    A passage whose teacher similarity to the query is over `ceiling` times the positive's is taken for
    an unmarked answer and left out (positive-aware, arXiv 2407.15831).

    Parameters
    ----------
    teacher
        [B, W] unit rows; the first `passages` are passages.
    queries, positives
        int64 [n]: places in the batch of queries and of their own passages.
    """
    vectors = at_least_float32(teacher)
    similarity = vectors[queries] @ vectors[:passages].T
    own = similarity.gather(1, positives.unsqueeze(1))
    return (similarity <= ceiling * own).scatter(1, positives.unsqueeze(1), True)


def contrastive_loss(
    z: Tensor, queries: Tensor, positives: Tensor, mask: Tensor, *, temperature: float, dims: dict[int, float]
) -> Tensor:
    """Cross entropy of each query's own passage among the passages that the mask [n, passages] allows.

    Mean over queries, weighted over the slices of z [B, D]; 0 where there is no query.
    """
    if not len(queries):
        return z.sum() * 0
    total = z.new_zeros((), dtype=at_least_float32(z[:0]).dtype)
    for size, weight in dims.items():
        unit = F.normalize(at_least_float32(z[:, :size]), dim=1)
        logits = unit[queries] @ unit[: mask.shape[1]].T / temperature
        total = total + weight * F.cross_entropy(logits.masked_fill(~mask, -torch.inf), positives)
    return total
