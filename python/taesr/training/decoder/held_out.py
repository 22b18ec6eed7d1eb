"""The loss on texts that are not trained on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from taesr.errors import Error
from taesr.nn import RecursiveDecoder
from taesr.training.decoder.config import DecoderTrainConfig
from taesr.training.decoder.head_loss import cross_entropies
from taesr.training.decoder.rows import RowReader, Spans, rows_of
from taesr.training.decoder.step import learnt
from taesr.training.decoder.tokens import TokenCache
from taesr.training.distributed import World


@dataclass(frozen=True)
class HeldOutLoss:
    """Mean cross-entropies in nats a token, over the same tokens.

    Attributes
    ----------
    loss, teacher
        Of the model, routed as when it generates, and of the teacher; None without one.
    passing : list of float
        Share of the tokens that go through each recursion; empty without routers.
    tokens : int
        Measured.
    """

    loss: float
    teacher: float | None
    passing: list[float]
    tokens: int

    @property
    def score(self) -> float:
        """More is better."""
        return -self.loss

    @property
    def figures(self) -> dict[str, Any]:
        """For the log."""
        figures: dict[str, Any] = {"held_out_loss": self.loss, "tokens": self.tokens}
        if self.teacher is not None:
            figures |= {"teacher_loss": self.teacher, "gap": self.loss - self.teacher}
        if self.passing:
            figures["passing"] = self.passing
        return figures

    def summary(self) -> str:
        """Write it in one line."""
        parts = [f"held-out loss {self.loss:.4f} (perplexity {math.exp(min(50.0, self.loss)):.2f})"]
        if self.teacher is not None:
            parts.append(f"teacher {self.teacher:.4f} ({self.loss - self.teacher:+.4f})")
        if self.passing:
            parts.append("passing " + " ".join(f"{share:.0%}" for share in self.passing))
        return ", ".join(parts)


class HeldOut:
    """Held-out rows, shared out over the processes, always the same."""

    def __init__(self, cache: TokenCache, config: DecoderTrainConfig, world: World) -> None:
        tokens = cache.splits["held"]
        rows = rows_of(tokens, np.arange(len(tokens.lengths)), config.data)
        count = len(rows) if config.evaluate.sequences is None else config.evaluate.sequences
        self._rows = [rows[row] for row in range(world.rank, min(len(rows), count), world.size)]
        self._reader = RowReader(tokens, cache, config.data)
        self._batch = config.data.batch_sequences
        self._chunk = config.losses.chunk_tokens
        self._shared_keys = config.model.shared_keys
        self._world = world
        self._teachers: float | None = None
        self.rows = len(rows)

    def measure(
        self, model: RecursiveDecoder, teacher: RecursiveDecoder | None, dtype: torch.dtype | None
    ) -> HeldOutLoss:
        """Measure; every process must call it. Raises Error where the loss is not finite."""
        loss, tokens, passing = self._losses(model, dtype, shared_keys=self._shared_keys)
        if not math.isfinite(loss):
            raise Error("the held-out loss is not finite; lower optimizer.lr or start anew")
        if teacher is not None and self._teachers is None:
            self._teachers = self._losses(teacher, dtype, shared_keys=False)[0]
        return HeldOutLoss(loss, self._teachers, passing, tokens)

    @torch.no_grad()
    def _losses(
        self, model: RecursiveDecoder, dtype: torch.dtype | None, *, shared_keys: bool
    ) -> tuple[float, int, list[float]]:
        device = self._world.device
        recursions = model.config.recursions if model.config.routing != "none" else 0
        sums = torch.zeros(3 + recursions, dtype=torch.float64, device=device)
        for begin in range(0, len(self._rows), self._batch):
            rows: Sequence[Spans] = self._rows[begin : begin + self._batch]
            batch = self._reader.read(rows, device)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                output = model(batch.inputs, shared_keys=shared_keys, documents=batch.documents)
            hidden = learnt(output.hidden, batch)
            scores = (hidden if dtype is None else hidden.to(dtype), model.head_weight)
            sums[0] += cross_entropies(scores, batch.targets, self._chunk).double().sum()
            sums[1] += len(batch.targets)
            sums[2] += batch.tokens
            for r, step in enumerate(output.routing):
                sums[3 + r] += step.selected.sum()
        total, learnt_tokens, all_tokens, *passed = self._world.total(sums.tolist())
        return total / max(1.0, learnt_tokens), int(learnt_tokens), [n / all_tokens for n in passed]
