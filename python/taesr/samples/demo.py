"""Shows the whole way from documents to a cited answer: `python -m taesr.samples.demo [DIR]`.

Reads the bundled articles into a collection, asks three questions that they answer and one that they
don't, and says how to go on.
"""

import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import taesr
from taesr.samples import KNOWLEDGE_BASE, QUESTIONS, UNANSWERABLE

DEFAULT_DIRECTORY = Path("demo-kb")
_SHOWN = 3  # questions


class _Style:
    """Bold, dim and yellow text where the output is a terminal that shows them."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled

    def bold(self, text: str) -> str:
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        return self._wrap("2", text)

    def yellow(self, text: str) -> str:
        return self._wrap("33", text)

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._enabled and text else text


def main() -> int:
    """Run the demo; 0 when it went as it should."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_DIRECTORY
    style = _Style(enabled=sys.stdout.isatty())
    try:
        with taesr.Collection.open(directory) as collection:
            read_articles(collection)
            bot = taesr.SupportBot(collection)
            for question in [*(question for question, _ in QUESTIONS[:_SHOWN]), UNANSWERABLE]:
                show(question, bot.ask(question), style)
    except taesr.Error as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    taesr_command = Path(sys.executable).with_name("taesr")
    print(style.bold("Go on"))
    print(f'  {taesr_command} ask "your question" --collection {directory}')
    print(f"  {taesr_command} app --collection {directory}      the same in a browser")
    return 0


def read_articles(collection: taesr.Collection) -> None:
    """Bring the collection up to date with the bundled articles, with a progress line on a terminal."""
    progress = _progress if sys.stderr.isatty() else None
    report = collection.ingest([KNOWLEDGE_BASE], progress=progress)
    if progress:
        print(file=sys.stderr)
    for path, reason in report.failed:
        print(f"not read: {path}: {reason}", file=sys.stderr)
    changed = f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged"
    print(f"{collection.document_count} articles in {collection.chunk_count} passages ({changed}).\n")


def _progress(done: int, total: int) -> None:
    print(f"\rReading the sample articles: {done} of {total}", end="", file=sys.stderr, flush=True)


def show(question: str, answer: taesr.Answer, style: _Style) -> None:
    """Print a question, its answer and the sources."""
    print(style.bold(f"? {question}"))
    paint: Callable[[str], str] = str if answer.confident else style.yellow
    print(paint(wrap(answer.answer, "  ")))
    print()
    for citation in answer.citations:
        section = f" > {citation.section}" if citation.section else ""
        print(wrap(f"[{citation.number}] {citation.document}{section}", "  "))
    took = f"{answer.timings['total']:.0f} ms, confidence {100 * answer.confidence:.0f}%"
    print(style.dim(f"  {took}"))
    print()


def wrap(text: str, indent: str) -> str:
    """Wrap the lines of a text to the terminal, code as it is."""
    width = min(100, shutil.get_terminal_size().columns)
    lines = []
    for line in text.split("\n"):
        hanging = indent + ("   " if line[:1].isdigit() else "  " if line.startswith("- ") else "")
        code = line.startswith("    ") or not line
        wrapped = (
            [indent + line]
            if code
            else textwrap.wrap(
                line,
                width,
                initial_indent=indent,
                subsequent_indent=hanging,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
        lines += wrapped
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
