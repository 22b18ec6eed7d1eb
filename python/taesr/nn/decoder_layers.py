"""Layers of a Llama-style decoder, and the tokens of a text that they run on."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from taesr._native import core
from taesr.nn.token_routing import RoutingStep

Keys = tuple[Tensor, Tensor]


@dataclass
class Rows:
    """Which tokens of [B, T] a tensor [B, n, hidden_size] holds, and whom they may attend to."""

    positions: Tensor  # int64 [B, n]
    turn: tuple[Tensor, Tensor]  # cosines and sines of the rotary positions, float32 [B or 1, 1, n, dim / 2]
    documents: Tensor | None  # [B, n]
    mask: Tensor | None = None  # bool [B, 1, n, keys]; None: causal
    compact: bool = False
    active: Tensor | None = None  # bool [B, T]: those that change; None: all of the n

    @classmethod
    def all_of(cls, input_ids: Tensor, config: core.DecoderConfig, documents: Tensor | None) -> "Rows":
        """All tokens; angles as of Su et al. 2021, arXiv 2104.09864."""
        half = config.head_dim // 2
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        frequency = config.rope_theta ** -(torch.arange(half, device=positions.device).float() / half)
        angle = (positions[:, None] * frequency)[None, None]
        turn = angle.cos(), angle.sin()
        mask = None
        if documents is not None:
            mask = _earlier(positions, positions) & _same(documents, documents)
        return cls(positions.expand_as(input_ids), turn, documents, mask)

    def only(self, step: RoutingStep, *, shared: bool, known: bool) -> "Rows":
        """The tokens that pass: alone where the host knows how many, else all with the rest masked.

        `shared`: the keys are those of all tokens.
        """
        if known:
            return self if step.places is None else self._compact(step.places, shared=shared)
        active = step.selected
        if bool(active.all()):
            return self
        if shared:
            return replace(self, active=active)
        # Tokens that do not pass attend to themselves, or they would have no one.
        itself = torch.eye(active.shape[1], dtype=torch.bool, device=active.device)
        passing = (active[:, None] | itself)[:, None]
        mask = _earlier(self.positions, self.positions) if self.mask is None else self.mask
        return replace(self, mask=mask & passing, active=active)

    def _compact(self, places: Tensor, *, shared: bool) -> "Rows":
        turn = self.turn[0][0, 0][places][:, None], self.turn[1][0, 0][places][:, None]
        documents = None if self.documents is None else self.documents.gather(1, places)
        mask = None
        if shared or documents is not None:
            mask = _earlier(places, self.positions if shared else places)
            if documents is not None and self.documents is not None:
                mask = mask & _same(documents, self.documents if shared else documents)
        return Rows(places, turn, documents, mask, compact=True)

    def gather(self, x: Tensor) -> Tensor:
        """Take these tokens of [B, T, ...]."""
        if not self.compact:
            return x
        return x.gather(1, self.positions[..., None].expand(-1, -1, x.shape[2]))

    def scatter(self, y: Tensor, x: Tensor) -> Tensor:
        """`y` at these tokens where they pass, `x` at the others."""
        if self.compact:
            return x.scatter(1, self.positions[..., None].expand_as(y), y.to(x.dtype))
        return y if self.active is None else torch.where(self.active[..., None], y, x)


def _earlier(positions: Tensor, keys: Tensor) -> Tensor:
    """Whom tokens may see by their place: bool [..., 1, n, keys]."""
    return (positions[..., None] >= keys[..., None, :]).unsqueeze(-3)


def _same(documents: Tensor, keys: Tensor) -> Tensor:
    return (documents[..., None] == keys[..., None, :]).unsqueeze(-3)


class Layer(nn.Module):
    """Attention and feed-forward network, each with its norm, around the residual stream."""

    def __init__(self, config: core.DecoderConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.self_attn = _Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.mlp = _Mlp(config)

    def forward(self, x: Tensor, rows: Rows, keys: Keys | None) -> tuple[Tensor, Keys]:
        mixed, keys = self.self_attn(_for_products(self.input_layernorm(x)), rows, keys)
        x = x + mixed
        return x + self.mlp(_for_products(self.post_attention_layernorm(x))), keys


def _for_products(x: Tensor) -> Tensor:
    """Cast once what autocast would cast for every matrix product, and keep as often."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


class _Attention(nn.Module):
    def __init__(self, config: core.DecoderConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dim = config.heads, config.kv_heads, config.head_dim
        hidden = config.hidden_size
        self.q_proj = nn.Linear(hidden, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, hidden, bias=False)

    def forward(self, x: Tensor, rows: Rows, keys: Keys | None) -> tuple[Tensor, Keys]:
        query = self._turn(self.q_proj(x), rows)
        if keys is None:
            keys = self._turn(self.k_proj(x), rows), self._split(self.v_proj(x))
        key, value = keys
        if rows.mask is not None and x.is_cuda:  # the kernels that take masks know no groups of heads
            key, value = (part.repeat_interleave(self.heads // self.kv_heads, 1) for part in keys)
        mixed = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=rows.mask,
            is_causal=rows.mask is None,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), keys

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.dim).transpose(1, 2)  # [B, heads, n, dim]

    def _turn(self, x: Tensor, rows: Rows) -> Tensor:
        x = self._split(x)
        cos, sin = (part.to(x.dtype) for part in rows.turn)
        first, second = x.chunk(2, -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class _Mlp(nn.Module):
    def __init__(self, config: core.DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return made
