"""Measuring an encoder on a retrieval set, and the report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bag_of_words import BagOfWordsEncoder

from taesr.errors import Error, InvalidArgument
from taesr.evaluation import (
    METRICS,
    RetrievalOptions,
    RetrievalReport,
    evaluate_rankings,
    evaluate_retrieval,
    load_beir,
)
from taesr.evaluation.cost import latencies_ms, mean_flops


def test_metrics_are_those_of_a_full_sort_by_cosine(beir_folder: Path) -> None:
    dataset, encoder = load_beir(beir_folder), BagOfWordsEncoder()
    result = evaluate_retrieval(dataset, encoder)
    documents = encoder.encode(dataset.documents, on_overflow="truncate")
    queries = encoder.encode(dataset.queries, on_overflow="truncate")
    rankings = {
        query: [dataset.document_ids[position] for position in np.argsort(-(documents @ vector))]
        for query, vector in zip(dataset.query_ids, queries, strict=True)
    }
    assert result.per_query == evaluate_rankings(dataset.qrels, rankings)
    assert result.metrics["mrr@10"] == pytest.approx(
        np.mean([values["mrr@10"] for values in result.per_query.values()])
    )


def test_options_reach_the_encoder(beir_folder: Path) -> None:
    encoder = BagOfWordsEncoder()
    options = RetrievalOptions(depth=1, dim=16, on_overflow="chunk", batch_size=3)
    result = evaluate_retrieval(load_beir(beir_folder), encoder, options)
    assert encoder.calls[:3] == [
        (2, "query", 1, 16, "chunk"),
        (3, "passage", 1, 16, "chunk"),
        (1, "passage", 1, 16, "chunk"),
    ]
    assert result.cost["document_depth"] == 1
    assert result.cost["vector_bytes"] == 4 * 16 * 4


def test_progress_counts_every_text(beir_folder: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    evaluate_retrieval(
        load_beir(beir_folder),
        BagOfWordsEncoder(),
        RetrievalOptions(batch_size=3),
        progress=lambda label, done, total: seen.append((label, done, total)),
    )
    assert seen == [("helpdesk queries", 2, 2), ("helpdesk documents", 3, 4), ("helpdesk documents", 4, 4)]


def test_truncated_texts_and_left_out_queries_are_noted(beir_folder: Path) -> None:
    dataset = replace(load_beir(beir_folder), missing_documents=2)
    notes = evaluate_retrieval(dataset, BagOfWordsEncoder()).notes
    assert notes[0].startswith("helpdesk: the end of 3 of 4 documents and 0 of 2 queries was not read")
    assert notes[1] == "helpdesk: 1 queries without judgements were left out"
    assert notes[2].startswith("helpdesk: 2 relevant judgements name documents")
    assert (
        "not read"
        not in evaluate_retrieval(dataset, BagOfWordsEncoder(), RetrievalOptions(on_overflow="chunk")).notes[
            0
        ]
    )


def test_cost_is_finite_and_positive(beir_folder: Path) -> None:
    cost = evaluate_retrieval(load_beir(beir_folder), BagOfWordsEncoder()).cost
    assert all(np.isfinite(value) for value in cost.values())
    assert 0 < cost["query_ms_p50"] <= cost["query_ms_p95"]
    assert cost["peak_memory_bytes"] > 10 * 2**20
    assert (cost["document_count"], cost["query_count"], cost["document_truncated"]) == (4, 2, 3)


def test_flops_are_those_counted_by_hand() -> None:
    config = BagOfWordsEncoder().config  # width 8, inner 16, 2 shared layers, 8 positions
    layers, tokens = 2 + 2 * 3, 5
    qkv, out, mlp = 2 * tokens * 8 * 24, 2 * tokens * 8 * 8, 2 * (2 * tokens * 8 * 16)
    attention = 2 * (2 * tokens * tokens * 8)  # scores, then weighted values
    expected = layers * (qkv + out + mlp + attention) + 2 * 8 * 64
    assert mean_flops(config, [3], [3]) == expected
    assert mean_flops(config, [100], [3]) == mean_flops(config, [6], [3])  # beyond one pass nothing is read
    assert (
        mean_flops(config, [3, 3], [1, 6])
        == (mean_flops(config, [3], [1]) + mean_flops(config, [3], [6])) / 2
    )
    assert mean_flops(config, [], []) == 0


def test_latency_is_sampled_over_the_whole_list() -> None:
    called: list[str] = []
    times = latencies_ms(called.append, [str(number) for number in range(1000)])
    assert len(times) == 200
    assert called[5:] == [str(number) for number in range(0, 1000, 5)]  # after the warm-up


@pytest.mark.parametrize(
    "options", [{"precision": "float64"}, {"batch_size": 0}, {"precision": "INT8"}], ids=str
)
def test_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        RetrievalOptions(**options)  # type: ignore[arg-type]


def test_report_has_every_set_and_their_mean(beir_folder: Path) -> None:
    dataset = load_beir(beir_folder)
    first = evaluate_retrieval(dataset, BagOfWordsEncoder())
    second = replace(first, name="other", metrics=dict.fromkeys(METRICS, 0.25))
    report = RetrievalReport([first, second], {"depth": 3, "dim": None})
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(document["datasets"]) == ["helpdesk", "other"]
    assert set(document["datasets"]["helpdesk"]) == set(METRICS)
    for name in METRICS:
        assert document["mean"][name] == pytest.approx((first.metrics[name] + 0.25) / 2)
        assert 0 <= document["mean"][name] <= 1
    lines = report.to_text().splitlines()
    assert lines[0].split() == ["x100", *METRICS]
    assert lines[3].split() == ["other", *["25.0"] * len(METRICS)]
    assert lines[4].split()[0] == "mean"
    assert "depth 3" in report.to_text()


def test_two_results_with_one_name_are_refused(beir_folder: Path) -> None:
    result = evaluate_retrieval(load_beir(beir_folder), BagOfWordsEncoder())
    with pytest.raises(InvalidArgument, match="two results have the name 'helpdesk'"):
        RetrievalReport([result, result], {})


def test_vectors_that_are_not_finite_are_refused(beir_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = BagOfWordsEncoder()
    monkeypatch.setattr(encoder, "_vector", lambda words: np.full(64, np.nan))
    with pytest.raises(Error, match="helpdesk queries: the model gave a vector that is not finite"):
        evaluate_retrieval(load_beir(beir_folder), encoder)
