"""Fitting the weights of a fusion."""

from pathlib import Path

import numpy as np
import pytest

import taesr
from taesr.evaluation import evaluate_rankings
from taesr.retrieval import cross_fit, fit_fusion, fuse

Run = dict[str, dict[str, float]]


def noisy_runs(noise: dict[str, float], seed: int = 0) -> tuple[dict[str, Run], dict[str, str], Run]:
    """Lists whose scores are the documents' true worth with as much noise as `noise` says, by head."""
    draw = np.random.default_rng(seed)
    queries = {f"q{i}": f"text {i}" for i in range(60)}
    qrels: dict[str, dict[str, int]] = {}
    runs: dict[str, Run] = {head: {} for head in noise}
    for query in queries:
        worth = draw.normal(size=50)
        qrels[query] = {f"d{i}": 1 for i in np.argsort(-worth)[:5]}
        for scale, (head, spread) in enumerate(noise.items(), 1):
            scores = 100.0**scale * (worth + spread * draw.normal(size=50))
            runs[head][query] = {f"d{i}": float(score) for i, score in enumerate(scores)}
    return runs, queries, qrels  # type: ignore[return-value]


def ndcg(rankings: dict[str, list[str]], qrels: Run) -> float:
    values = evaluate_rankings(qrels, rankings)  # type: ignore[arg-type]
    return float(np.mean([value["ndcg@10"] for value in values.values()]))


def test_figures_are_those_of_trec_eval() -> None:
    runs, queries, qrels = noisy_runs({"dense": 0.5, "keyword": 1.0})
    fit = fit_fusion(runs, queries, qrels)
    assert fit.queries == 60
    for head, run in runs.items():
        alone = {query: sorted(scores, key=lambda d: -scores[d]) for query, scores in run.items()}
        assert fit.quality[head] == pytest.approx(ndcg(alone, qrels), abs=1e-9)
    for method in ("rrf", "weighted"):
        fused = {
            query: [
                one.document
                for one in fuse(
                    {head: run[query] for head, run in runs.items()},
                    method=method,
                    weights=fit.weights if method == "weighted" else None,
                )
            ]
            for query in queries
        }
        assert fit.quality[method] == pytest.approx(ndcg(fused, qrels), abs=1e-9)


def test_a_head_counts_by_how_much_it_knows() -> None:
    runs, queries, qrels = noisy_runs({"dense": 0.3, "keyword": 3.0})
    fit = fit_fusion(runs, queries, qrels)
    assert sum(fit.weights.values()) == pytest.approx(1, abs=1e-3)
    assert fit.weights["dense"] > 0.7
    assert fit.quality["weighted"] > fit.quality["rrf"] + 0.05
    assert fit.quality["weighted"] >= fit.quality["dense"] - 0.002


@pytest.mark.parametrize("heads", [1, 3, 4])
def test_any_number_of_heads_is_fitted(heads: int) -> None:
    runs, queries, qrels = noisy_runs({f"head{i}": 0.5 + i for i in range(heads)})
    fit = fit_fusion(runs, queries, qrels)
    assert list(fit.weights) == list(runs)
    assert fit.quality["weighted"] >= max(fit.quality[head] for head in runs) - 0.002
    assert max(fit.weights, key=fit.weights.__getitem__) == "head0"


def test_cross_fitting_measures_no_query_with_weights_fitted_on_it() -> None:
    runs, queries, qrels = noisy_runs({"dense": 0.3, "keyword": 3.0})
    crossed = cross_fit(runs, queries, qrels)
    halves = [dict(list(queries.items())[part::2]) for part in (0, 1)]
    measured = []
    for own, other in (halves, halves[::-1]):
        weights = fit_fusion(runs, other, qrels).weights
        rankings = {
            query: [
                one.document
                for one in fuse({h: r[query] for h, r in runs.items()}, method="weighted", weights=weights)
            ]
            for query in own
        }
        measured.append(ndcg(rankings, {query: qrels[query] for query in own}))
    assert crossed["weighted"] == pytest.approx(np.mean(measured), abs=1e-9)
    assert crossed["rrf"] == pytest.approx(fit_fusion(runs, queries, qrels).quality["rrf"])


def test_queries_without_answers_say_nothing() -> None:
    runs, queries, qrels = noisy_runs({"dense": 0.5, "keyword": 1.0})
    expected = fit_fusion(runs, queries, qrels)
    more = {**queries, "unjudged": "x", "all wrong": "y"}
    assert fit_fusion(runs, more, {**qrels, "all wrong": {"d1": 0}}) == expected
    with pytest.raises(taesr.InvalidArgument, match="no query has a relevant document"):
        fit_fusion(runs, {"unjudged": "x"}, qrels)  # type: ignore[arg-type]


def test_queries_for_which_nothing_is_found_count_as_not_answered() -> None:
    runs: dict[str, Run] = {"dense": {"q": {"d": 1.0}}, "keyword": {}}
    fit = fit_fusion(runs, {"q": "", "lost": ""}, {"q": {"d": 1}, "lost": {"d": 1}})
    assert fit.quality == {"dense": 0.5, "keyword": 0.0, "rrf": 0.5, "weighted": 0.5}


def test_too_many_heads_and_folds_are_refused() -> None:
    runs, queries, qrels = noisy_runs({f"head{i}": 1.0 for i in range(5)})
    with pytest.raises(taesr.InvalidArgument, match="5 heads; allowed: 1 to 4"):
        fit_fusion(runs, queries, qrels)  # type: ignore[arg-type]
    with pytest.raises(taesr.InvalidArgument, match="folds is 1; allowed: 2 to 60"):
        cross_fit(runs, queries, qrels, folds=1)  # type: ignore[arg-type]


def test_weights_fitted_on_a_collection_are_those_that_its_searches_use(
    tmp_path: Path, encoder: taesr.Encoder
) -> None:
    subjects = ["printer", "password", "invoice", "network", "backup", "licence"]
    with taesr.Collection.open(tmp_path, encoder=encoder) as kb:
        kb.add(
            taesr.Document(f"{subject}-{n}", f"How to change the {subject} number {n}. {'More words. ' * 80}")
            for subject in subjects
            for n in range(4)
        )
        queries = {f"{s}-q{n}": f"{s} number {n}" for s in subjects for n in range(4)}
        qrels = {f"{s}-q{n}": {f"{s}-{n}": 2, f"{s}-{(n + 1) % 4}": 1} for s in subjects for n in range(4)}
        fit = fit_fusion(kb, queries, qrels)
        rankings = {
            query: list(dict.fromkeys(hit.document for hit in kb.search(text, k=60, weights=fit)))
            for query, text in queries.items()
        }
        assert ndcg(rankings, qrels) == pytest.approx(fit.quality["weighted"], abs=1e-6)
        plain = {
            query: list(dict.fromkeys(hit.document for hit in kb.search(text, k=60)))
            for query, text in queries.items()
        }
        assert ndcg(plain, qrels) == pytest.approx(fit.quality["rrf"], abs=1e-6)
        assert fit.quality["weighted"] >= fit.quality["rrf"]
