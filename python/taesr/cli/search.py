"""taesr search: the passages of a collection that fit a query best."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taesr.cli import opening, options
from taesr.cli.output import paragraphs, place, print_json

if TYPE_CHECKING:
    import taesr

_MODES = ("hybrid", "dense", "keyword", "sparse", "late")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "search",
        help="find passages in a collection",
        description="Prints the passages of a collection that fit a query best. Hybrid fuses the "
        "rankings of all heads that the collection has by reciprocal rank (k = 60), or by scores with "
        "weights.",
        allow_abbrev=False,
    )
    parser.add_argument("query", type=options.words, help="what to look for")
    options.add_collection(parser)
    parser.add_argument(
        "-k", type=options.positive, default=10, metavar="N", help="most hits to print (default: %(default)s)"
    )
    parser.add_argument(
        "--mode",
        choices=_MODES,
        default="hybrid",
        help="hybrid or one head; sparse and late need a collection with those heads, see taesr ingest "
        "--heads (default: %(default)s)",
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
    _add_ranking(parser)
    options.add_model(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def _add_ranking(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("ranking")
    group.add_argument(
        "--fusion",
        choices=("rrf", "weighted"),
        help="of hybrid: reciprocal ranks, or standard scores with --weights (default: weighted with "
        "--weights, else rrf)",
    )
    group.add_argument(
        "--weights",
        type=options.weights,
        metavar="FILE|HEAD=W,...",
        help="of the heads: a file that taesr.retrieval.fit_fusion made, or such as dense=0.6,keyword=0.4",
    )
    group.add_argument(
        "--mmr",
        type=options.share,
        metavar="L",
        help="maximal marginal relevance, 0 to 1: 1 is relevance alone, less prefers hits unlike each other",
    )
    group.add_argument(
        "--expand",
        type=options.count,
        default=0,
        metavar="N",
        help="join N neighbouring chunks on either side of a hit in its section (default: %(default)s)",
    )
    group.add_argument(
        "--effort",
        type=options.share,
        metavar="E",
        help="progressive search, 0 to 1: the share of queries that take more than the least depth",
    )
    group.add_argument(
        "--explain", action="store_true", help="say of each hit what the heads and terms add to its score"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    with opening.open_to_read(arguments) as collection:
        result = collection.search(
            arguments.query,
            k=arguments.k,
            mode=arguments.mode,
            depth=arguments.depth,
            dim=arguments.dim,
            filter=dict(arguments.filter) or None,
            fusion=arguments.fusion,
            weights=arguments.weights,
            mmr=arguments.mmr,
            expand=arguments.expand,
            effort=arguments.effort,
            explain=arguments.explain,
        )
    if arguments.json:
        print_json(_document(result))
    else:
        _print_hits(result)
    return 0


def _document(result: "taesr.SearchResult") -> dict[str, Any]:
    document = {
        "hits": [_record(hit) for hit in result.hits],
        "depth": result.depth,
        "timings": dict(result.timings),
    }
    if result.fusion:
        document["fusion"] = result.fusion
    if result.router_probabilities:
        document["router_probabilities"] = result.router_probabilities
    return document


def _record(hit: "taesr.Hit") -> dict[str, Any]:
    record: dict[str, Any] = {
        "document": hit.document,
        "section": hit.section,
        "text": hit.text,
        "score": hit.score,
        "ranks": hit.ranks,
        "scores": hit.scores,
        "title": hit.title,
        "source": hit.source,
        "metadata": hit.metadata,
        "begin": hit.begin,
        "end": hit.end,
    }
    if hit.joined:
        record["joined"] = list(hit.joined)
    if hit.explanation:
        record["explanation"] = hit.explanation.to_dict()
    return record


def _print_hits(result: "taesr.SearchResult") -> None:
    for number, hit in enumerate(result.hits, start=1):
        ranks = ", ".join(f"{head} {rank}" for head, rank in hit.ranks.items())
        print(f"{number}. {place(hit.document, hit.section)}   {hit.score:.4f} ({ranks})")
        print(paragraphs(hit.text, indent="   ", limit=4))
        for line in _reasons(hit):
            print(paragraphs(line, indent="   "))
        print()
    depth = f", depth {result.depth}" if result.depth else ""
    print(f"{len(result.hits)} hits in {result.timings['total']:.1f} ms{depth}{_fusion(result.fusion)}")


def _fusion(fusion: Mapping[str, Any]) -> str:
    """How the heads were fused, for the line that ends the output."""
    if not fusion:
        return ""
    weights = ", ".join(f"{head} {weight:g}" for head, weight in fusion.get("weights", {}).items())
    rrf = f"k = {fusion['k']:g}" if "k" in fusion else ""
    return f", fused by {fusion['method']} ({'; '.join(filter(None, [rrf, weights]))})"


def _reasons(hit: "taesr.Hit") -> list[str]:
    """An explanation in lines."""
    why = hit.explanation
    if why is None:
        return []
    heads = ", ".join(
        f"{head} {share:+.4f}" + (f" (score {hit.scores[head]:.4f})" if head in hit.scores else "")
        for head, share in why.contributions.items()
    )
    lines = [f"heads: {heads}"]
    if why.terms:
        lines.append("terms: " + ", ".join(f"{term} {score:.2f}" for term, score in why.terms))
    if why.pieces:
        lines.append("sparse: " + ", ".join(f"{piece} {score:.2f}" for piece, score in why.pieces))
    if why.token_pairs:
        lines.append("tokens: " + ", ".join(f"{a} ~ {b} {cosine:.2f}" for a, b, cosine in why.token_pairs))
    more = [f"passage depth {why.depth}"] if why.depth else []
    if why.redundancy is not None:
        more.append(f"nearest earlier hit {why.redundancy:.2f}")
    return [*lines, ", ".join(more)] if more else lines
