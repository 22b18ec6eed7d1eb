"""Texts through a model that is not being trained: what heads over its states learn from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from taesr._native import core
from taesr.errors import InvalidArgument
from taesr.nn import PackedBatch, TAESRModel, router_features

Role = Literal["passage", "query"]
Report = Callable[[str, int, int | None], None]  # what is being done, how much is done, of how much

_TOKENS = {"cpu": 8192, "cuda": 131072}  # in one batch
_ROLES: tuple[Role, Role] = ("passage", "query")


def pick_device(name: str | None = None) -> torch.device:
    """Return the device of a name; without one the GPU where there is one."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidArgument(f"device is {name!r}; allowed: cpu, cuda, cuda:N") from None
    if device.type not in _TOKENS or (device.type == "cuda" and not torch.cuda.is_available()):
        raise InvalidArgument(f"device {name!r} is not there; leave it out to take what is")
    return device


@dataclass(frozen=True)
class FrozenTexts:
    """What a model makes of texts, on its device, rows in their order.

    Attributes
    ----------
    dense : dict of int to Tensor
        float32 [n, embedding_size] by depth, unit rows.
    pooled : dict of int to Tensor
        float32 [n, hidden_size] by depth.
    features : Tensor
        float32 [n, hidden_size + 1]: what a depth router reads.
    """

    dense: dict[int, Tensor]
    pooled: dict[int, Tensor]
    features: Tensor


class FrozenReader:
    """Reads texts with a model in evaluation, cut to one pass.

    Parameters
    ----------
    model
        From a folder, with its tokenizer; moved to `device`.
    tokenizer
        Of the same folder.
    device
        The layers compute in bfloat16 on a GPU and where the processor multiplies it, else in float32.
    """

    def __init__(self, model: TAESRModel, tokenizer: core.Tokenizer, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.device = device
        self._tokenizer = tokenizer
        fast = device.type == "cuda" or core.cpu_multiplies_bfloat16()
        self._dtype = torch.bfloat16 if fast else None

    @classmethod
    def load(cls, folder: Path, device: str | None = None) -> Self:
        """Load a model folder to the device of a name; see `pick_device`."""
        model = TAESRModel.from_pretrained(folder)
        return cls(model, core.Tokenizer.load(folder / "tokenizer.model"), pick_device(device))

    @torch.no_grad()
    def read(
        self,
        texts: Sequence[str],
        role: Role,
        depths: Sequence[int],
        *,
        label: str = "texts read",
        report: Report | None = None,
    ) -> FrozenTexts:
        """Read texts at several depths, long ones together; reports progress."""
        ids = [self._ids(text) for text in texts]
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        size, hidden = self.model.config.embedding_size, self.model.config.hidden_size
        dense = {depth: torch.empty(len(ids), size, device=self.device) for depth in depths}
        pooled = {depth: torch.empty(len(ids), hidden, device=self.device) for depth in depths}
        features = torch.empty(len(ids), hidden + 1, device=self.device)
        done = 0
        for rows in _batches(order, [len(text) for text in ids], _TOKENS[self.device.type]):
            batch = _pack([ids[row] for row in rows], role).to(self.device)
            outputs = self.model.packed(batch, list(depths), dtype=self._dtype)
            places = torch.tensor(rows, device=self.device)
            for depth, output in outputs.items():
                dense[depth][places] = output.dense.float()
                pooled[depth][places] = output.pooled.float()
                entry = output.entry
            features[places] = router_features(entry, batch).float()
            done += len(rows)
            if report is not None:
                report(label, done, len(ids))
        return FrozenTexts(dense, pooled, features)

    def _ids(self, text: str) -> list[int]:
        config = self.model.config
        pieces = self._tokenizer.encode(text)[: config.max_position_embeddings - 2]
        return [config.bos_id, *pieces, config.eos_id]


def _batches(order: Sequence[int], lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    batch: list[int] = []
    tokens = 0
    for row in order:
        if batch and tokens + lengths[row] > budget:
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += lengths[row]
    if batch:
        yield batch


def _pack(ids: Sequence[Sequence[int]], role: Role) -> PackedBatch:
    offsets = [0]
    for text in ids:
        offsets.append(offsets[-1] + len(text))
    tokens = torch.tensor([token for text in ids for token in text])
    return PackedBatch(tokens, offsets, torch.full((len(ids),), _ROLES.index(role)))
