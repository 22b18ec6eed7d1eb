"""The recursive decoder as a `torch.nn.Module`, for training; `taesr.Decoder` runs what it saves."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from taesr._native import core
from taesr.errors import InvalidArgument
from taesr.nn.decoder_layers import Keys, Layer, Rows
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
        everyone = Rows.all_of(input_ids, config, documents)
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
        everyone = Rows.all_of(input_ids, self.config, documents)
        found = [self.model.embed_tokens(input_ids)]
        for i in range(self.config.layers):
            found.append(self._run_layer(self.config.unique_layer(i), found[-1], everyone, None))
        return found

    def layer_output(
        self, layer: int, x: Tensor, input_ids: Tensor, documents: Tensor | None = None
    ) -> Tensor:
        """Run one layer, counted as tokens pass them, on states of a whole text: [B, T, hidden_size]."""
        everyone = Rows.all_of(input_ids, self.config, documents)
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

    def _run_layer(self, layer: int, x: Tensor, rows: Rows, kept: dict[int, Keys] | None) -> Tensor:
        """One layer; with `kept`, keys and values of its first application."""
        module = cast(Layer, self.model.layers[layer])
        keys = None if kept is None else kept.get(layer)
        x, made = module(x, rows, keys)
        if kept is not None and keys is None:
            kept[layer] = made
        return x

    def _block(self, x: Tensor, rows: Rows, kept: dict[int, Keys] | None) -> Tensor:
        first = self.config.end_layers
        for layer in range(first, first + self.config.block_layers):
            x = self._run_layer(layer, x, rows, kept)
        return x

    def _recur(
        self, x: Tensor, everyone: Rows, capacity: Sequence[float] | None, shared_keys: bool
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


class _Trunk(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.unique_layers))
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
