"""taesr eval-answers: F1 and refusals of a generator on questions in SQuAD's manner."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from taesr.cli import generator_options, options
from taesr.cli.output import print_json
from taesr.cli.progress import Progress
from taesr.errors import IoError

if TYPE_CHECKING:
    from taesr.evaluation.answers import Trial


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "eval-answers",
        help="measure answers and refusals on questions in SQuAD's manner",
        description="Asks a generator questions with their own paragraph as a source: F1 and exact match "
        "(SQuAD's) where the paragraph answers, and how often it refuses where it does and does not.",
        allow_abbrev=False,
    )
    options.add_questions(parser)
    parser.add_argument(
        "--answerable", type=options.count, metavar="N", help="questions with an answer (default: all)"
    )
    parser.add_argument(
        "--unanswerable", type=options.count, metavar="N", help="questions without one (default: all)"
    )
    parser.add_argument(
        "--sources",
        type=options.positive,
        default=1,
        metavar="N",
        help="paragraphs that a question comes with: its own and the nearest without the answer (default: 1)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice (default: 0)")
    parser.add_argument("--trials", type=Path, metavar="F.jsonl", help="write every question and answer here")
    generator_options.add(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.evaluation.answers import evaluate_answers
    from taesr.evaluation.squad import read_squad

    paragraphs = read_squad(arguments.questions)
    generator = generator_options.create(arguments)
    trials: list[Trial] = []
    with Progress() as progress:
        quality = evaluate_answers(
            generator,
            paragraphs,
            answerable=arguments.answerable,
            unanswerable=arguments.unanswerable,
            sources=arguments.sources,
            seed=arguments.seed,
            progress=progress.update,
            on_trial=trials.append,
        )
    if arguments.trials:
        _write(arguments.trials, trials)
    if arguments.json:
        print_json(quality.to_dict())
        return 0
    print(
        f"answerable    {quality.answerable:>6}   F1 {quality.f1:.1%}   exact match {quality.exact_match:.1%}"
    )
    print(f"              {'':>6}   F1 of the text before checks {quality.text_f1:.1%}")
    print(f"              {'':>6}   answers that name the right source {quality.right_source:.1%}")
    print(f"              {'':>6}   refused {quality.refused_answerable:.1%}")
    print(f"unanswerable  {quality.unanswerable:>6}   refused {quality.refused_unanswerable:.1%}")
    print(f"{quality.seconds:.2f} s a question")
    return 0


def _write(path: Path, trials: "list[Trial]") -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            for t in trials:
                fields = {"question": t.question, "gold": t.gold, "answer": t.answer, "text": t.text}
                file.write(json.dumps(fields, ensure_ascii=False) + "\n")
    except OSError as error:
        raise IoError(f"{path}: {error.strerror or error}") from error
