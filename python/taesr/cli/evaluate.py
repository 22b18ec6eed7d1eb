"""taesr eval: retrieval quality and cost on sets in BEIR layout."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taesr.cli import ablation, compression, head_options, options, tasks
from taesr.cli.output import print_json
from taesr.cli.progress import Progress
from taesr.errors import InvalidArgument

if TYPE_CHECKING:
    import taesr
    from taesr import evaluation


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "eval",
        help="measure retrieval on sets in BEIR layout",
        description="Encodes the corpus (title and text) and the queries of sets in BEIR layout, searches, "
        "and reports nDCG@10, MRR@10, recall, MAP, precision and R-precision as trec_eval computes them, "
        "with speed, latency, memory and FLOPs.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="BEIR_DIR",
        help="folder with corpus.jsonl, queries.jsonl and qrels/",
    )
    parser.add_argument(
        "--mode",
        choices=("dense", *head_options.MODES, "keyword", "search"),
        default="dense",
        help="exact search over whole texts with one head (dense, sparse, sparse-idf: queries without an "
        "encoder, late) or with all (hybrid); or through a collection, by keyword or as taesr search does "
        "(default: %(default)s)",
    )
    options.add_depth(parser, default="hard")
    options.add_dim(parser)
    parser.add_argument(
        "--precision",
        choices=("float32", "int8", "binary"),
        default="float32",
        help="how document vectors are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--long-texts",
        choices=("truncate", "chunk"),
        default="truncate",
        help="read the first pass of a long text only, as published figures do, or all of it in windows "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--max-tokens",
        type=options.positive,
        default=256,
        metavar="N",
        help="that one pass reads, no more than the model does; published figures are of 256 to 512 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--split", default="test", metavar="NAME", help="file of qrels to use (default: %(default)s)"
    )
    options.add_model(parser)
    options.add_arithmetic(parser)
    options.add_device(parser)
    options.add_json(parser)
    head_options.add_options(parser)
    ablation.add_options(parser)
    compression.add_options(parser)
    tasks.add_options(parser)
    parser.set_defaults(run=run, usage=parser.format_usage())


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if not arguments.folders and (arguments.ablation is not None or not tasks.asked(arguments)):
        missing = "the following arguments are required: BEIR_DIR (or --sts, --classification)"
        print(f"{arguments.usage}taesr eval: error: {missing}", file=sys.stderr)
        return 2
    ablation.check(arguments)
    compression.check(arguments)
    tasks.check(arguments)
    head_options.check(arguments)
    if arguments.mode != "dense" and arguments.precision != "float32":
        raise InvalidArgument(f"--precision {arguments.precision} is for --mode dense only")
    from taesr.evaluation import load_beir

    # All sets are read before the first is encoded: a malformed line should not end an hour's work.
    datasets = [
        replace(load_beir(folder, split=arguments.split), name=name)
        for folder, name in zip(arguments.folders, _names(arguments.folders), strict=True)
    ]
    import taesr

    encoder = taesr.Encoder.load(arguments.model, precision=arguments.arithmetic, device=arguments.device)
    arguments.max_tokens = min(arguments.max_tokens, encoder.max_tokens)
    if arguments.ablation is not None:
        return ablation.run(arguments, datasets, encoder)
    if arguments.compression is not None:
        return compression.run(arguments, datasets, encoder, _settings(arguments, encoder))
    with Progress() as progress:
        results = [_evaluate(arguments, dataset, encoder, progress.update) for dataset in datasets]
    _print(arguments, results, tasks.run(arguments, encoder), _settings(arguments, encoder))
    return 0


def _print(
    arguments: argparse.Namespace,
    results: "list[evaluation.RetrievalResult]",
    found: tasks.Tasks,
    settings: dict[str, Any],
) -> None:
    """Print retrieval and other tasks as one document; without sets the tables of retrieval are left out."""
    from taesr.evaluation import RetrievalReport

    report = RetrievalReport(results, settings) if results else None
    if arguments.json:
        empty = {"datasets": {}, "mean": {}, "cost": {}, "settings": settings, "notes": []}
        print_json({**(report.to_dict() if report else empty), **found})
        return
    texts = [report.to_text() if report else "", tasks.to_text(found)]
    print("\n\n".join(text for text in texts if text))


def _evaluate(
    arguments: argparse.Namespace,
    dataset: "evaluation.RetrievalDataset",
    encoder: "taesr.Encoder",
    progress: Callable[[str, int, int], None],
) -> "evaluation.RetrievalResult":
    from taesr import evaluation

    if arguments.mode in ("keyword", "search"):
        return evaluation.evaluate_search(
            dataset,
            encoder,
            mode="keyword" if arguments.mode == "keyword" else "hybrid",
            depth=arguments.depth,
            dim=arguments.dim,
            progress=progress,
        )
    if arguments.mode == "hybrid" and not _has_heads(encoder):
        result = evaluation.evaluate_search(
            dataset, encoder, mode="hybrid", depth=arguments.depth, dim=arguments.dim, progress=progress
        )
        note = f"{dataset.name}: the model has no sparse or late head; hybrid is dense and keywords (BM25)"
        return replace(result, notes=[*result.notes, note])
    options = evaluation.RetrievalOptions(
        depth=arguments.depth,
        dim=arguments.dim,
        precision=arguments.precision,
        on_overflow=arguments.long_texts,
        max_tokens=arguments.max_tokens,
    )
    if arguments.mode in head_options.MODES:
        fusion = head_options.fusion_of(arguments, encoder.config)
        return evaluation.evaluate_heads(
            dataset, encoder, arguments.mode, options, fusion=fusion, progress=progress
        )
    return evaluation.evaluate_retrieval(dataset, encoder, options, progress=progress)


def _has_heads(encoder: "taesr.Encoder") -> bool:
    return encoder.config.sparse_head or encoder.config.late_size > 0


def _names(folders: list[Path]) -> list[str]:
    """Name sets by their folders, by their whole paths where two folders have the same name."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder.resolve()) for folder in folders]
    if len(set(names)) < len(names):
        raise InvalidArgument("a folder is given twice")
    return names


def _settings(arguments: argparse.Namespace, encoder: "taesr.Encoder") -> dict[str, Any]:
    return {
        "mode": arguments.mode,
        "depth": arguments.depth,
        "dim": arguments.dim or encoder.dimension,
        "precision": arguments.precision,
        "long_texts": "chunk" if arguments.mode in ("keyword", "search") else arguments.long_texts,
        "max_tokens": arguments.max_tokens,
        "split": arguments.split,
        "model": str(encoder.source),
        "fingerprint": encoder.fingerprint,
        "arithmetic": encoder.precision,
        "device": encoder.device,
        **head_options.settings(arguments, encoder.config),
    }
