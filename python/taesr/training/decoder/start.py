"""The model that a run begins with, and the teacher."""

from pathlib import Path

import torch
from torch import Tensor

from taesr._native import core
from taesr.decoder import Decoder
from taesr.errors import InvalidArgument
from taesr.nn import DecoderConfig, RecursiveDecoder, shared_weights
from taesr.nn.decoder import reshaped
from taesr.training.decoder.config import DecoderModelOptions, DecoderShapeOptions

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


def start_model(options: DecoderModelOptions, tokenizer: str | None = None) -> RecursiveDecoder:
    """Make the model to train of the one that the options name: layers shared, routers added.

    `tokenizer` is a GGUF file whose vocabulary a model from scratch gets, where `shape` says no size.

    Raises InvalidArgument for a shape that does not go with the start, with the field's path.
    """
    if options.shape is not None:
        return RecursiveDecoder(_config_from_scratch(options, options.shape, tokenizer))
    assert options.init is not None  # the options check it
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


def _config_from_scratch(
    options: DecoderModelOptions, shape: DecoderShapeOptions, tokenizer: str | None
) -> DecoderConfig:
    vocabulary = shape.vocab_size
    if vocabulary is None:
        if tokenizer is None:
            raise InvalidArgument(
                "model.shape.vocab_size is missing; set it, or name the GGUF file with the tokenizer in "
                "data.tokenizer"
            )
        vocabulary = Decoder.load(tokenizer).config.vocab_size
    sharing = options.sharing or "none"
    _check_routing(options.routing, sharing)
    try:
        return DecoderConfig(
            vocab_size=vocabulary,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size or -(-shape.hidden_size * 8 // (3 * 64)) * 64,
            layers=shape.layers,
            heads=shape.heads,
            kv_heads=shape.kv_heads or shape.heads,
            head_dim=shape.head_dim or shape.hidden_size // shape.heads,
            max_positions=shape.max_positions,
            rope_theta=shape.rope_theta,
            norm_eps=shape.norm_eps,
            tied_embeddings=shape.tied_embeddings,
            sharing=sharing,
            recursions=1 if sharing == "none" else options.recursions,
            routing=options.routing or "none",
            gate=options.gate,
            gate_scale=options.gate_scale,
        )
    except InvalidArgument as error:
        raise InvalidArgument(f"model.shape: {error}") from None


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
    _check_routing(wanted, config.sharing)
    shape = reshaped(config, routing=wanted, gate=options.gate, gate_scale=options.gate_scale)
    routers = {"model.router.weight": torch.zeros(config.recursions, config.hidden_size)}
    if wanted == "token_choice":
        routers["model.router.bias"] = torch.zeros(config.recursions)
    return shape, weights | routers


def _check_routing(wanted: str | None, sharing: str) -> None:
    if wanted not in (None, "none") and sharing not in ("cycle", "middle_cycle"):
        raise InvalidArgument(
            f"model.routing is {wanted} and the layers are shared as {sharing!r}; "
            "allowed: with cycle and middle_cycle"
        )
