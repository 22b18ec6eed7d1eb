"""The encoder as a `torch.nn.Module`."""

import dataclasses
import functools
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from torch import nn

from taesr._native import core
from taesr.config import TAESRConfig
from taesr.errors import InvalidArgument, IoError
from taesr.nn.batch import PackedBatch

_ROLES = {"passage": 0, "query": 1}
_INITIAL_STD = 0.02  # BERT's
_TOKEN_TABLE = "embeddings.token.weight"
_TOKEN_SCALE = "embeddings.token.scale"
_LAYERS = ("entry.", "shared.", "reinject.", "refinement.", "exit.")  # computed in the dtype of the pass


@dataclasses.dataclass(frozen=True)
class TAESROutput:
    """Result of a forward pass.

    Attributes
    ----------
    pooler_output
        float32 [B, embedding_size], unit rows; every prefix `[:, :dim]` named in
        `config.matryoshka_dimensions` is an embedding too, once normalised.
    last_hidden_state
        [B, T, hidden_size] in the parameters' dtype, zero at padding.
    recursion_depth_used
        Recursions of this pass; a list of them, by text, where the model's router chose.
    router_logits
        [B, 3], the router's scores of the classes easy, medium, hard; None where it did not choose.
    """

    pooler_output: torch.Tensor
    last_hidden_state: torch.Tensor
    recursion_depth_used: int | list[int]
    router_logits: torch.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class DepthOutput:
    """States of a packed batch at one depth, and what is computed from them when first asked for.

    Attributes
    ----------
    hidden
        [T, hidden_size], the last layer's, in the dtype of the pass.
    entry
        [T, hidden_size], after the last entry layer; the same at every depth.
    routing
        What the token router did before each recursion: `active_share` of the tokens, `scores` float
        [T], differentiable, and the `active` tokens, int64 [A]. Empty without token routing.
    """

    hidden: torch.Tensor
    entry: torch.Tensor
    routing: tuple[core.RoutedRecursion, ...] = dataclasses.field(repr=False)
    batch: PackedBatch = dataclasses.field(repr=False)
    head: tuple[torch.Tensor, torch.Tensor] = dataclasses.field(repr=False)

    @property
    def active_share(self) -> tuple[float, ...]:
        """Share of the tokens that each recursion worked on; empty without token routing."""
        return tuple(recursion.active_share for recursion in self.routing)

    @functools.cached_property
    def pooled(self) -> torch.Tensor:
        """float32 [B, hidden_size]: mean state of each sequence."""
        return core.pooled_mean(self.hidden, self.batch.layout)

    @functools.cached_property
    def dense(self) -> torch.Tensor:
        """float32 [B, embedding_size]: unit rows."""
        return core.dense_embedding(self.pooled, *self.head)


class TAESRModel(nn.Module):
    """The recursive encoder with trainable parameters.

    Parameters are ordinary `nn.Parameter`s under the names of the checkpoint; the forward pass and
    its derivatives are the C++ function that the inference engine shares.

    Examples
    --------
    >>> model = TAESRModel(TAESRConfig())
    >>> out = model(torch.tensor([[0, 17, 42, 2]]), return_dict=True)
    >>> out.pooler_output.shape
    torch.Size([1, 384])
    """

    def __init__(self, config: TAESRConfig) -> None:
        super().__init__()
        self.config = config
        self._source: Path | None = None
        for name, shape in core.weight_shapes(config.native):
            _register(self, name, nn.Parameter(_initial(name, shape)))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        role: Literal["query", "passage"] = "passage",
        depth: str | int = "auto",
        return_dict: bool = True,
    ) -> TAESROutput | tuple[torch.Tensor, torch.Tensor]:
        """Encode a padded batch.

        Parameters
        ----------
        input_ids
            int64 [B, T], special tokens included.
        attention_mask
            [B, T], nonzero at true tokens, at least one a row; None: all are true. Padding is
            dropped before any arithmetic, so it cannot change a result.
        role
            What the texts are for.
        depth
            "easy", "medium", "hard", "auto" or a number of recursions. With "auto" the model's router
            chooses for each text; without a router it is "medium".
        return_dict
            True for a `TAESROutput`, False for (last_hidden_state, pooler_output).

        Raises
        ------
        InvalidArgument
            Shapes that do not fit, empty rows, ids out of range, rows of too many tokens.
        """
        mask = _checked_mask(input_ids, attention_mask)
        if role not in _ROLES:
            raise InvalidArgument(f"role is {role!r}; allowed: query, passage")
        recursions = self.config.recursions(depth)
        lengths = mask.sum(1)
        offsets = [0, *lengths.cumsum(0).tolist()]
        roles = torch.full((len(input_ids),), _ROLES[role], dtype=torch.int64, device=input_ids.device)
        weights = dict(self.named_parameters())
        packed = (self.config.native, weights, input_ids[mask], offsets, roles)
        used: int | list[int] = recursions
        logits = None
        if depth == "auto" and self.config.router_size > 0:
            hidden, pooled, logits, used = core.forward_routed(*packed)
        else:
            hidden, pooled = core.encoder_forward(*packed, recursions)
        padded = hidden.new_zeros(*input_ids.shape, hidden.shape[-1])
        padded = padded.masked_scatter(mask.unsqueeze(-1), hidden)
        if not return_dict:
            return padded, pooled
        return TAESROutput(pooled, padded, used, logits)

    def packed(
        self,
        batch: PackedBatch,
        depths: Sequence[int],
        *,
        outputs: Collection[str] = ("dense",),
        dtype: torch.dtype | None = None,
        checkpoint_layers: bool = False,
        token_capacity: Sequence[float] | None = None,
    ) -> dict[int, DepthOutput]:
        """States and embeddings of a packed batch at several depths, differentiable in the parameters.

        One pass to the deepest gives all depths in the cycle sharing schemes; in the sequence schemes
        each takes a pass of its own.

        Parameters
        ----------
        batch
            On the device of the parameters.
        depths
            Recursions, each from 1 to the "hard" one of `config.recursion_steps`.
        outputs
            What to compute at once, of "pooled" and "dense"; the rest when first asked for.
        dtype
            What the layers compute in, float32 parameters being cast once a call; None: the dtype of
            the parameters. Embeddings, softmax, pooling and heads are float32 in half precision too.
        checkpoint_layers
            Keep only the states between layers for the backward pass, which computes the rest again:
            less memory, about a third more time (arXiv 1604.06174).
        token_capacity
            In place of that of the config, while expert choice is trained.

        Raises
        ------
        InvalidArgument
            Depths, ids or roles out of range, sequences of too many tokens.
        """
        unknown = sorted(set(outputs) - {"pooled", "dense"})
        if unknown:
            raise InvalidArgument(f"outputs names {unknown}; allowed: pooled, dense")
        batch.check(self.config)
        parameters = dict(self.named_parameters())
        weights = {
            name: p.to(dtype) if dtype is not None and name.startswith(_LAYERS) else p
            for name, p in parameters.items()
        }
        config = self.config
        if token_capacity is not None:
            config = dataclasses.replace(config, token_capacity=list(token_capacity))
        entry, hidden, routing = core.encoder_states(
            config.native,
            weights,
            batch.tokens,
            batch.layout,
            batch.roles,
            list(depths),
            checkpoint_layers,
        )
        head = (parameters["head.weight"], parameters["head.bias"])
        result = {
            depth: DepthOutput(states, entry, tuple(routing[:depth]), batch, head)
            for depth, states in zip(depths, hidden, strict=True)
        }
        for output in result.values():
            for name in outputs:
                getattr(output, name)
        return result

    @classmethod
    def from_pretrained(cls, path: str | Path | None = None) -> Self:
        """Model of a folder, parameters in float32; without a path the bundled one.

        Raises IoError, FormatError or InvalidArgument that names the file.
        """
        folder = Path(core.default_model_path() if path is None else path)
        if not folder.is_dir():
            raise IoError(f"'{folder}' is not a model folder")
        model = cls(TAESRConfig.from_file(folder / "config.json"))
        weights = core.load_weights(str(folder / "model.safetensors"))
        core.check_weights(model.config.native, weights, str(folder / "model.safetensors"))
        model.load_state_dict(weights)
        model._source = folder
        return model

    def save_pretrained(
        self,
        path: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        token_table: Literal["float", "int8"] = "float",
    ) -> None:
        """Write config.json and model.safetensors, and the tokenizer, if any, of the folder it came from.

        With `token_table="int8"` the token table, most of a small model's bytes, is stored as integers
        from -127 to 127 and a float32 scale a row; loading gives floats again.

        Raises InvalidArgument for a token table that int8 cannot hold, and IoError where the folder
        cannot be written.
        """
        if token_table not in ("float", "int8"):
            raise InvalidArgument(f"token_table is {token_table!r}; allowed: float, int8")
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text(self.config.to_json() + "\n")
            tokenizer = None if self._source is None else self._source / "tokenizer.model"
            if (
                tokenizer is not None
                and tokenizer.exists()
                and tokenizer.parent.resolve() != folder.resolve()
            ):
                shutil.copyfile(tokenizer, folder / "tokenizer.model")
        except OSError as error:
            raise IoError(f"cannot write the model folder '{folder}': {error.strerror}") from error
        weights = {name: p.detach().to("cpu", dtype).contiguous() for name, p in self.named_parameters()}
        if token_table == "int8":
            table, scale = _quantised(self.get_parameter(_TOKEN_TABLE))
            weights |= {_TOKEN_TABLE: table, _TOKEN_SCALE: scale}
        core.save_weights(str(folder / "model.safetensors"), weights)


def _checked_mask(input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    if input_ids.dim() != 2 or input_ids.dtype != torch.int64 or input_ids.numel() == 0:
        raise InvalidArgument(
            f"input_ids must be int64 [B, T] with B and T at least 1, got {input_ids.dtype} "
            f"{tuple(input_ids.shape)}"
        )
    if attention_mask is None:
        return torch.ones_like(input_ids, dtype=torch.bool)
    if attention_mask.shape != input_ids.shape:
        raise InvalidArgument(
            f"attention_mask is {tuple(attention_mask.shape)}, input_ids {tuple(input_ids.shape)}"
        )
    mask = attention_mask != 0
    if not bool(mask.any(1).all()):
        raise InvalidArgument("attention_mask has a row without a true token")
    return mask


def _quantised(table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric int8 rows and their float32 scales [V]; a row of zeros has scale 0."""
    rows = table.detach().to("cpu", torch.float32)
    if not bool(rows.isfinite().all()):
        raise InvalidArgument(f"weight '{_TOKEN_TABLE}' holds values that are not finite")
    scale = rows.abs().amax(1) / 127
    steps = rows / scale.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
    return steps.round().clamp(-127, 127).to(torch.int8), scale


def _initial(name: str, shape: list[int]) -> torch.Tensor:
    """BERT's initialisation; re-injection and token scores start at nothing."""
    if name.endswith("norm.weight") or name == "sparse.idf":
        return torch.ones(shape)
    if name.endswith(".bias") or name in {"reinject.weight", "token_router.weight"}:
        return torch.zeros(shape)
    return nn.init.trunc_normal_(torch.empty(shape), std=_INITIAL_STD)


def _register(root: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Put a parameter at a dotted name, making the modules between."""
    *path, leaf = name.split(".")
    module = root
    for part in path:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    module.register_parameter(leaf, parameter)
