"""Retrieval measures, computed by trec_eval's own C code through pytrec_eval-terrier.

Of the libraries that compute them, ``pytrec_eval-terrier`` is the maintained fork that BEIR-style
figures come from: wheels for every current Python, NumPy and SciPy as its only dependencies.
``ir-measures`` wraps the same code for these measures and adds nothing here; ``ranx`` brings numba,
pandas, matplotlib and twenty more packages, and a compilation at first use.
"""

from collections.abc import Mapping, Sequence

from taesr.errors import InvalidArgument
from taesr.evaluation.beir import Qrels

# Reported name -> trec_eval's name of the value.
_MEASURES = {
    "ndcg@10": "ndcg_cut_10",
    "mrr@10": "recip_rank",  # trec_eval has no cut of its own: computed on the first ten
    "recall@50": "recall_50",
    "recall@100": "recall_100",
    "map@100": "map_cut_100",
    "precision@1": "P_1",
    "precision@5": "P_5",
    "precision@10": "P_10",
    "r-precision": "Rprec",
}
METRICS = tuple(_MEASURES)
_DEEPEST_CUT = 100


def ranking_depth(qrels: Qrels) -> int:
    """Return how many hits a query needs for every measure to be exact.

    R-precision looks as deep as the query has relevant documents; one more stands in for a hit
    that is the query itself and gets removed.
    """
    relevant = max((sum(grade > 0 for grade in judged.values()) for judged in qrels.values()), default=0)
    return max(_DEEPEST_CUT, relevant) + 1


def evaluate_rankings(qrels: Qrels, rankings: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Measure ranked lists against judgements.

    Parameters
    ----------
    qrels : dict
        Query id to document id to grade; relevant from 1 on, nDCG with the grade as gain.
    rankings : mapping
        Query id to document ids, best first. A judged query that is missing counts as an empty
        list. A document with the id of the query is removed, as BEIR does: in sets where queries
        are documents, the query itself would always come first.

    Returns
    -------
    dict
        Query id to measure (see `METRICS`) to value from 0 to 1, for every judged query.

    Raises
    ------
    InvalidArgument
        A ranking names a document twice or belongs to a query without judgements.
    """
    import pytrec_eval

    runs: dict[str, dict[str, float]] = {}
    for query, ranking in rankings.items():
        if query not in qrels:
            raise InvalidArgument(f"query {query!r} has no judgements")
        if len(set(ranking)) != len(ranking):
            raise InvalidArgument(f"the ranking of query {query!r} names a document twice")
        kept = [document for document in ranking if document != query]
        # Ranks as scores: trec_eval sorts again, by float32 score and then by id, which would
        # break near-ties differently from the ranking that a user sees.
        runs[query] = {document: float(len(kept) - rank) for rank, document in enumerate(kept)}

    measures = set(_MEASURES.values()) - {"recip_rank"}
    values = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(runs)
    first_ten = {query: dict(list(run.items())[:10]) for query, run in runs.items()}
    reciprocal = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(first_ten)
    return {
        query: {
            name: (reciprocal if name == "mrr@10" else values).get(query, {}).get(measure, 0.0)
            for name, measure in _MEASURES.items()
        }
        for query in qrels
    }


def mean_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the unweighted mean of every measure over `rows`, which must not be empty."""
    if not rows:
        raise InvalidArgument("the mean of no results does not exist")
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
