"""Distance of vectors to their targets."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def cosine_loss(z: Tensor, target: Tensor, dims: dict[int, float]) -> Tensor:
    """Mean of 1 - cos between the slices of z and of the target, weighted over the slices.

    Parameters
    ----------
    z, target
        [B, D]; rows need not be unit.
    dims
        Weight by size of the slice (Matryoshka, arXiv 2205.13147).
    """
    total = z.new_zeros(())
    for size, weight in dims.items():
        total = total + weight * (1 - F.cosine_similarity(z[:, :size], target[:, :size], dim=1).mean())
    return total
