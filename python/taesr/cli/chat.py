"""taesr chat: questions and answers in the terminal."""

import argparse
import sys

from taesr.cli import generator_options, opening, options
from taesr.cli.ask import answer_of, as_text
from taesr.cli.output import note

_GREETING = "Ask a question; an empty line, quit or Ctrl-D ends."


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "chat",
        help="ask several questions in the terminal",
        description="Answers one question after the other, with sources. Reads one question a line when "
        "its input is a file or a pipe.",
        allow_abbrev=False,
    )
    options.add_collection(parser)
    options.add_model(parser)
    generator_options.add(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    with opening.open_to_read(arguments) as collection:
        from taesr.answer import SupportBot

        bot = SupportBot(collection, generator=generator_options.create(arguments))
        interactive = sys.stdin.isatty()
        if interactive:
            import readline  # noqa: F401 -- gives input() line editing and a history

            print(f"{collection.document_count} documents. {_GREETING}")
        while (question := _next_question(interactive)) is not None:
            answer = answer_of(bot, question)
            print(f"\n{as_text(answer)}\n", flush=True)
            for remark in answer.notes:
                note(remark)
    return 0


def _next_question(interactive: bool) -> str | None:
    """Return the next question, or None at the end."""
    if not interactive:
        # Blank lines between the questions of a file mean nothing.
        return next((line.strip() for line in sys.stdin if line.strip()), None)
    try:
        question = input("> ").strip()
    except EOFError:
        print()
        return None
    return None if question in ("", "quit", "exit") else question
