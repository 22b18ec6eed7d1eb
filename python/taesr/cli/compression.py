"""Option --compression of taesr eval."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taesr.cli.output import print_json
from taesr.cli.progress import Progress
from taesr.errors import InvalidArgument

if TYPE_CHECKING:
    import taesr
    from taesr import evaluation


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--compression",
        metavar="CODEC,...",
        help="compare compressed document vectors with float32: bytes a vector and retained nDCG@10 of "
        "float16, int8, int4, binary, pqM, opqM, topS, each also after sliceN- or pcaN-; "
        "'default' for a choice of them",
    )


def check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go with it."""
    if arguments.compression is None:
        return
    if arguments.mode != "dense" or arguments.precision != "float32":
        raise InvalidArgument("--compression is for --mode dense and --precision float32")
    if arguments.ablation is not None:
        raise InvalidArgument("--compression and --ablation are measured one at a time")
    if not arguments.folders:
        raise InvalidArgument("--compression needs a BEIR_DIR")
    if not _names(arguments):
        raise InvalidArgument("--compression names no codec")


def run(
    arguments: argparse.Namespace,
    datasets: "Sequence[evaluation.RetrievalDataset]",
    encoder: "taesr.Encoder",
    settings: dict[str, Any],
) -> int:
    """Measure and print."""
    from taesr.evaluation import RetrievalOptions
    from taesr.evaluation.compression import CompressionReport, evaluate_compression

    options = RetrievalOptions(
        depth=arguments.depth,
        dim=arguments.dim,
        on_overflow=arguments.long_texts,
        max_tokens=arguments.max_tokens,
    )
    names = _names(arguments)
    with Progress() as progress:
        results = [
            evaluate_compression(dataset, encoder, names, options, progress=progress.update)
            for dataset in datasets
        ]
    report = CompressionReport(results, settings)
    if arguments.json:
        print_json(report.to_dict())
    else:
        print(report.to_text())
    return 0


def _names(arguments: argparse.Namespace) -> list[str]:
    from taesr.compression import DEFAULT_NAMES, parse_names

    if arguments.compression == "default":
        return list(DEFAULT_NAMES)
    return parse_names(arguments.compression)
