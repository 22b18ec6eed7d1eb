"""taesr build-answers: training data for answers with source numbers and refusals."""

import argparse
from pathlib import Path

from taesr.cli import options
from taesr.cli.output import print_json
from taesr.cli.progress import Progress


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "build-answers",
        help="make training data for grounded answers from questions in SQuAD's manner",
        description="Writes train.jsonl and valid.jsonl: conversations in the prompt of taesr ask, with one "
        "to four numbered sources, the right one among retrieved others, and the short answer with its "
        "number; some questions have no answer in their sources and are refused.",
        allow_abbrev=False,
    )
    options.add_questions(parser)
    parser.add_argument(
        "--decoder", type=Path, required=True, metavar="GGUF", help="the model to train, which counts tokens"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--examples", type=options.positive, default=80_000, metavar="N", help="to train on (default: 80000)"
    )
    parser.add_argument(
        "--validation",
        type=options.count,
        default=1000,
        metavar="N",
        help="of articles held back (default: 1000)",
    )
    parser.add_argument(
        "--unanswerable", type=options.share, metavar="X", help="share to be refused (default: 0.3)"
    )
    parser.add_argument("--max-tokens", type=options.positive, metavar="N", help="of a prompt (default: 980)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is drawn (default: 0)")
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.decoder import Decoder
    from taesr.evaluation.squad import read_squad
    from taesr.training.grounded import GroundedOptions
    from taesr.training.grounded_files import write_examples

    decoder = Decoder.load(arguments.decoder)
    with Progress() as progress:
        written = write_examples(
            read_squad(arguments.questions),
            arguments.output,
            lambda messages: len(decoder.encode_chat(messages)),
            examples=arguments.examples,
            validation=arguments.validation,
            options=GroundedOptions(**options.given(arguments, "unanswerable", "max_tokens", "seed")),
            progress=progress.update,
        )
    facts = [{"path": str(w.path), "examples": w.kinds, "skipped": w.skipped} for w in written]
    if arguments.json:
        print_json({"files": facts})
    else:
        for w in written:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in w.kinds.items())
            print(f"{w.path}: {sum(w.kinds.values()):,} examples ({kinds}); {w.skipped:,} questions left out")
    return 0
