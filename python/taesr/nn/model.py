"""The encoder as a `torch.nn.Module`."""

import dataclasses
import shutil
from pathlib import Path
from typing import Literal, Self

import torch
from torch import nn

from taesr._native import core
from taesr.config import TAESRConfig
from taesr.errors import InvalidArgument, IoError

_ROLES = {"passage": 0, "query": 1}
_INITIAL_STD = 0.02  # BERT's


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
        Recursions of this pass.
    """

    pooler_output: torch.Tensor
    last_hidden_state: torch.Tensor
    recursion_depth_used: int


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
            "easy", "medium", "hard", "auto" or a number of recursions.
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
        hidden, pooled = core.encoder_forward(
            self.config.native, weights, input_ids[mask], offsets, roles, recursions
        )
        padded = hidden.new_zeros(*input_ids.shape, hidden.shape[-1])
        padded = padded.masked_scatter(mask.unsqueeze(-1), hidden)
        if not return_dict:
            return padded, pooled
        return TAESROutput(pooled, padded, recursions)

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

    def save_pretrained(self, path: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors, and the tokenizer of the folder it came from.

        Raises IoError where the folder cannot be written.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text(self.config.to_json() + "\n")
            if self._source is not None and self._source.resolve() != folder.resolve():
                shutil.copyfile(self._source / "tokenizer.model", folder / "tokenizer.model")
        except OSError as error:
            raise IoError(f"cannot write the model folder '{folder}': {error.strerror}") from error
        weights = {name: p.detach().to("cpu", dtype).contiguous() for name, p in self.named_parameters()}
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


def _initial(name: str, shape: list[int]) -> torch.Tensor:
    """BERT's initialisation; re-injection starts at nothing."""
    if name.endswith("norm.weight"):
        return torch.ones(shape)
    if name.endswith(".bias") or name == "reinject.weight":
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
