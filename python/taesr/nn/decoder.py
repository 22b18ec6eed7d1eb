"""The recursive decoder as a `torch.nn.Module`, for training; `taesr.Decoder` runs what it saves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from taesr._native import core
from taesr.errors import InvalidArgument
from taesr.nn.token_routing import RoutingStep, keep_best, token_depths

DecoderConfig = core.DecoderConfig

_JSON_NAMES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "max_positions": "max_position_embeddings",
    "rope_theta": "rope_theta",
    "norm_eps": "rms_norm_eps",
    "tied_embeddings": "tie_word_embeddings",
    "sharing": "sharing",
    "recursions": "recursions",
    "routing": "routing",
    "gate": "gate",
    "gate_scale": "gate_scale",
}
_INITIAL_STD = 0.02
Keys = tuple[Tensor, Tensor]


@dataclass
class DecoderOutput:
    """Result of a forward pass.

    Attributes
    ----------
    hidden
        [B, T, hidden_size], normalised: `RecursiveDecoder.head` makes logits of it.
    routing
        What the routers did before each recursion; empty without routing. The losses of
        `taesr.nn.token_routing` take it.
    """

    hidden: Tensor
    routing: list[RoutingStep] = field(default_factory=list)


class RecursiveDecoder(nn.Module):
    """A Llama-style decoder whose layers may be shared, with routers (Bae et al. 2025, arXiv 2507.10524).

    Parameters have their names in transformers' LlamaForCausalLM, `model.layers.N` by unique layer, and
    `model.router.weight` [recursions, hidden_size] beside them. Routers of zeros with gate "preserving"
    leave the plain recursive model as it is.

    Examples
    --------
    >>> config = DecoderConfig(vocab_size=99, hidden_size=32, intermediate_size=64, layers=6, heads=4,
    ...                        kv_heads=2, head_dim=8, max_positions=64, sharing="middle_cycle", recursions=2)
    >>> decoder = RecursiveDecoder(config)
    >>> decoder.head(decoder(torch.tensor([[1, 2, 3]])).hidden).shape
    torch.Size([1, 3, 99])
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _Trunk(config)
        if not config.tied_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        begins_as_nothing = _Router if config.gate == "preserving" else ()
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding | _Router) and not isinstance(
                module, begins_as_nothing
            ):
                nn.init.normal_(module.weight, std=_INITIAL_STD)

    def forward(
        self,
        input_ids: Tensor,
        *,
        capacity: Sequence[float] | None = None,
        shared_keys: bool = False,
    ) -> DecoderOutput:
        """Run whole texts.

        Parameters
        ----------
        input_ids
            int64 [B, T], no padding.
        capacity
            Expert choice: the share of all T tokens that each recursion goes on with, the best of those that
            passed the one before (top-k, for training; not causal). None: the tokens that the routers score
            0 or above, as `taesr.Decoder` does.
        shared_keys
            Later recursions read the keys and values of the first one.

        Raises
        ------
        InvalidArgument
            For shapes and capacities that do not fit.
        """
        config = self.config
        if input_ids.dim() != 2 or not 1 <= input_ids.shape[1] <= config.max_positions:
            allowed = f"[B, T] with T from 1 to {config.max_positions}"
            raise InvalidArgument(f"input_ids has shape {list(input_ids.shape)}; allowed: {allowed}")
        if capacity is not None:
            self._check_capacity(capacity, shared_keys)
        x = self.model.embed_tokens(input_ids)
        everyone = _Rows.all_of(input_ids)
        if config.routing == "none":
            kept: dict[int, Keys] = {}
            for i in range(config.layers):
                layer = config.unique_layer(i)
                x = self._run_layer(layer, x, everyone, kept if shared_keys else None)
            return DecoderOutput(self.model.norm(x))
        for layer in range(config.end_layers):
            x = self._run_layer(layer, x, everyone, None)
        x, routing = self._recur(x, everyone, capacity, shared_keys)
        for layer in range(config.unique_layers - config.end_layers, config.unique_layers):
            x = self._run_layer(layer, x, everyone, None)
        return DecoderOutput(self.model.norm(x), routing)

    def head(self, hidden: Tensor) -> Tensor:
        """Scores of the next token: [..., hidden_size] -> [..., vocab_size]."""
        tied = self.config.tied_embeddings
        return functional.linear(hidden, self.model.embed_tokens.weight if tied else self.lm_head.weight)

    def save(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors, which `taesr.Decoder.load` reads."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        fields = {name: getattr(self.config, ours) for ours, name in _JSON_NAMES.items()}
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | fields, indent=2) + "\n")
        tensors = {name: value.detach().to(dtype).contiguous() for name, value in self.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote; float32."""
        from safetensors.torch import load_file

        folder = Path(folder)
        decoder = cls(DecoderConfig.read(folder / "config.json"))
        decoder.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        return decoder

    def _check_capacity(self, capacity: Sequence[float], shared_keys: bool) -> None:
        if self.config.routing != "expert_choice":
            raise InvalidArgument(f"capacity is for routing expert_choice, not {self.config.routing}")
        if len(capacity) != self.config.recursions or not all(0 < share <= 1 for share in capacity):
            raise InvalidArgument(
                f"capacity is {list(capacity)}; allowed: {self.config.recursions} shares above 0, up to 1"
            )
        if shared_keys and capacity[0] < 1:
            raise InvalidArgument(
                f"capacity begins with {capacity[0]:g}; with shared_keys the first recursion must see all: 1"
            )

    def _run_layer(self, layer: int, x: Tensor, rows: "_Rows", kept: dict[int, Keys] | None) -> Tensor:
        """One layer; with `kept`, keys and values of its first application."""
        module = cast(_Layer, self.model.layers[layer])
        keys = None if kept is None else kept.get(layer)
        x, made = module(x, rows, keys)
        if kept is not None and keys is None:
            kept[layer] = made
        return x

    def _block(self, x: Tensor, rows: "_Rows", kept: dict[int, Keys] | None) -> Tensor:
        first = self.config.end_layers
        for layer in range(first, first + self.config.block_layers):
            x = self._run_layer(layer, x, rows, kept)
        return x

    def _recur(
        self, x: Tensor, everyone: "_Rows", capacity: Sequence[float] | None, shared_keys: bool
    ) -> tuple[Tensor, list[RoutingStep]]:
        router = cast(nn.Linear, self.model.router)
        kept: dict[int, Keys] | None = {} if shared_keys else None
        by_token = self.config.routing == "token_choice"
        depths = token_depths(router(x), router.bias) if by_token else None
        active = torch.ones_like(everyone.positions, dtype=torch.bool)
        routing: list[RoutingStep] = []
        for r in range(self.config.recursions):
            if depths is not None:
                step = depths.step(r)
            elif capacity is not None:
                step = keep_best(functional.linear(x, router.weight[r]), active, capacity[r])
            else:
                scores = functional.linear(x, router.weight[r])
                step = RoutingStep(scores, active, active & (scores >= 0) if r > 0 else active)
            active = step.selected
            rows, inner = everyone.only(active, x, compact=capacity is not None, shared=r > 0 and shared_keys)
            y = rows.spread(self._block(inner, rows, kept), x)
            goes_on = depths is not None and r + 1 < self.config.recursions
            gated = self._gate(x, y, step, whole=self.config.recursions if by_token else 2)
            if goes_on and depths is not None:
                gated = torch.where((depths.last == r)[..., None], gated, y)
            x = torch.where(active[..., None], gated, x)
            routing.append(step)
        return x, routing

    def _gate(self, x: Tensor, y: Tensor, step: RoutingStep, whole: int) -> Tensor:
        p = step.probability[..., None].to(x.dtype)
        if self.config.gate == "preserving":
            return x + (whole * p).clamp(max=1) * (y - x)
        return x + self.config.gate_scale * p * y


@dataclass
class _Rows:
    """Which tokens of [B, T] a tensor [B, n, hidden_size] holds, and whom they may attend to."""

    positions: Tensor  # int64 [B, n]
    mask: Tensor | None = None  # bool [B, 1, n, keys]; None: causal
    compact: bool = False

    @classmethod
    def all_of(cls, input_ids: Tensor) -> "_Rows":
        return cls(torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids))

    def only(self, active: Tensor, x: Tensor, *, compact: bool, shared: bool) -> tuple["_Rows", Tensor]:
        """The active tokens: alone where `compact` (as many in every row), else all with the rest masked."""
        length = x.shape[1]
        if not compact:
            causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
            if shared or bool(active.all()):
                return _Rows(self.positions), x
            itself = torch.eye(length, dtype=torch.bool, device=x.device)  # or inactive rows have no one
            return _Rows(self.positions, (causal & (active[:, None] | itself))[:, None]), x
        positions = active.nonzero()[:, 1].view(len(x), -1)
        inner = x.gather(1, positions[..., None].expand(-1, -1, x.shape[2]))
        mask = None
        if shared:
            mask = (positions[..., None] >= torch.arange(length, device=x.device))[:, None]
        return _Rows(positions, mask, compact=True), inner

    def spread(self, y: Tensor, x: Tensor) -> Tensor:
        """`y` at its tokens, `x` at the others."""
        if not self.compact:
            return y
        return x.scatter(1, self.positions[..., None].expand_as(y), y.to(x.dtype))


class _Trunk(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.unique_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        if config.routing != "none":
            self.router = _Router(config)


class _Router(nn.Module):
    """A score for each recursion; the bias moves choices only, and no gradient moves it."""

    bias: Tensor | None

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.recursions, config.hidden_size))
        by_token = config.routing == "token_choice"
        self.register_buffer("bias", torch.zeros(config.recursions) if by_token else None)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight)


class _Layer(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.self_attn = _Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.mlp = _Mlp(config)

    def forward(self, x: Tensor, rows: _Rows, keys: Keys | None) -> tuple[Tensor, Keys]:
        mixed, keys = self.self_attn(self.input_layernorm(x), rows, keys)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), keys


class _Attention(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dim = config.heads, config.kv_heads, config.head_dim
        self.theta = config.rope_theta
        hidden = config.hidden_size
        self.q_proj = nn.Linear(hidden, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, hidden, bias=False)

    def forward(self, x: Tensor, rows: _Rows, keys: Keys | None) -> tuple[Tensor, Keys]:
        query = self._turn(self.q_proj(x), rows.positions)
        if keys is None:
            keys = self._turn(self.k_proj(x), rows.positions), self._split(self.v_proj(x))
        key, value = keys
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=rows.mask, is_causal=rows.mask is None, enable_gqa=True
        )
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), keys

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.dim).transpose(1, 2)  # [B, heads, n, dim]

    def _turn(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotary positions (Su et al. 2021, arXiv 2104.09864), angles in float32."""
        x = self._split(x)
        half = self.dim // 2
        frequency = self.theta ** -(torch.arange(half, device=x.device, dtype=torch.float32) / half)
        angle = (positions[..., None] * frequency)[:, None]
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        first, second = x[..., :half], x[..., half:]
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class _Mlp(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x)))
