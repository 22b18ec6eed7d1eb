"""The model of confidence."""

import math

import pytest

from taesr.answer import ConfidenceModel
from taesr.answer.confidence import FEATURES, default_model, features
from taesr.answer.evidence import Evidence
from taesr.hits import Hit


def test_the_stored_model_has_every_feature_and_says_how_it_was_fitted() -> None:
    import json
    from importlib import resources

    stored = json.loads(resources.files("taesr.answer").joinpath("confidence.json").read_text("utf-8"))
    assert set(stored["weights"]) == set(FEATURES)
    assert "calibrate_confidence.py" in stored["command"]
    assert stored["held_out"]["off topic"]["auc"] > 0.95


def test_probability_is_the_logistic_function_of_the_weighted_features() -> None:
    model = ConfidenceModel(-1.0, dict.fromkeys(FEATURES, 0.0) | {"top_cosine": 2.0})
    values = dict.fromkeys(FEATURES, 0.3)
    assert model.probability(values) == pytest.approx(1 / (1 + math.exp(1.0 - 0.6)))


def test_probability_grows_with_similarity_and_with_words_found() -> None:
    low = dict.fromkeys(FEATURES, 0.3)
    for name in ("top_cosine", "sentence_cosine", "sentence_coverage", "agreement"):
        assert default_model().probability(low | {name: 0.9}) > default_model().probability(low)


def test_extreme_values_stay_probabilities() -> None:
    model = ConfidenceModel(0.0, dict.fromkeys(FEATURES, 1000000.0))
    assert 0 <= model.probability(dict.fromkeys(FEATURES, 1000000.0)) <= 1
    assert 0 <= model.probability(dict.fromkeys(FEATURES, -1000000.0)) <= 1


def hit(**ranks: int) -> Hit:
    scores = {head: 1.0 / rank for head, rank in ranks.items()}
    return Hit("d", "", "", {}, "", "text", 0, 4, 1.0, ranks, scores, 1)


def test_agreement_is_that_of_the_dense_and_the_keyword_head_whatever_other_heads_there_are() -> None:
    evidence = Evidence((), {}, 0.5, 0.5, 0.5, 0.5)
    hits = [hit(dense=2, keyword=4, late=9, sparse=8), hit(late=1, sparse=1), hit(dense=1, late=1)]
    assert features(hits, evidence)["agreement"] == 1 / 4
    assert features(hits[1:], evidence)["agreement"] == 0
    assert features([hit(dense=2, keyword=4)], evidence)["agreement"] == 1 / 4
