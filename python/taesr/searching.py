"""How a collection is searched."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from taesr._native import core
from taesr.document import Scalar
from taesr.encoder import Encoder, clean_text
from taesr.errors import InvalidArgument
from taesr.explaining import explain_heads, router_probabilities
from taesr.filters import to_filter
from taesr.hits import Explanation, Hit, SearchResult

if TYPE_CHECKING:
    from taesr.retrieval import FusionWeights

Mode = Literal["hybrid", "dense", "keyword", "sparse", "late"]
Fusion = Literal["rrf", "weighted"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a collection is searched.

    Attributes
    ----------
    k
        Most hits, 1 to 10,000; fewer when there are fewer.
    mode
        "dense" (cosine of embeddings), "keyword" (BM25), of collections that have these heads "sparse"
        (SPLADE) and "late" (ColBERT), or "hybrid" (all heads of the collection, fused).
    depth
        Recursions of the query's embedding: "easy", "medium", "hard", "auto" or a number.
    dim
        Compare only this prefix of the vectors; None for all.
    filter
        Only documents whose metadata has these values.
    fusion
        Of a hybrid search. "rrf": sum of 1 / (rrf_k + rank) over the heads (Cormack et al. 2009).
        "weighted": sum of weight times score, each head's scores less their mean and divided by their
        standard deviation over the query's candidates. None: weighted where there are weights.
    weights
        Of the heads, {"dense": 0.6, "keyword": 0.4}, 0 or larger; only their ratios matter. Or what
        `taesr.retrieval.fit_fusion` returned, or a file that it was saved to. With "rrf" they multiply
        the heads' parts.
    rrf_k
        Of reciprocal rank fusion.
    mmr
        Maximal marginal relevance (Carbonell and Goldstein 1998) among the candidates, 0 to 1: 1 orders by
        relevance alone, lower values prefer passages that differ from those before them.
    expand
        Neighbouring chunks, 0 to 100, joined with a hit on either side within its section; hits whose
        passages then touch become one.
    effort
        Progressive search, 0 to 1, in place of `depth`: queries are embedded at depth easy, and about this
        share of them, those whose best candidates are hardly better than the next, again at depth hard.
        For modes dense and hybrid.
    explain
        Fill in `Hit.explanation`; costs another embedding of query and hits for models with a router or
        further heads.
    """

    k: int = 10
    mode: Mode = "hybrid"
    depth: str | int = "auto"
    dim: int | None = None
    filter: Mapping[str, Scalar] | None = None
    fusion: Fusion | None = None
    weights: "Mapping[str, float] | FusionWeights | str | Path | None" = None
    rrf_k: float = 60.0
    mmr: float | None = None
    expand: int = 0
    effort: float | None = None
    explain: bool = False


def run(
    collection: core.Collection, encoder: Encoder, queries: Sequence[str], options: Sequence[SearchOptions]
) -> list[SearchResult]:
    """Search for all queries, with one options for all or one for each."""
    resolved = [_resolve(each, encoder.dimension) for each in options]
    texts = [_checked(query, index) for index, query in enumerate(queries)]
    found = core.search_batch(collection, texts, [_to_native(each) for each in resolved])
    each_its_own = resolved * len(texts) if len(resolved) == 1 else resolved
    return [
        _to_result(result, text, each, encoder)
        for result, text, each in zip(found, texts, each_its_own, strict=True)
    ]


def _checked(query: str, index: int) -> str:
    if not isinstance(query, str):
        raise InvalidArgument(f"query {index} is a {type(query).__name__}; it must be a str")
    return clean_text(query)


def _resolve(options: SearchOptions, dimension: int) -> SearchOptions:
    """Check what the library cannot, and read the weights."""
    if options.dim is not None and not 1 <= options.dim <= dimension:
        raise InvalidArgument(f"dim is {options.dim}; allowed: 1 to {dimension}")
    if not isinstance(options.k, int) or options.k < 1:
        raise InvalidArgument(f"k is {options.k}; allowed: 1 to 10000")
    if not isinstance(options.expand, int) or options.expand < 0:
        raise InvalidArgument(f"expand is {options.expand}; allowed: 0 to 100")
    weights = None if options.weights is None else read_weights(options.weights)
    fusion = options.fusion or ("rrf" if weights is None else "weighted")
    if fusion == "weighted" and weights is None and options.mode == "hybrid":
        raise InvalidArgument(
            "fusion 'weighted' without weights; give weights={'dense': ..., 'keyword': ...}, or fit them "
            "with taesr.retrieval.fit_fusion"
        )
    return dataclasses.replace(options, weights=weights, fusion=fusion)


def read_weights(weights: "Mapping[str, float] | FusionWeights | str | Path") -> dict[str, float]:
    """Weights by head from any form that a search takes."""
    from taesr.retrieval import FusionWeights

    if isinstance(weights, str | Path):
        weights = FusionWeights.load(weights)
    given = weights.weights if isinstance(weights, FusionWeights) else weights
    read = {}
    for head, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise InvalidArgument(f"the weight of head '{head}' is {weight!r}; it must be 0 or larger")
        read[head] = float(weight)
    return read


def _to_native(options: SearchOptions) -> core.SearchOptions:
    assert options.fusion is not None
    return core.SearchOptions(
        k=options.k,
        mode=options.mode,
        depth=str(options.depth),
        dim=options.dim or 0,
        fusion=options.fusion,
        weights=read_weights(options.weights or {}),
        rrf_k=options.rrf_k,
        mmr=options.mmr,
        expand=options.expand,
        effort=options.effort,
        explain=options.explain,
        filter=to_filter(options.filter),
    )


def _to_result(result: Any, query: str, options: SearchOptions, encoder: Encoder) -> SearchResult:
    hits = [_to_hit(hit) for hit in result.hits]
    fusion: dict[str, Any] = {}
    if options.mode == "hybrid":
        fusion = {"method": options.fusion}
        if options.fusion == "rrf":
            fusion["k"] = options.rrf_k
        if options.weights:
            fusion["weights"] = options.weights
    probabilities = None
    if options.explain and hits:
        hits = explain_heads(query, hits, encoder, options.depth)
        if options.depth == "auto" and options.effort is None and result.depth:
            probabilities = router_probabilities(query, encoder)
    return SearchResult(hits, result.depth, result.timings, fusion, probabilities)


def _to_hit(hit: Any) -> Hit:
    chunk = hit.chunk
    explanation = None
    if hit.explanation is not None:
        said = hit.explanation
        explanation = Explanation(said.contributions, said.terms, said.depth, said.redundancy)
    return Hit(
        document=chunk.document,
        title=chunk.title,
        source=chunk.source,
        metadata=json.loads(chunk.metadata),
        section=chunk.section,
        text=chunk.text,
        begin=chunk.begin,
        end=chunk.end,
        score=hit.score,
        ranks=hit.ranks,
        scores=hit.scores,
        chunk_id=chunk.id,
        joined=tuple(hit.joined),
        explanation=explanation,
    )
