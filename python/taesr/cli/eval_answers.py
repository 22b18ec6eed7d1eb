"""taesr eval-answers: F1 and refusals of a generator on questions in SQuAD's manner."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from taesr.cli import generator_options, options
from taesr.cli.output import print_json
from taesr.cli.progress import Progress
from taesr.errors import FormatError, InvalidArgument, IoError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taesr.answer import ModelGenerator
    from taesr.evaluation.answers import Trial
    from taesr.evaluation.refusals import GroundedPrompt


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
    parser.add_argument(
        "--calibrate-refusals",
        type=options.share,
        metavar="SHARE",
        help="print instead the refusal bias at which at most this share of answerable questions is refused; "
        "FILE may then be the valid.jsonl of build-answers (generators: mor, smollm2)",
    )
    generator_options.add(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.calibrate_refusals is not None:
        return _calibrate(arguments)
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


def _calibrate(arguments: argparse.Namespace) -> int:
    from taesr.answer import ModelGenerator
    from taesr.answer.local_model import LocalModel
    from taesr.evaluation.refusals import measure_refusals

    generator = generator_options.create(arguments)
    if not isinstance(generator, ModelGenerator) or not isinstance(generator.model, LocalModel):
        raise InvalidArgument(
            f'the generator "{arguments.generator}" has no refusal bias; calibrate mor or smollm2'
        )
    with Progress() as progress:
        prompts = _prompts(generator, arguments)
        curve = measure_refusals(generator.model, prompts, progress=progress.update)
    figures = curve.to_dict(arguments.calibrate_refusals)
    if arguments.json:
        print_json(figures)
        return 0
    counts = f"{figures['answerable']} answerable, {figures['unanswerable']} unanswerable questions"
    print(f"{counts}; AUROC {curve.auroc:.3f}")
    print("    bias   refused: answerable   unanswerable")
    for point in figures["curve"]:
        right, wrong = point["refused_answerable"], point["refused_unanswerable"]
        print(f"{point['refusal_bias']:>8.3f}   {right:>19.1%}   {wrong:>12.1%}")
    print(f'answers.json beside the model: {{"refusal_bias": {figures["refusal_bias"]}}}')
    return 0


def _prompts(generator: "ModelGenerator", arguments: argparse.Namespace) -> "Iterator[GroundedPrompt]":
    """Of conversations that build-answers wrote, or of questions in SQuAD's manner."""
    from taesr.answer.prompt import REFUSAL
    from taesr.evaluation.answers import draw_prompts
    from taesr.evaluation.refusals import GroundedPrompt
    from taesr.evaluation.squad import read_squad
    from taesr.training.decoder.documents import read_documents
    from taesr.training.pool import read_lines

    first = next((line for line in read_lines(arguments.questions) if line.strip()), b"")
    if b'"messages"' not in first:
        yield from draw_prompts(
            generator,
            read_squad(arguments.questions),
            answerable=arguments.answerable,
            unanswerable=arguments.unanswerable,
            sources=arguments.sources,
            seed=arguments.seed,
        )
        return
    left = {True: arguments.answerable, False: arguments.unanswerable}
    for document in read_documents(str(arguments.questions), "chat"):
        *asked, (role, answer) = document.messages
        if role != "assistant":
            raise FormatError(f"{arguments.questions}: a conversation ends without an answer")
        answerable = REFUSAL not in answer
        if left[answerable] is not None:
            if left[answerable] == 0:
                continue
            left[answerable] -= 1
        messages = [{"role": asking, "content": content} for asking, content in asked]
        yield GroundedPrompt(messages, answerable)


def _write(path: Path, trials: "list[Trial]") -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            for t in trials:
                fields = {"question": t.question, "gold": t.gold, "answer": t.answer, "text": t.text}
                file.write(json.dumps(fields, ensure_ascii=False) + "\n")
    except OSError as error:
        raise IoError(f"{path}: {error.strerror or error}") from error
