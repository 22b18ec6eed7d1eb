"""The encoder's arithmetic once more, a sequence at a time in plain PyTorch: what the library is held to."""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from safetensors.torch import load_file

from taesr import TAESRConfig


class Reference:
    """The forward pass over weights by name; differentiable in them."""

    def __init__(self, config: TAESRConfig, weights: Mapping[str, torch.Tensor]) -> None:
        self.config = config
        self.weights = weights

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred / (variance + self.config.layer_norm_eps).sqrt() * weight + bias

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        width = key.shape[1] // self.config.num_attention_heads
        heads = [slice(start, start + width) for start in range(0, key.shape[1], width)]
        return torch.cat(
            [torch.softmax(query[:, h] @ key[:, h].T / width**0.5, dim=-1) @ value[:, h] for h in heads],
            dim=1,
        )

    def layer(
        self, x: torch.Tensor, products: str, norms: str, active: torch.Tensor | None = None
    ) -> torch.Tensor:
        """One block; with `active`, a mask of tokens, only these change."""
        query, key, value = self.linear(x, f"{products}.attention.qkv").split(x.shape[1], dim=1)
        mixed = self.linear(self.attend(query, key, value), f"{products}.attention.out")
        mixed = self.norm(x + mixed, f"{norms}.attention_norm")
        widened = self.linear(mixed, f"{products}.mlp.up")
        gelu = 0.5 * widened * (1 + torch.erf(widened / 2**0.5))
        result = self.norm(mixed + self.linear(gelu, f"{products}.mlp.down"), f"{norms}.mlp_norm")
        return result if active is None else torch.where(active.unsqueeze(1), result, x)

    def schedule(self, recursions: int) -> list[tuple[int, int]]:
        """(shared layer, recursion) of every application in order."""
        layers, steps = range(self.config.shared_layers), range(recursions)
        if self.config.sharing in ("sequence", "middle_sequence"):
            return [(k, r) for k in layers for r in steps]
        return [(k, r) for r in steps for k in layers]

    def choose(self, scores: torch.Tensor, r: int, going: torch.Tensor) -> torch.Tensor:
        """Mask of the tokens that recursion r works on."""
        if self.config.token_routing == "token_choice":
            return going & (torch.sigmoid(scores + self.weights["token_router.bias"][r]) >= 0.5)
        shares = self.config.token_capacity
        share = Fraction(str(shares[min(r, len(shares) - 1)]))
        best = sorted(range(len(scores)), key=lambda i: (not going[i], -float(scores[i].detach()), i))
        mask = torch.zeros(len(scores), dtype=torch.bool)
        mask[best[: math.ceil(share * len(scores))]] = True
        return mask

    def recur(self, x: torch.Tensor, recursions: int) -> torch.Tensor:
        entry, cycle = x, self.config.sharing in ("cycle", "middle_cycle")
        for k, r in self.schedule(recursions):
            if r > 0 and (k == 0 or not cycle):
                x = x + self.weights["reinject.weight"][r] * entry
            x = self.layer(x, f"shared.{k}", f"shared.{k}.recursion.{r}")
        return x

    def recur_routed(self, x: torch.Tensor, recursions: int) -> torch.Tensor:
        entry, going = x, torch.ones(len(x), dtype=torch.bool)
        for r in range(recursions):
            scores = x @ self.weights["token_router.weight"][r]
            going = self.choose(scores, r, going)
            gate = (2 * torch.sigmoid(scores)).unsqueeze(1)
            moved = x
            if r > 0:
                moved = torch.where(going.unsqueeze(1), x + self.weights["reinject.weight"][r] * entry, x)
            for k in range(self.config.shared_layers):
                moved = self.layer(moved, f"shared.{k}", f"shared.{k}.recursion.{r}", active=going)
            x = torch.where(going.unsqueeze(1), x + gate * (moved - x), x)
        return x

    def entry(self, ids: list[int], role: str) -> torch.Tensor:
        """States before the recursion [tokens, hidden]."""
        tokens = self.weights["embeddings.token.weight"][ids]
        x = tokens + self.weights["embeddings.position.weight"][: len(ids)]
        x = self.norm(x + self.weights["embeddings.role.weight"][int(role == "query")], "embeddings.norm")
        for i in range(self.config.entry_layers):
            x = self.layer(x, f"entry.{i}", f"entry.{i}")
        return x

    def hidden(self, ids: list[int], role: str, recursions: int) -> torch.Tensor:
        """States of the last layer [tokens, hidden]."""
        routed = self.config.token_routing != "none"
        x = (self.recur_routed if routed else self.recur)(self.entry(ids, role), recursions)
        for i in range(self.config.refinement_layers if recursions > 1 else 0):
            x = self.layer(x, f"refinement.{i}", f"refinement.{i}")
        for i in range(self.config.exit_layers):
            x = self.layer(x, f"exit.{i}", f"exit.{i}")
        return x

    def dense(self, ids: list[int], role: str, recursions: int) -> torch.Tensor:
        """Unit vector [embedding_size]."""
        return F.normalize(self.linear(self.hidden(ids, role, recursions).mean(0), "head"), dim=0)


class ReferenceEncoder(Reference):
    """A model folder, read without the library."""

    def __init__(self, folder: Path) -> None:
        weights = {name: w.float() for name, w in load_file(folder / "model.safetensors").items()}
        if "embeddings.token.scale" in weights:
            weights["embeddings.token.weight"] *= weights.pop("embeddings.token.scale").unsqueeze(1)
        unnumbered = re.compile(r"^(entry|exit)\.(?=[a-z])")  # the first release's names
        weights = {unnumbered.sub(r"\1.0.", name): w for name, w in weights.items()}
        super().__init__(TAESRConfig.from_file(folder / "config.json"), weights)
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))

    def ids(self, text: str) -> list[int]:
        room = self.config.max_position_embeddings - 2
        return [self.config.bos_id, *self.tokenizer.encode(text)[:room], self.config.eos_id]

    def embed(self, text: str, *, role: str, recursions: int) -> torch.Tensor:
        """Unit vector [embedding_size] of a text that fits one pass."""
        return self.dense(self.ids(text), role, recursions)
