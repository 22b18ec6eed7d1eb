"""taesr ingest: put files and folders into a collection."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from taesr.cli import opening, options
from taesr.cli.output import note, print_json
from taesr.cli.progress import Progress
from taesr.errors import IoError

if TYPE_CHECKING:
    import taesr


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ingest",
        help="put Markdown, text, HTML and PDF files into a collection",
        description="Reads files and folders (Markdown, text, HTML, PDF) into a collection. A second run "
        "changes only what changed; a file that cannot be read is listed with its reason and does not "
        "stop the rest.",
        allow_abbrev=False,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or folder")
    options.add_collection(parser)
    parser.add_argument("--replace", action="store_true", help="read again what did not change, too")
    parser.add_argument(
        "--chunk-tokens", type=options.positive, metavar="N", help="longest chunk in tokens, 200 to 800"
    )
    parser.add_argument(
        "--overlap", type=options.positive, metavar="N", help="tokens repeated between chunks, 50 to 100"
    )
    parser.add_argument(
        "--heads",
        type=options.heads,
        default=[],
        metavar="HEAD,...",
        help="heads to search by beside dense and keyword: sparse, late or both, of a model that has them; "
        "what the collection holds already is embedded for them first (default: as it was made)",
    )
    options.add_depth(parser)
    options.add_model(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    for path in arguments.paths:
        if not path.exists():
            raise IoError(f"{path}: no such file or folder")
    import taesr

    sizes = {"chunk_tokens": arguments.chunk_tokens, "overlap": arguments.overlap}
    encoder = opening.load_encoder(arguments.model)
    with taesr.Collection.open(arguments.collection, encoder=encoder) as collection, Progress() as progress:
        for repair in collection.notes:
            note(repair)
        try:
            if arguments.heads:
                collection.add_heads(
                    arguments.heads,
                    depth=arguments.depth,
                    progress=lambda done, total: progress.update("add heads", done, total),
                )
            report = collection.ingest(
                arguments.paths,
                replace=arguments.replace,
                progress=lambda done, total: progress.update("ingest", done, total),
                depth=arguments.depth,
                **{name: size for name, size in sizes.items() if size is not None},
            )
        except KeyboardInterrupt:
            hint = "what was ingested so far is kept, and the same command goes on from there"
            raise KeyboardInterrupt(hint) from None
        totals = {"documents": collection.document_count, "total_chunks": collection.chunk_count}
        heads = collection.heads
    return _tell(arguments, report, totals, heads)


def _tell(
    arguments: argparse.Namespace, report: "taesr.IngestReport", totals: dict[str, int], heads: list[str]
) -> int:
    """Print what was done and return the exit code.

    It is 1 when a file that was named itself could not be read, or nothing at all could be; single
    bad files in a folder are listed and leave it 0.
    """
    if arguments.json:
        print_json(
            {
                "added": report.added,
                "updated": report.updated,
                "unchanged": report.unchanged,
                "removed": report.removed,
                "skipped": report.skipped,
                "chunks": report.chunks,
                "failed": [{"path": str(path), "reason": reason} for path, reason in report.failed],
                **totals,
                "heads": heads,
            }
        )
    else:
        for path, reason in report.failed:
            note(f"not read: {path}: {reason}")
        print(
            f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, "
            f"{report.removed} removed, {report.skipped} of other types skipped, "
            f"{len(report.failed)} not read; {report.chunks} chunks embedded. "
            f"{arguments.collection} has {totals['documents']} documents in {totals['total_chunks']} chunks."
        )
    read_nothing = bool(report.failed) and report.added + report.updated + report.unchanged == 0
    return 1 if read_nothing or _named_failed(arguments.paths, report) else 0


def _named_failed(paths: list[Path], report: "taesr.IngestReport") -> bool:
    named = {path.resolve() for path in paths}
    return any(Path(path).resolve() in named for path, _ in report.failed)
