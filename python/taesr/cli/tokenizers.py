"""taesr train-tokenizer and taesr prune-vocabulary: tokenizers from a corpus, and from a teacher."""

import argparse
from pathlib import Path

from taesr.cli.options import positive
from taesr.cli.progress import Progress

_MEBIBYTE = 1 << 20


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands."""
    _register_training(commands)
    _register_pruning(commands)


def _register_training(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "train-tokenizer",
        help="train a SentencePiece tokenizer on a corpus",
        description="Trains a SentencePiece tokenizer with the ids <s> 0, <pad> 1, </s> 2, <unk> 3.",
        allow_abbrev=False,
    )
    _add_corpus(parser, sample=256)
    parser.add_argument("--output", type=Path, required=True, metavar="F", help="file to write, .model")
    parser.add_argument(
        "--kind", choices=("unigram", "bpe"), default="unigram", help="algorithm (default: %(default)s)"
    )
    parser.add_argument(
        "--keep-case", action="store_true", help="keep capitals (default: texts are read in lower case)"
    )
    parser.add_argument(
        "--byte-fallback", action="store_true", help="spell unknown characters as bytes, with 256 pieces more"
    )
    parser.add_argument(
        "--threads",
        type=positive,
        default=4,
        metavar="N",
        help="threads to train with (default: %(default)s)",
    )
    parser.set_defaults(run=run_training)


def _register_pruning(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "prune-vocabulary",
        help="cut a teacher's vocabulary to the pieces that a corpus uses",
        description="Counts the pieces of a teacher's tokenizer (SentencePiece or BERT's WordPiece) on a "
        "corpus and keeps the most frequent. Writes tokenizer.model and embeddings.safetensors, the kept "
        "rows of the teacher's token table.",
        allow_abbrev=False,
    )
    parser.add_argument("teacher", type=Path, metavar="TEACHER_DIR", help="Hugging Face model folder")
    _add_corpus(parser, sample=64)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.set_defaults(run=run_pruning)


def _add_corpus(parser: argparse.ArgumentParser, *, sample: int) -> None:
    parser.add_argument(
        "corpus",
        nargs="+",
        type=Path,
        metavar="FILE",
        help='texts, one a line, or .jsonl with "text"; also .gz and .xz',
    )
    parser.add_argument(
        "--size", type=positive, required=True, metavar="N", help="pieces, the four special ones included"
    )
    parser.add_argument(
        "--sample",
        type=positive,
        default=sample,
        metavar="MIB",
        help="text to read, spread over the files (default: %(default)s MiB)",
    )


def run_training(arguments: argparse.Namespace) -> int:
    """Run `taesr train-tokenizer`."""
    from taesr.training.tokenizer_training import TokenizerOptions, train_tokenizer

    options = TokenizerOptions(
        vocab_size=arguments.size,
        kind=arguments.kind,
        normalizer="nmt_nfkc" if arguments.keep_case else "nmt_nfkc_cf",
        byte_fallback=arguments.byte_fallback,
        sample_bytes=arguments.sample * _MEBIBYTE,
        threads=arguments.threads,
    )
    with Progress() as progress:
        size = train_tokenizer(arguments.corpus, arguments.output, options, report=progress.update)
    print(f"{size} pieces in {arguments.output}")
    return 0


def run_pruning(arguments: argparse.Namespace) -> int:
    """Run `taesr prune-vocabulary`."""
    from taesr.training.vocabulary import PruneOptions, prune_vocabulary, teacher_table

    options = PruneOptions(size=arguments.size, sample_bytes=arguments.sample * _MEBIBYTE)
    table = teacher_table(arguments.teacher)  # first: a folder without weights should fail at once
    with Progress() as progress:
        pruned = prune_vocabulary(arguments.teacher, arguments.corpus, options, report=progress.update)
    pruned.save(arguments.output, pruned.table(table))
    print(
        f"{len(pruned.rows)} of {len(table)} pieces in {arguments.output}; they are {pruned.coverage:.2%} of "
        f"the teacher's tokens on the corpus"
    )
    return 0
