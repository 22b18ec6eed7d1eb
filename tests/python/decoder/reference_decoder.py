"""A Llama-style decoder in plain PyTorch and float64, written from the papers; and its model folders."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000.0,
    "tie_word_embeddings": True,
}
LAYERS = {
    "none": [0, 1, 2, 3, 4, 5],
    "cycle": [0, 1, 2, 0, 1, 2],
    "sequence": [0, 0, 1, 1, 2, 2],
    "middle_cycle": [0, 1, 2, 1, 2, 3],
    "middle_sequence": [0, 1, 1, 2, 2, 3],
}


def random_weights(unique: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        values = 0.2 * torch.randn(*shape, generator=generator)
        return values + 1 if len(shape) == 1 else values

    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    keys = hidden // CONFIG["num_attention_heads"] * CONFIG["num_key_value_heads"]
    weights = {
        "model.embed_tokens.weight": draw(CONFIG["vocab_size"], hidden),
        "model.norm.weight": draw(hidden),
    }
    shapes = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    for layer in range(unique):
        for name, shape in shapes.items():
            weights[f"model.layers.{layer}.{name}.weight"] = draw(*shape)
    return weights


def save(weights: dict[str, Tensor], folder: Path, **fields: Any) -> Path:
    """Write a model folder; `fields` replace those of CONFIG or add to them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | fields))
    save_file(weights, folder / "model.safetensors")
    return folder


def norm(x: Tensor, gain: Tensor) -> Tensor:
    eps: float = CONFIG["rms_norm_eps"]
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * gain


def turn(x: Tensor) -> Tensor:
    """Rotary positions as complex numbers. x [tokens, heads, dim]."""
    half = x.shape[-1] // 2
    frequency = CONFIG["rope_theta"] ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(len(x), dtype=torch.float64)[:, None, None] * frequency
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], -1)


class Model:
    """The weights in float64, and one layer of them."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = {name: value.double() for name, value in weights.items()}

    def embed(self, tokens: list[int]) -> Tensor:
        return self.weights["model.embed_tokens.weight"][tokens]

    def keys(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens."""
        p, groups = self.of_layer(layer), CONFIG["num_key_value_heads"]
        h = norm(x, p["input_layernorm.weight"])
        key = turn((h @ p["self_attn.k_proj.weight"].T).view(len(x), groups, -1))
        return key, (h @ p["self_attn.v_proj.weight"].T).view(len(x), groups, -1)

    def apply(self, layer: int, x: Tensor, kept: tuple[Tensor, Tensor], seen: Tensor) -> Tensor:
        """One layer; `seen` are the tokens whose keys and values exist."""
        p, heads = self.of_layer(layer), CONFIG["num_attention_heads"]
        query = turn(
            (norm(x, p["input_layernorm.weight"]) @ p["self_attn.q_proj.weight"].T).view(len(x), heads, -1)
        )
        key, value = (t.repeat_interleave(heads // t.shape[1], 1) for t in kept)
        scores = torch.einsum("qhd,khd->hqk", query, key) / query.shape[-1] ** 0.5
        mask = torch.ones(len(x), len(x), dtype=torch.bool).tril() & (
            seen | torch.eye(len(x), dtype=torch.bool)
        )
        mixed = torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), value)
        x = x + mixed.flatten(1) @ p["self_attn.o_proj.weight"].T
        h = norm(x, p["post_attention_layernorm.weight"])
        gate = torch.nn.functional.silu(h @ p["mlp.gate_proj.weight"].T)
        return x + (gate * (h @ p["mlp.up_proj.weight"].T)) @ p["mlp.down_proj.weight"].T

    def head(self, x: Tensor) -> Tensor:
        tied = CONFIG["tie_word_embeddings"]
        table = self.weights["model.embed_tokens.weight" if tied else "lm_head.weight"]
        return norm(x, self.weights["model.norm.weight"]) @ table.T

    def of_layer(self, layer: int) -> dict[str, Tensor]:
        return {name.removeprefix(f"model.layers.{layer}."): value for name, value in self.weights.items()}


def logits(
    weights: dict[str, Tensor], layers: list[int], tokens: list[int], *, shared_keys: bool = False
) -> Tensor:
    """Scores [tokens, vocab_size]; with `shared_keys` a layer's later applications read its first one's."""
    model = Model(weights)
    x = model.embed(tokens)
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    for layer in layers:
        keys = model.keys(layer, x)
        keys = kept.setdefault(layer, keys) if shared_keys else keys
        x = model.apply(layer, x, keys, torch.ones(len(tokens), dtype=torch.bool))
    return model.head(x)


@dataclass
class Routed:
    """What a model with routers makes of a text, and which tokens reach each recursion."""

    logits: Tensor
    reached: list[Tensor]  # of each recursion: bool [tokens]


def routed(
    weights: dict[str, Tensor],
    tokens: list[int],
    *,
    ends: int,
    recursions: int,
    routing: str,
    gate: str,
    scale: float,
    shared_keys: bool = False,
) -> Routed:
    """Mixture-of-Recursions on whole texts: every token is computed everywhere, and masks say who counts."""
    model = Model(weights)
    unique = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("model.layers."))
    block = range(ends, unique - ends)
    everyone = torch.ones(len(tokens), dtype=torch.bool)
    router = model.weights["model.router.weight"]
    x = model.embed(tokens)
    for layer in range(ends):
        x = model.apply(layer, x, model.keys(layer, x), everyone)
    probability = (x @ router.T).softmax(-1)
    if routing == "token_choice":
        last = (probability + model.weights["model.router.bias"]).argmax(-1)
    active, reached = everyone, []
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    for r in range(recursions):
        if routing == "token_choice":
            active = last >= r
            p, whole = probability.gather(1, last[:, None]), recursions
        else:
            score = x @ router[r]
            active = active & (score >= 0) if r > 0 else everyone
            p, whole = score.sigmoid()[:, None], 2
        y = x
        for layer in block:
            keys = model.keys(layer, y)
            keys = kept.setdefault(layer, keys) if shared_keys else keys
            y = model.apply(layer, y, keys, everyone if shared_keys else active)
        gated = x + (whole * p).clamp(max=1) * (y - x) if gate == "preserving" else x + scale * p * y
        if routing == "token_choice":
            gated = torch.where((last == r)[:, None], gated, y)
        x = torch.where(active[:, None], gated, x)
        reached.append(active)
    for layer in range(unique - ends, unique):
        x = model.apply(layer, x, model.keys(layer, x), everyone)
    return Routed(model.head(x), reached)
