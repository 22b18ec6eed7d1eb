"""The model that a run begins with, and the teacher."""

from pathlib import Path

import torch
from torch import Tensor

from taesr._native import core
from taesr.decoder import Decoder
from taesr.errors import InvalidArgument
from taesr.nn import DecoderConfig, RecursiveDecoder, shared_weights
from taesr.nn.decoder import reshaped
from taesr.training.decoder.config import DecoderModelOptions

Weights = dict[str, Tensor]


def read_model(path: str | Path) -> tuple[DecoderConfig, Weights]:
    """Shape and float32 weights of a GGUF file or a model folder.

    Raises IoError, FormatError or InvalidArgument that names the file.
    """
    if Path(path).is_dir():
        folder = Path(path)
        config = DecoderConfig.read(folder / "config.json")
        weights = core.load_weights(str(folder / "model.safetensors"))
        return config, {name: value.float() for name, value in weights.items()}
    decoder = Decoder.load(path, precision="float32")
    return decoder.config, {name: torch.from_numpy(value) for name, value in decoder.weights().items()}


def start_model(options: DecoderModelOptions) -> RecursiveDecoder:
    """Make the model to train of the one that the options name: layers shared, routers added.

    Raises InvalidArgument for a shape that does not go with the start, with the field's path.
    """
    plain, weights = read_model(options.init)
    config, weights = _with_sharing(plain, weights, options)
    config, weights = _with_routers(config, weights, options)
    return loaded(config, weights)


def loaded(config: DecoderConfig, weights: Weights) -> RecursiveDecoder:
    """Make the module of weights, whose memory it takes."""
    with torch.device("meta"):  # neither memory nor random numbers for weights that are replaced
        model = RecursiveDecoder(config)
    model.load_state_dict(weights, assign=True)
    return model


def check_teacher(teacher: DecoderConfig, student: DecoderConfig) -> None:
    """Refuse a teacher of another vocabulary, or of shorter texts."""
    if teacher.vocab_size != student.vocab_size:
        raise InvalidArgument(
            f"losses.teacher.path has {teacher.vocab_size} tokens, the model {student.vocab_size}; "
            "take a teacher of the same vocabulary"
        )
    if teacher.sharing != "none" or teacher.routing != "none":
        raise InvalidArgument("losses.teacher.path shares layers; take a teacher that does not")


def _with_sharing(
    config: DecoderConfig, weights: Weights, options: DecoderModelOptions
) -> tuple[DecoderConfig, Weights]:
    wanted = options.sharing
    if wanted in (None, config.sharing):
        return config, weights
    if config.sharing != "none":
        raise InvalidArgument(
            f"model.sharing is {wanted}, and {options.init} shares its layers already ({config.sharing}); "
            "leave model.sharing out"
        )
    ends = 2 if str(wanted).startswith("middle") else 0
    most = ends + (config.layers - ends) // options.recursions * options.recursions
    layers = most if options.layers is None else options.layers
    if not ends + options.recursions <= layers <= most or (layers - ends) % options.recursions:
        beyond = f"{ends} more than " if ends else ""
        raise InvalidArgument(
            f"model.layers is {layers}; allowed: {beyond}a multiple of model.recursions, "
            f"{options.recursions}, up to {most}"
        )
    shape = reshaped(config, sharing=wanted, recursions=options.recursions, layers=layers)
    return shape, shared_weights(weights, shape, options.initialisation)


def _with_routers(
    config: DecoderConfig, weights: Weights, options: DecoderModelOptions
) -> tuple[DecoderConfig, Weights]:
    wanted = options.routing
    if wanted in (None, config.routing):
        return config, weights
    if config.routing != "none":
        raise InvalidArgument(
            f"model.routing is {wanted}, and {options.init} has routers already ({config.routing}); "
            "leave model.routing out"
        )
    if config.sharing not in ("cycle", "middle_cycle"):
        raise InvalidArgument(
            f"model.routing is {wanted} and the layers are shared as {config.sharing!r}; "
            "allowed: with cycle and middle_cycle"
        )
    shape = reshaped(config, routing=wanted, gate=options.gate, gate_scale=options.gate_scale)
    routers = {"model.router.weight": torch.zeros(config.recursions, config.hidden_size)}
    if wanted == "token_choice":
        routers["model.router.bias"] = torch.zeros(config.recursions)
    return shape, weights | routers
