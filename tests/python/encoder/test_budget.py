"""Budgets of a call: operations for a text, time for all."""

import numpy as np
import pytest

from taesr import Encoder, InvalidArgument
from taesr.evaluation.flops import text_flops

TEXTS = [f"article {i} " + "about printers " * (i % 30) for i in range(40)]


@pytest.mark.parametrize("tokens", [0, 7, 254, 255, 3000])
def test_flops_are_those_that_the_evaluation_reports(encoder: Encoder, tokens: int) -> None:
    text = "x " * tokens
    detailed = encoder.encode_detailed([text], depth="easy")
    counted = text_flops(encoder.config, detailed.token_counts, [1], windows=detailed.windows)
    assert encoder.flops(detailed.token_counts[0], "easy") == counted[0]


def test_flops_of_no_text_are_refused(encoder: Encoder) -> None:
    with pytest.raises(InvalidArgument, match="tokens is -1"):
        encoder.flops(-1)
    with pytest.raises(InvalidArgument, match="depth is '7'"):
        encoder.flops(5, 7)


def test_each_text_goes_as_deep_as_the_budget_pays_for(encoder: Encoder) -> None:
    budget = max(encoder.flops(encoder.count_tokens(text), "easy") for text in TEXTS)
    detailed = encoder.encode_detailed(TEXTS, max_flops=budget)
    for depth, tokens in zip(detailed.depths, detailed.token_counts, strict=True):
        assert depth == max(d for d in (1, 3, 6) if encoder.flops(tokens, d) <= budget)
    assert set(detailed.depths) == {1, 3, 6}, "the test needs texts of several depths"
    np.testing.assert_array_equal(encoder.encode(TEXTS, max_flops=budget), detailed.embeddings)
    pieces = list(encoder.encode_iter(TEXTS, max_flops=budget, window=11))
    assert [depth for piece in pieces for depth in piece.depths] == detailed.depths


def test_a_text_that_the_budget_cannot_pay_for_is_named_with_its_least_cost(encoder: Encoder) -> None:
    least = encoder.flops(encoder.count_tokens(TEXTS[29]), "easy")
    with pytest.raises(
        InvalidArgument, match=r"text 29 of \d+ tokens takes at least .* FLOPs, at depth 1; max"
    ):
        encoder.encode(TEXTS[:30], max_flops=0.99 * least)
    message = f"takes at least {least:.4g} FLOPs".replace("+", r"\+")
    with pytest.raises(InvalidArgument, match=message):
        encoder.encode(TEXTS[29], max_flops=0.99 * least)
    assert encoder.encode_detailed(TEXTS[:30], max_flops=least).depths[29] == 1


@pytest.mark.parametrize("name", ["max_flops", "deadline_ms"])
@pytest.mark.parametrize("value", [0, -3, float("nan"), float("inf"), float("-inf")])
def test_budgets_are_finite_and_above_zero(encoder: Encoder, name: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match=f"{name} is .*; it must be a finite number above 0"):
        encoder.encode(["a"], **{name: value})


def test_ample_time_changes_nothing(encoder: Encoder) -> None:
    detailed = encoder.encode_detailed(TEXTS, depth="hard", deadline_ms=1e9)
    assert detailed.depths == [6] * len(TEXTS)
    assert not detailed.deadline_missed
    np.testing.assert_allclose(detailed.embeddings, encoder.encode(TEXTS, depth="hard"), atol=1e-5)


def test_a_missed_deadline_still_embeds_every_text_and_says_so(encoder: Encoder) -> None:
    detailed = encoder.encode_detailed(TEXTS, depth="hard", deadline_ms=1e-3)
    assert detailed.deadline_missed
    assert detailed.depths == [1] * len(TEXTS)
    np.testing.assert_allclose(detailed.embeddings, encoder.encode(TEXTS, depth="easy"), atol=1e-5)
