"""taesr ask: an answer with numbered sources, or that the bot isn't sure."""

import argparse
from typing import TYPE_CHECKING

from taesr.cli import generator_options, live, opening, options
from taesr.cli.output import note, paragraphs, place, print_json

if TYPE_CHECKING:
    from taesr.answer import Answer, SupportBot


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ask",
        help="answer a question from a collection, with sources",
        description="Answers from the documents of a collection, with a numbered source for every "
        'statement, or says "I\'m not sure" and names the closest sources.',
        allow_abbrev=False,
    )
    parser.add_argument("question", type=options.words, help="the question")
    options.add_collection(parser)
    options.add_model(parser)
    generator_options.add(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    with opening.open_to_read(arguments) as collection:
        from taesr.answer import SupportBot

        bot = SupportBot(collection, generator=generator_options.create(arguments))
        answer = answer_of(bot, arguments.question)
    if arguments.json:
        print_json(answer.to_dict())
    else:
        print(as_text(answer))
        for remark in answer.notes:
            note(remark)
    return 0


def answer_of(bot: "SupportBot", question: str) -> "Answer":
    """Ask, and show the text on the terminal while it is written."""
    stream = bot.stream(question)
    live.show(stream)
    return stream.answer


def as_text(answer: "Answer") -> str:
    """Return an answer and its sources for a terminal."""
    parts = [paragraphs(answer.answer)]
    if answer.citations:
        parts.append("Sources" if answer.confident else "Closest sources")
        for citation in answer.citations:
            lines = [f"[{citation.number}] {place(citation.document, citation.section)}"]
            lines.append(paragraphs(citation.quote or citation.text, indent="    ", limit=2))
            if citation.source:
                lines.append(f"    {citation.source}")
            parts.append("\n".join(lines))
    return "\n\n".join(parts)
