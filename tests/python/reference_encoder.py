"""The encoder's arithmetic once more, a sequence at a time in plain PyTorch: what the library is held to."""

from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from safetensors.torch import load_file

from taesr import TAESRConfig


class ReferenceEncoder:
    def __init__(self, folder: Path) -> None:
        self.config = TAESRConfig.from_file(folder / "config.json")
        self.weights = {name: w.float() for name, w in load_file(folder / "model.safetensors").items()}
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))

    def ids(self, text: str) -> list[int]:
        room = self.config.max_position_embeddings - 2
        return [self.config.bos_id, *self.tokenizer.encode(text)[:room], self.config.eos_id]

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred / (variance + self.config.layer_norm_eps).sqrt() * weight + bias

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def layer(self, x: torch.Tensor, products: str, norms: str) -> torch.Tensor:
        heads = self.config.num_attention_heads
        width = x.shape[1] // heads
        query, key, value = self.linear(x, f"{products}.attention.qkv").split(x.shape[1], dim=1)
        attended = torch.cat(
            [
                torch.softmax(query[:, h] @ key[:, h].T / width**0.5, dim=-1) @ value[:, h]
                for h in (slice(i * width, (i + 1) * width) for i in range(heads))
            ],
            dim=1,
        )
        x = self.norm(x + self.linear(attended, f"{products}.attention.out"), f"{norms}.attention_norm")
        widened = self.linear(x, f"{products}.mlp.up")
        gelu = 0.5 * widened * (1 + torch.erf(widened / 2**0.5))
        return self.norm(x + self.linear(gelu, f"{products}.mlp.down"), f"{norms}.mlp_norm")

    def hidden(self, ids: list[int], role: str, recursions: int) -> torch.Tensor:
        """States of the last layer [tokens, hidden]."""
        x = (
            self.weights["embeddings.token.weight"][ids]
            + self.weights["embeddings.position.weight"][: len(ids)]
        )
        x = self.norm(x + self.weights["embeddings.role.weight"][int(role == "query")], "embeddings.norm")
        entry = x = self.layer(x, "entry", "entry")
        for r in range(recursions):
            if r > 0:
                x = x + self.weights["reinject.weight"][r] * entry
            for k in range(self.config.shared_layers):
                x = self.layer(x, f"shared.{k}", f"shared.{k}.recursion.{r}")
        return self.layer(x, "exit", "exit")

    def embed(self, text: str, *, role: str, recursions: int) -> torch.Tensor:
        """Unit vector [embedding_size] of a text that fits one pass."""
        pooled = self.hidden(self.ids(text), role, recursions).mean(0)
        return F.normalize(self.linear(pooled, "head"), dim=0)
