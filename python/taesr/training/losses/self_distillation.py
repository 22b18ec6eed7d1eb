"""Shallower exits learn from the deepest one."""

from collections.abc import Mapping

from torch import Tensor

from taesr.training.losses.cosine import cosine_loss
from taesr.training.losses.kl import SimilarityRows
from taesr.training.objective_options import SelfDistillationOptions


def self_distillation_loss(
    dense: Mapping[int, Tensor], passages: int, options: SelfDistillationOptions, dims: dict[int, float]
) -> Tensor:
    """Mean over the shallower depths of their distance to the deepest, which gets no gradient.

    Parameters
    ----------
    dense
        [B, D] unit rows by depth, at least one; the first `passages` rows are passages.
    """
    deepest = max(dense)
    target = dense[deepest].detach()
    total = target.new_zeros(())
    shallower = [depth for depth in dense if depth != deepest]
    rows = None
    if options.kl and shallower:
        rows = SimilarityRows(target, passages, options.temperature, (0.5, 0.5))
    for depth in shallower:
        total = total + cosine_loss(dense[depth], target, dims) / len(shallower)
        if rows is not None:
            total = total + options.kl * rows.kl(dense[depth], dims) / len(shallower)
    return total
