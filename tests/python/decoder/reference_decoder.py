"""A Llama-style decoder in plain PyTorch and float64, written from the papers; and its model folders."""

import json
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


def logits(
    weights: dict[str, Tensor], layers: list[int], tokens: list[int], *, shared_keys: bool = False
) -> Tensor:
    """Scores [tokens, vocab_size]; with `shared_keys` a layer's later applications read its first one's."""
    w = {name: value.double() for name, value in weights.items()}
    heads, groups = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"]
    x = w["model.embed_tokens.weight"][tokens]
    mask = torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril()
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    for layer in layers:
        p = {name.removeprefix(f"model.layers.{layer}."): value for name, value in w.items()}
        h = norm(x, p["input_layernorm.weight"])
        query = turn((h @ p["self_attn.q_proj.weight"].T).view(len(tokens), heads, -1))
        key = turn((h @ p["self_attn.k_proj.weight"].T).view(len(tokens), groups, -1))
        value = (h @ p["self_attn.v_proj.weight"].T).view(len(tokens), groups, -1)
        if shared_keys:
            key, value = kept.setdefault(layer, (key, value))
        key, value = (t.repeat_interleave(heads // groups, 1) for t in (key, value))
        scores = torch.einsum("qhd,khd->hqk", query, key) / query.shape[-1] ** 0.5
        mixed = torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), value)
        x = x + mixed.flatten(1) @ p["self_attn.o_proj.weight"].T
        h = norm(x, p["post_attention_layernorm.weight"])
        gate = torch.nn.functional.silu(h @ p["mlp.gate_proj.weight"].T)
        x = x + (gate * (h @ p["mlp.up_proj.weight"].T)) @ p["mlp.down_proj.weight"].T
    head = w["model.embed_tokens.weight"] if CONFIG["tie_word_embeddings"] else w["lm_head.weight"]
    return norm(x, w["model.norm.weight"]) @ head.T
