"""Weights of a recursive decoder from those of a plain one, to begin up-training with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from taesr._native import core
from taesr.errors import InvalidArgument

Initialisation = Literal["stepwise", "average", "lower", "upper"]
_LAYER = "model.layers."


def shared_weights(
    weights: Mapping[str, Tensor],
    config: core.DecoderConfig,
    initialisation: Initialisation = "stepwise",
) -> dict[str, Tensor]:
    """Return weights for a model of `config`, whose layers are shared, from a model without sharing.

    Parameters
    ----------
    weights
        The plain model's, by their names in transformers' LlamaForCausalLM (`taesr.Decoder.weights` gives
        them). It may have more layers than `config`: then layers evenly between its first and last stay.
    config
        Of the recursive model; with routing its routers begin as zeros.
    initialisation
        What shared layers begin as (Bae et al. 2024, arXiv 2410.20672): "stepwise" layers at even steps,
        "average" the mean of all layers that become the same one, "lower" the first ones, "upper" the last.

    Raises
    ------
    InvalidArgument
        Fewer layers than `config` has, or another name for `initialisation`.
    """
    layers = 1 + max((int(name.split(".")[2]) for name in weights if name.startswith(_LAYER)), default=-1)
    kept = kept_layers(layers, config)
    choose = _CHOICES.get(initialisation)
    if choose is None:
        raise InvalidArgument(f"initialisation is {initialisation!r}; allowed: {', '.join(_CHOICES)}")
    made = {name: value.clone() for name, value in weights.items() if not name.startswith(_LAYER)}
    suffixes = [name.removeprefix(f"{_LAYER}0.") for name in weights if name.startswith(f"{_LAYER}0.")]
    for unique, sources in enumerate(choose(config)):
        for suffix in suffixes:
            tensors = [weights[f"{_LAYER}{kept[source]}.{suffix}"] for source in sources]
            made[f"{_LAYER}{unique}.{suffix}"] = torch.stack(tensors).mean(0)
    if config.routing != "none":
        made["model.router.weight"] = torch.zeros(config.recursions, config.hidden_size)
    if config.routing == "token_choice":
        made["model.router.bias"] = torch.zeros(config.recursions)
    return made


def kept_layers(layers: int, config: core.DecoderConfig) -> list[int]:
    """Layers of a plain model of `layers` that those of `config` stand for, as tokens pass them.

    Raises InvalidArgument where the plain model has fewer.
    """
    if layers < config.layers:
        raise InvalidArgument(f"the weights have {layers} layers; config.layers is {config.layers}")
    ends = config.end_layers
    inner = _steps(ends, layers - 1 - ends, config.layers - 2 * ends)
    return [*range(ends), *inner, *range(layers - ends, layers)]


def _steps(first: int, last: int, count: int) -> list[int]:
    """`count` whole numbers at even steps from `first` to `last`; of two nearest the even one."""
    if count == 1:
        return [first]
    return [round(first + (last - first) * i / (count - 1)) for i in range(count)]


def _with_ends(config: core.DecoderConfig, inner: Sequence[int]) -> list[list[int]]:
    ends = config.end_layers
    return [[i] for i in [*range(ends), *inner, *range(config.layers - ends, config.layers)]]


def _stepwise(config: core.DecoderConfig) -> list[list[int]]:
    ends = config.end_layers
    return _with_ends(config, _steps(ends, config.layers - 1 - ends, config.unique_layers - 2 * ends))


def _average(config: core.DecoderConfig) -> list[list[int]]:
    sources: list[list[int]] = [[] for _ in range(config.unique_layers)]
    for layer in range(config.layers):
        sources[config.unique_layer(layer)].append(layer)
    return sources


def _lower(config: core.DecoderConfig) -> list[list[int]]:
    ends = config.end_layers
    return _with_ends(config, range(ends, config.unique_layers - ends))


def _upper(config: core.DecoderConfig) -> list[list[int]]:
    ends = config.end_layers
    last = config.layers - ends
    return _with_ends(config, range(last - (config.unique_layers - 2 * ends), last))


_CHOICES: dict[str, Callable[[core.DecoderConfig], list[list[int]]]] = {
    "stepwise": _stepwise,
    "average": _average,
    "lower": _lower,
    "upper": _upper,
}
