"""taesr app: the chat in a browser."""

import argparse

from taesr.cli import generator_options, opening, options


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "app",
        help="open the chat in a browser (needs streamlit)",
        description="Serves a chat over a collection, with its sources, to browsers (Streamlit).",
        allow_abbrev=False,
    )
    options.add_collection(parser)
    parser.add_argument(
        "--port",
        type=options.port,
        default=8501,
        metavar="N",
        help="port to listen on (default: %(default)s)",
    )
    parser.add_argument(
        "--host", default="localhost", metavar="NAME", help="address to listen on (default: %(default)s)"
    )
    generator_options.add(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    opening.check_exists(arguments.collection)
    import taesr.app

    generator_options.create(arguments)  # what is missing is said here rather than on the page
    taesr.app.run(
        arguments.collection,
        port=arguments.port,
        host=arguments.host,
        generator=arguments.generator,
        generator_options=generator_options.values(arguments),
    )
    return 0
