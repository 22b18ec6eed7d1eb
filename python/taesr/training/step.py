"""The module that DDP and FSDP2 wrap: from a batch to its losses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from taesr.nn import TAESRModel

if TYPE_CHECKING:
    from taesr.training.batch import Batch
    from taesr.training.objectives import Objectives


class TrainingStep(nn.Module):
    """The model and what it is trained for, as one forward pass.

    FSDP2 gathers split parameters when the forward pass of the module that it wraps begins; so the
    losses, some of which use parameters themselves, are made inside it.

    Every trained parameter gets a gradient in every step, if one of zeros, though a step trains some
    depths only: DDP would otherwise search the graph for what was left out, and wait for the device to
    agree on it with the other processes.
    """

    def __init__(self, model: TAESRModel, objectives: "Objectives") -> None:
        super().__init__()
        self.model = model
        self.objectives = objectives

    def forward(
        self, batch: "Batch", depths: Sequence[int], share_done: float = 1.0
    ) -> dict[str, torch.Tensor]:
        """Return the weighted losses of `batch` at `depths` by name, scalars on the device."""
        losses: dict[str, torch.Tensor] = self.objectives(self.model, batch, depths, share_done)
        trained = [p.float().sum() * 0 for p in self.model.parameters() if p.requires_grad]
        nothing = torch.stack(trained).sum()
        return {name: loss + nothing if i == 0 else loss for i, (name, loss) in enumerate(losses.items())}
