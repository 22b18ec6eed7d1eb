"""A first dense head by least squares, so that training does not begin with a random one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from taesr.nn import TAESRModel

if TYPE_CHECKING:
    from taesr.training.planner import Planner

_RIDGE = 1e-3  # of the mean squared input


@torch.no_grad()
def fit_head(
    model: TAESRModel, planner: "Planner", depths: Sequence[int], *, batches: int, dtype: torch.dtype | None
) -> None:
    """Fit `head` by ridge regression from the pooled states of all `depths` at once to the target.

    Every process fits to its own batches; the caller makes them equal.
    """
    weight, bias = model.get_parameter("head.weight"), model.get_parameter("head.bias")  # [D, H], [D]
    inputs = weight.shape[1] + 1
    gram = torch.zeros(inputs, inputs, dtype=torch.float64, device=weight.device)
    products = torch.zeros(inputs, weight.shape[0], dtype=torch.float64, device=weight.device)
    for _ in range(batches):
        batch = planner.next()
        outputs = model.packed(batch.packed, depths, outputs=("pooled",), dtype=dtype)
        for output in outputs.values():
            pooled = output.pooled.float()
            x = torch.cat([pooled, pooled.new_ones(len(pooled), 1)], 1).double()
            gram += x.mT @ x
            products += x.mT @ batch.target.double()
    ridge = _RIDGE * gram.diagonal().mean() * torch.eye(inputs, dtype=gram.dtype, device=gram.device)
    solution = torch.linalg.solve(gram + ridge, products)
    weight.copy_(solution[:-1].mT)
    bias.copy_(solution[-1])
