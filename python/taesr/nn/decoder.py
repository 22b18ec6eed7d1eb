"""The recursive decoder as a `torch.nn.Module`, for training; `taesr.Decoder` runs what it saves."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

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


def reshaped(config: DecoderConfig, **fields: Any) -> DecoderConfig:
    """Copy of a shape with other values of some fields."""
    return DecoderConfig(**{ours: getattr(config, ours) for ours in _JSON_NAMES} | fields)


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
        documents: Tensor | None = None,
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
        documents
            Whole numbers [B, T]: tokens attend to those of the same number only, so that several texts
            can lie in one row. None: each row is one text.

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
        if documents is not None and documents.shape != input_ids.shape:
            shape = list(documents.shape)
            raise InvalidArgument(f"documents has shape {shape}; input_ids has {list(input_ids.shape)}")
        x = self.model.embed_tokens(input_ids)
        everyone = _Rows.all_of(input_ids, config, documents)
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

    def states(self, input_ids: Tensor, documents: Tensor | None = None) -> list[Tensor]:
        """What each layer gets and what the last one gives, [B, T, hidden_size] each; without routing."""
        everyone = _Rows.all_of(input_ids, self.config, documents)
        found = [self.model.embed_tokens(input_ids)]
        for i in range(self.config.layers):
            found.append(self._run_layer(self.config.unique_layer(i), found[-1], everyone, None))
        return found

    def layer_output(
        self, layer: int, x: Tensor, input_ids: Tensor, documents: Tensor | None = None
    ) -> Tensor:
        """Run one layer, counted as tokens pass them, on states of a whole text: [B, T, hidden_size]."""
        everyone = _Rows.all_of(input_ids, self.config, documents)
        return self._run_layer(self.config.unique_layer(layer), x, everyone, None)

    @property
    def head_weight(self) -> Tensor:
        """[vocab_size, hidden_size]: what makes scores of hidden states, the token table where it is tied."""
        return self.model.embed_tokens.weight if self.config.tied_embeddings else self.lm_head.weight

    def head(self, hidden: Tensor) -> Tensor:
        """Scores of the next token: [..., hidden_size] -> [..., vocab_size]."""
        return functional.linear(hidden, self.head_weight)

    def save(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors, which `taesr.Decoder.load` reads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        fields = {name: getattr(self.config, ours) for ours, name in _JSON_NAMES.items()}
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | fields, indent=2) + "\n")
        tensors = {
            name: value.detach().to("cpu", dtype).contiguous() for name, value in self.state_dict().items()
        }
        core.save_weights(str(folder / "model.safetensors"), tensors)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote; float32."""
        folder = Path(folder)
        decoder = cls(DecoderConfig.read(folder / "config.json"))
        weights = core.load_weights(str(folder / "model.safetensors"))
        decoder.load_state_dict({name: value.float() for name, value in weights.items()})
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
        kept: dict[int, Keys] | None = {} if shared_keys else None
        steps = _Steps(self.model.router, self.config, capacity, x)
        routing: list[RoutingStep] = []
        for r in range(self.config.recursions):
            step = steps.next(r, x)
            rows = everyone.only(step, shared=r > 0 and shared_keys, known=capacity is not None)
            inner = rows.gather(x)
            y = self._block(inner, rows, kept)
            gated = self._gate(inner, y, rows.gather(step.probability[..., None]))
            if steps.depths is not None and r + 1 < self.config.recursions:
                gated = torch.where((steps.depths.last == r)[..., None], gated, y)
            x = rows.scatter(gated, x)
            routing.append(step)
        return x, routing

    def _gate(self, x: Tensor, y: Tensor, probability: Tensor) -> Tensor:
        p = probability.to(x.dtype)
        if self.config.gate == "scaled":
            return x + self.config.gate_scale * p * y
        if self.config.routing == "token_choice":
            return x + (self.config.recursions * p).clamp(max=1) * (y - x)
        gate: Callable[[Tensor], Tensor] = _Gate.apply
        return x + gate(2 * p) * (y - x)


class _Gate(torch.autograd.Function):
    """clamp(max=1), which the texts' loss may teach the order of tokens and nothing else.

    The clamp's own gradient would say nothing of tokens that score well. The gradient's mean is taken
    away because it says whether the recursion should do more at large, which the layers learn; through
    the scores it would move all tokens over the threshold of generation.
    """

    @staticmethod
    def forward(ctx: Any, gate: Tensor) -> Tensor:
        return gate.clamp(max=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] - gradients[0].mean()


class _Steps:
    """The routers' choices, one recursion after the other."""

    def __init__(
        self, router: nn.Module, config: DecoderConfig, capacity: Sequence[float] | None, x: Tensor
    ) -> None:
        self._router = cast(_Router, router)
        self._capacity = capacity
        self._active = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        self._count = x.shape[1]  # active tokens of each row, known to the host with capacities
        by_token = config.routing == "token_choice"
        self.depths = token_depths(self._router(x), self._router.bias) if by_token else None

    def next(self, r: int, x: Tensor) -> RoutingStep:
        active = self._active
        if self.depths is not None:
            step = self.depths.step(r)
        else:
            scores = functional.linear(x, self._router.weight[r])
            if self._capacity is None:
                step = RoutingStep(scores, active, active & (scores >= 0) if r > 0 else active)
            else:
                self._count = min(max(1, int(self._capacity[r] * x.shape[1])), self._count)
                step = keep_best(scores, active, self._count)
        self._active = step.selected
        return step


@dataclass
class _Rows:
    """Which tokens of [B, T] a tensor [B, n, hidden_size] holds, and whom they may attend to."""

    positions: Tensor  # int64 [B, n]
    turn: tuple[Tensor, Tensor]  # cosines and sines of the rotary positions, float32 [B or 1, 1, n, dim / 2]
    documents: Tensor | None  # [B, n]
    mask: Tensor | None = None  # bool [B, 1, n, keys]; None: causal
    compact: bool = False
    active: Tensor | None = None  # bool [B, T]: those that change; None: all of the n

    @classmethod
    def all_of(cls, input_ids: Tensor, config: DecoderConfig, documents: Tensor | None) -> "_Rows":
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

    def only(self, step: RoutingStep, *, shared: bool, known: bool) -> "_Rows":
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

    def _compact(self, places: Tensor, *, shared: bool) -> "_Rows":
        turn = self.turn[0][0, 0][places][:, None], self.turn[1][0, 0][places][:, None]
        documents = None if self.documents is None else self.documents.gather(1, places)
        mask = None
        if shared or documents is not None:
            mask = _earlier(places, self.positions if shared else places)
            if documents is not None and self.documents is not None:
                mask = mask & _same(documents, self.documents if shared else documents)
        return _Rows(places, turn, documents, mask, compact=True)

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
        mixed, keys = self.self_attn(_for_products(self.input_layernorm(x)), rows, keys)
        x = x + mixed
        return x + self.mlp(_for_products(self.post_attention_layernorm(x))), keys


def _for_products(x: Tensor) -> Tensor:
    """Cast once what autocast would cast for every matrix product, and keep as often."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


class _Attention(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dim = config.heads, config.kv_heads, config.head_dim
        hidden = config.hidden_size
        self.q_proj = nn.Linear(hidden, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, hidden, bias=False)

    def forward(self, x: Tensor, rows: _Rows, keys: Keys | None) -> tuple[Tensor, Keys]:
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

    def _turn(self, x: Tensor, rows: _Rows) -> Tensor:
        x = self._split(x)
        cos, sin = (part.to(x.dtype) for part in rows.turn)
        first, second = x.chunk(2, -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class _Mlp(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x)))
