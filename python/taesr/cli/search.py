"""taesr search: the passages of a collection that fit a query best."""

import argparse
from typing import TYPE_CHECKING, Any

from taesr.cli import opening, options
from taesr.cli.output import paragraphs, place, print_json
from taesr.errors import InvalidArgument

if TYPE_CHECKING:
    import taesr

_MODES = ("hybrid", "dense", "keyword")
_HEADS_TO_COME = {"sparse": "sparse", "late": "late-interaction"}


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "search",
        help="find passages in a collection",
        description="Prints the passages of a collection that fit a query best. Hybrid fuses the dense "
        "and the keyword ranking by reciprocal rank.",
        allow_abbrev=False,
    )
    parser.add_argument("query", type=options.words, help="what to look for")
    options.add_collection(parser)
    parser.add_argument(
        "-k", type=options.positive, default=10, metavar="N", help="most hits to print (default: %(default)s)"
    )
    parser.add_argument(
        "--mode",
        choices=(*_MODES, *_HEADS_TO_COME),
        default="hybrid",
        help="hybrid, dense or keyword; sparse and late need a model with those heads (default: %(default)s)",
    )
    options.add_depth(parser)
    options.add_dim(parser)
    parser.add_argument(
        "--filter",
        type=options.key_value,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only documents with this metadata; may be given several times",
    )
    options.add_model(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.mode in _HEADS_TO_COME:
        raise InvalidArgument(
            f"the model has no {_HEADS_TO_COME[arguments.mode]} head; use --mode hybrid, dense or keyword"
        )
    with opening.open_to_read(arguments) as collection:
        result = collection.search(
            arguments.query,
            k=arguments.k,
            mode=arguments.mode,
            depth=arguments.depth,
            dim=arguments.dim,
            filter=dict(arguments.filter) or None,
        )
    if arguments.json:
        hits = [_record(hit) for hit in result.hits]
        print_json({"hits": hits, "depth": result.depth, "timings": dict(result.timings)})
    else:
        _print_hits(result)
    return 0


def _record(hit: "taesr.Hit") -> dict[str, Any]:
    return {
        "document": hit.document,
        "section": hit.section,
        "text": hit.text,
        "score": hit.score,
        "ranks": hit.ranks,
        "scores": hit.scores,
        "title": hit.title,
        "source": hit.source,
        "metadata": hit.metadata,
    }


def _print_hits(result: "taesr.SearchResult") -> None:
    for number, hit in enumerate(result.hits, start=1):
        ranks = ", ".join(f"{head} {rank}" for head, rank in hit.ranks.items())
        print(f"{number}. {place(hit.document, hit.section)}   {hit.score:.4f} ({ranks})")
        print(paragraphs(hit.text, indent="   ", limit=4), end="\n\n")
    depth = f", depth {result.depth}" if result.depth else ""
    print(f"{len(result.hits)} hits in {result.timings['total']:.1f} ms{depth}")
