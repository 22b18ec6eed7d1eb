"""Parts of the loss of learned sparse vectors (SPLADE, arXiv 2109.10086)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def flops_loss(vectors: Tensor) -> Tensor:
    """Sum over pieces of the squared mean weight, of sparse vectors [n, V] of one role (arXiv 2004.05665)."""
    return vectors.mean(0).square().sum()


def ramp(progress: float, share: float) -> float:
    """Quadratic growth from 0 to 1 over the first `share` of the training."""
    return 1.0 if share == 0 else min(1.0, progress / share) ** 2


def margin_mse(scores: Tensor, teacher: Tensor, scale: float) -> Tensor:
    """Mean squared difference of margins (arXiv 2010.02666): of the teacher's best passage over each other.

    Parameters
    ----------
    scores, teacher
        [Q, P] of student and teacher.
    scale
        Points of the student's score that a teacher's margin of 1 is worth.
    """
    best = teacher.argmax(1, keepdim=True)
    margins = scores.gather(1, best) - scores
    wanted = scale * (teacher.gather(1, best) - teacher)
    others = scores.numel() - len(scores)  # a passage has no margin over itself
    return (margins - wanted).square().sum() / max(1, others)


def bag_of_pieces(
    tokens: Tensor, owner: Tensor, count: int, vocabulary: int, special: Sequence[int]
) -> Tensor:
    """1 where a text holds a piece, float32 [count, vocabulary]; special pieces do not count.

    Parameters
    ----------
    tokens, owner
        int64 [T]: token ids, and the text 0 to count - 1 that each belongs to.
    """
    bag = torch.zeros(count, vocabulary, device=tokens.device)
    bag[owner, tokens] = 1.0
    for piece in special:
        bag[:, piece] = 0.0
    return bag
