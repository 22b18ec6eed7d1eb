"""Retrieval measures against values worked out by hand and an independent reference."""

import math
import random

import pytest

from taesr.errors import InvalidArgument
from taesr.evaluation import METRICS, evaluate_rankings
from taesr.evaluation.metrics import mean_of, ranking_depth


def test_values_worked_out_by_hand() -> None:
    qrels = {"q": {"a": 2, "b": 1, "c": 1, "x": 0}}
    values = evaluate_rankings(qrels, {"q": ["x", "a", "y", "b"]})["q"]
    ideal = 2 + 1 / math.log2(3) + 1 / math.log2(4)
    assert values["ndcg@10"] == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert values["mrr@10"] == pytest.approx(1 / 2)
    assert values["recall@50"] == pytest.approx(2 / 3)
    assert values["map@100"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert values["precision@1"] == 0
    assert values["precision@5"] == pytest.approx(2 / 5)
    assert values["r-precision"] == pytest.approx(1 / 3)  # of the first three


def test_mrr_stops_at_the_tenth_document() -> None:
    fillers = [f"f{i}" for i in range(20)]
    qrels = {"tenth": {"a": 1}, "eleventh": {"a": 1}}
    values = evaluate_rankings(qrels, {"tenth": [*fillers[:9], "a"], "eleventh": [*fillers[:10], "a"]})
    assert values["tenth"]["mrr@10"] == pytest.approx(0.1)
    assert values["eleventh"]["mrr@10"] == 0
    assert values["eleventh"]["recall@50"] == 1


def test_document_with_the_id_of_the_query_is_removed() -> None:
    values = evaluate_rankings({"q": {"a": 1}}, {"q": ["q", "a"]})["q"]
    assert values["precision@1"] == 1
    assert values["ndcg@10"] == 1


def test_query_without_hits_counts_as_zero() -> None:
    per_query = evaluate_rankings({"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}}, {"q1": ["a"], "q2": []})
    assert set(per_query) == {"q1", "q2", "q3"}
    assert mean_of(list(per_query.values()))["ndcg@10"] == pytest.approx(1 / 3)


def test_order_is_the_one_given_even_where_scores_would_tie() -> None:
    # trec_eval breaks ties by descending id, which would put z first.
    assert evaluate_rankings({"q": {"a": 1}}, {"q": ["a", "z"]})["q"]["precision@1"] == 1
    assert evaluate_rankings({"q": {"a": 1}}, {"q": ["z", "a"]})["q"]["precision@1"] == 0


def test_document_named_twice_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="names a document twice"):
        evaluate_rankings({"q": {"a": 1}}, {"q": ["a", "b", "a"]})


def test_ranking_of_a_query_that_nobody_judged_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="'other' has no judgements"):
        evaluate_rankings({"q": {"a": 1}}, {"other": ["a"]})


def test_ranking_depth_reaches_every_relevant_document() -> None:
    assert ranking_depth({"q": {"a": 1}}) == 101
    assert ranking_depth({"q": {f"d{i}": 1 for i in range(300)} | {"x": 0}}) == 301


def _reference(judged: dict[str, int], ranking: list[str]) -> dict[str, float]:
    """The textbook definitions, written without trec_eval."""
    relevant = {document for document, grade in judged.items() if grade > 0}
    hits = [document in relevant for document in ranking]

    def dcg(grades: list[int]) -> float:
        return sum(max(grade, 0) / math.log2(rank + 2) for rank, grade in enumerate(grades[:10]))

    ideal = dcg(sorted(judged.values(), reverse=True))
    first = hits[:10].index(True) + 1 if True in hits[:10] else math.inf
    precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits[:100]) if hit]
    count = len(relevant)
    return {
        "ndcg@10": dcg([judged.get(document, 0) for document in ranking]) / ideal if ideal else 0.0,
        "mrr@10": 1 / first,
        "recall@50": sum(hits[:50]) / count if count else 0.0,
        "recall@100": sum(hits[:100]) / count if count else 0.0,
        "map@100": sum(precisions) / count if count else 0.0,
        "precision@1": sum(hits[:1]) / 1,
        "precision@5": sum(hits[:5]) / 5,
        "precision@10": sum(hits[:10]) / 10,
        "r-precision": sum(hits[:count]) / count if count else 0.0,
    }


def test_random_rankings_agree_with_an_independent_reference() -> None:
    chance = random.Random(20)
    documents = [f"d{i}" for i in range(400)]
    qrels, rankings = {}, {}
    for number in range(60):
        judged = chance.sample(documents, chance.randint(1, 150))
        qrels[f"q{number}"] = {document: chance.choice([-1, 0, 0, 1, 2, 3]) for document in judged}
        rankings[f"q{number}"] = chance.sample(documents, chance.randint(0, 300))
    values = evaluate_rankings(qrels, rankings)
    for query, ranking in rankings.items():
        expected = _reference(qrels[query], ranking)
        assert set(expected) == set(METRICS)
        assert values[query] == pytest.approx(expected, abs=1e-9), query
