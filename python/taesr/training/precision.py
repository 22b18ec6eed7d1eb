"""Arithmetic of a step: loss scaling, clipping, and gradients that are not finite."""

from typing import Literal

import torch
from torch import nn

from taesr.errors import Error
from taesr.training.optim import Optimizers
from taesr.training.sharding import whole

MOST_SKIPPED = 20  # steps in a row

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}


class Precision:
    """Runs backward passes and steps in one precision.

    A step whose gradient is not finite is skipped on the device, without the host knowing; `check`
    tells it, as often as one is willing to wait for the device.

    Parameters
    ----------
    name
        "bf16" and "fp16" cast the layers' weights in every forward pass; "fp16" scales the loss as
        well, so that small gradients do not vanish.
    clip
        Longest gradient; None for any.
    device
        Of the parameters.
    """

    def __init__(
        self, name: Literal["bf16", "fp16", "fp32"], clip: float | None, device: torch.device
    ) -> None:
        self.dtype: torch.dtype | None = _DTYPES[name]
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        self._clip = float("inf") if clip is None else clip
        self._skipped = torch.zeros((), device=device)
        self._streak = torch.zeros((), device=device)
        self._longest_streak = torch.zeros((), device=device)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a scalar loss."""
        scaled: torch.Tensor = self.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def step(self, optimizers: Optimizers, share: float) -> torch.Tensor:
        """Clip, take the step where the gradient is finite, and drop the gradients.

        Returns the gradient's norm before clipping, a scalar on the device.
        """
        if self.scaler.is_enabled():
            for optimizer in optimizers:
                self.scaler.unscale_(optimizer)
        gradients = [p.grad for p in optimizers.parameters if p.grad is not None]
        norm = whole(nn.utils.get_total_norm(gradients, foreach=True))
        nn.utils.clip_grads_with_norm_(optimizers.parameters, self._clip, norm, foreach=True)
        skip = (~norm.isfinite()).float()
        optimizers.step(share, skip)
        optimizers.zero_grad()
        if self.scaler.is_enabled():
            self.scaler.update()
        self._skipped += skip
        self._streak = (self._streak + skip) * skip
        self._longest_streak = torch.maximum(self._longest_streak, self._streak)
        return norm

    def check(self) -> int:
        """Wait for the device; return the steps skipped since the last call.

        Raises Error when more than `MOST_SKIPPED` steps in a row had gradients that are not finite.
        """
        skipped, longest = torch.stack([self._skipped, self._longest_streak]).tolist()
        self._skipped.zero_()
        self._longest_streak.copy_(self._streak)
        if longest >= MOST_SKIPPED:
            raise Error(
                f"the gradient was not finite in {longest:.0f} steps in a row; lower optimizer.lr, train in "
                "another precision, or start from an earlier checkpoint"
            )
        return int(skipped)

    def state(self) -> dict[str, float]:
        """State of the loss scale."""
        return self.scaler.state_dict() if self.scaler.is_enabled() else {}

    def load_state(self, state: dict[str, float]) -> None:
        """Take over what `state` returned."""
        if self.scaler.is_enabled() and state:
            self.scaler.load_state_dict(state)
