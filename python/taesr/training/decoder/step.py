"""The module that DDP wraps: from a batch of rows to its losses."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from taesr.nn import RecursiveDecoder
from taesr.nn.layer_sharing import kept_layers
from taesr.nn.token_routing import (
    RoutingStep,
    auxiliary_loss,
    balancing_loss,
    default_capacity,
    warmed_capacity,
    z_loss,
)
from taesr.training.decoder.config import DecoderRoutingOptions, DecoderTrainConfig
from taesr.training.decoder.head_loss import HeadLossOptions, Scores, head_loss
from taesr.training.decoder.rows import RowBatch


class DecoderStep(nn.Module):
    """A model, its teacher and what it is trained for, as one forward pass.

    Parameters
    ----------
    model
        With float32 parameters.
    teacher
        With float32 parameters; it is no part of the module.
    config
        Of the run.
    dtype
        Of the layers' arithmetic; None: float32.

    Attributes
    ----------
    routed : list of RoutingStep
        What the routers did in the last forward pass.
    """

    def __init__(
        self,
        model: RecursiveDecoder,
        teacher: RecursiveDecoder | None,
        config: DecoderTrainConfig,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.routed: list[RoutingStep] = []
        self._teacher = [] if teacher is None else [teacher]  # a list, so that it is no submodule
        self._routing = config.routing
        self._shared_keys = config.model.shared_keys
        self._dtype = dtype
        options = config.losses.teacher
        self._losses = HeadLossOptions(
            cross_entropy=config.losses.cross_entropy,
            teacher=0.0 if options is None else options.weight,
            temperature=1.0 if options is None else options.temperature,
            chunk_tokens=config.losses.chunk_tokens,
            dtype=dtype or torch.float32,
            compiled=config.compile,
        )
        if config.compile:
            for layer in (*model.model.layers, *(teacher.model.layers if teacher is not None else ())):
                layer.compile()

    def forward(
        self, batch: RowBatch, capacity: Sequence[float] | None, *, layers_alone: bool = False
    ) -> dict[str, Tensor]:
        """Return scalars on the device: "loss", which carries the gradient, and what it is made of.

        `layers_alone`: each layer learns from the teacher's states, instead of the model from texts.
        """
        if layers_alone:
            return self._layers_losses(batch)
        teacher = self._teachers_scores(batch)
        with self._arithmetic(batch):
            output = self.model(
                batch.inputs, capacity=capacity, shared_keys=self._shared_keys, documents=batch.documents
            )
        table = self.model.head_weight
        found = head_loss(learnt(output.hidden, batch), table, batch.targets, self._losses, teacher)
        losses = {"loss": found.total, "cross_entropy": found.cross_entropy}
        if teacher is not None:
            losses["divergence"] = found.divergence
        self.routed = output.routing
        for name, (weight, value) in self._routers_losses(output.routing).items():
            losses["loss"] = losses["loss"] + weight * value
            losses[name] = value
        return losses

    def _teachers_scores(self, batch: RowBatch) -> Scores | None:
        if not self._teacher or not self._losses.teacher:
            return None
        teacher = self._teacher[0]
        with torch.no_grad(), self._arithmetic(batch):
            hidden = teacher(batch.inputs, documents=batch.documents).hidden
        return learnt(hidden, batch), teacher.head_weight

    def _layers_losses(self, batch: RowBatch) -> dict[str, Tensor]:
        """Squared error of each layer's change of a state, as a share of the teacher's change."""
        teacher, shape = self._teacher[0], self.model.config
        self.routed = []
        with torch.no_grad(), self._arithmetic(batch):
            states = teacher.states(batch.inputs, batch.documents)
        inputs = kept_layers(teacher.config.layers, shape)
        outputs = [*inputs[1:], teacher.config.layers]
        errors = []
        with self._arithmetic(batch):
            for layer, (begin, end) in enumerate(zip(inputs, outputs, strict=True)):
                found = self.model.layer_output(layer, states[begin], batch.inputs, batch.documents)
                change = (states[end] - states[begin]).square().mean(-1)
                error = (found - states[end]).square().mean(-1)
                # The logarithm, since states of few tokens change by next to nothing or by very much.
                errors.append((error / change.clamp(min=1e-8)).log1p().mean())
        loss = torch.stack(errors).mean()
        # Parameters that have no part in it get zeros, which DDP would wait for.
        nothing = torch.stack([p.sum() for p in self.model.parameters() if p.requires_grad]).sum() * 0
        return {"loss": loss + nothing, "layers": loss}

    def _arithmetic(self, batch: RowBatch) -> torch.autocast:
        return torch.autocast(batch.inputs.device.type, self._dtype, enabled=self._dtype is not None)

    def _routers_losses(self, routing: list[RoutingStep]) -> dict[str, tuple[float, Tensor]]:
        """Weights and values."""
        if not routing:
            return {}
        options, made = self._routing, {}
        if routing[0].choices is None:
            made["auxiliary"] = (options.auxiliary, auxiliary_loss(routing))
        elif options.balancing:
            made["balancing"] = (options.balancing, balancing_loss(routing))
        if options.z_loss:
            made["z_loss"] = (options.z_loss, z_loss(routing))
        return made


def learnt(hidden: Tensor, batch: RowBatch) -> Tensor:
    """States whose next tokens are learnt: [B, T, d] -> [n, d]."""
    flat = hidden.flatten(0, 1)
    return flat if batch.places is None else flat[batch.places]


def capacity_now(options: DecoderRoutingOptions, recursions: int, length: int, done: float) -> list[float]:
    """Capacities when a share `done` of the training is, in whole multiples of `step_tokens` of a row."""
    final = options.capacity or default_capacity(recursions)
    shares = warmed_capacity(final, done / options.warmup if options.warmup else 1.0)
    size = options.step_tokens
    counts = [min(length, -(-round(share * length) // size) * size) for share in shares]
    return [min(1.0, (count + 0.5) / length) for count in counts]
