"""taesr info: what this installation is."""

import argparse
from typing import Any

from taesr.cli import options
from taesr.cli.output import print_json


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "info",
        help="version, build, device and default model",
        description="Prints the version, how the library was built, the device and the default model.",
        allow_abbrev=False,
    )
    options.add_json(parser)
    options.add_model(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    import taesr

    facts: dict[str, Any] = {**taesr.build_info(), "model": _describe(taesr.Encoder.load(arguments.model))}
    if arguments.json:
        print_json(facts)
    else:
        _print_facts(facts)
    return 0


def _describe(encoder: Any) -> dict[str, Any]:
    config = encoder.config
    return {
        "path": str(encoder.source),
        "fingerprint": encoder.fingerprint,
        "dimension": encoder.dimension,
        "matryoshka_dimensions": list(config.matryoshka_dimensions),
        "recursion_steps": dict(config.recursion_steps),
        "max_tokens": config.max_position_embeddings,
        "precision": encoder.precision,
    }


def _print_facts(facts: dict[str, Any], *, indent: str = "") -> None:
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            _print_facts(value, indent=indent + "  ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            print(f"{indent}{name:<{width}}  {text}")
