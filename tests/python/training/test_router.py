"""Router training: oracle labels, the fit, the choice of the confidence, and the model that is written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from tests.python.small_models import write_release
from tests.python.training.pools import WORDS, write_word_pool

import taesr
from taesr import Encoder, FormatError, InvalidArgument, IoError
from taesr._native import core
from taesr.cli import main
from taesr.evaluation.beir import RetrievalDataset
from taesr.training.oracle_depth import nearest, oracle_labels, own_passage_ndcg
from taesr.training.pool_sample import sample_pool
from taesr.training.router import RouterOptions, classes_of, fit_router, train_router
from taesr.training.router_report import router_report

QUICK = RouterOptions(queries=150, passages=200, size=8, steps=60, overlap=0.6)


def test_labels_are_the_first_depth_with_enough_of_the_deepest_neighbours() -> None:
    deepest = torch.tensor([[0, 1, 2, 3]] * 4)
    easy = torch.tensor([[3, 2, 1, 0], [0, 1, 2, 9], [7, 8, 9, 6], [0, 1, 2, 9]])
    medium = torch.tensor([[0, 1, 2, 3], [3, 1, 0, 2], [7, 8, 2, 3], [0, 8, 9, 7]])
    labels, kept = oracle_labels([easy, medium, deepest], 1.0)
    assert labels.tolist() == [0, 1, 2, 2]
    torch.testing.assert_close(kept[:, 0], torch.tensor([1, 0.75, 0, 0.75]))
    assert (kept[:, 2] == 1).all()
    assert oracle_labels([easy, medium, deepest], 0.75)[0].tolist() == [0, 0, 2, 0]


def test_labels_of_a_constructed_encoder_with_a_known_oracle() -> None:
    """Each depth turns the vectors of some texts away from where the deepest has them."""
    generator = torch.Generator().manual_seed(0)
    index = F.normalize(torch.randn(400, 16, generator=generator), dim=1)
    deepest = F.normalize(torch.randn(90, 16, generator=generator), dim=1)
    known = torch.arange(90) % 3
    shallow = torch.where((known > 0)[:, None], -deepest, deepest)
    middle = torch.where((known > 1)[:, None], -deepest, deepest)
    labels, _ = oracle_labels([nearest(vectors, index, 10) for vectors in (shallow, middle, deepest)], 0.9)
    assert torch.equal(labels, known)


def test_a_text_is_no_neighbour_of_its_own() -> None:
    index = torch.eye(4)
    assert (nearest(index, index, 3, exclude=torch.arange(4)) != torch.arange(4)[:, None]).all()


def test_own_passage_ndcg_is_that_of_its_rank() -> None:
    index = torch.linspace(1, 0, 20)[:, None]
    own = torch.tensor([0, 1, 9, 10])
    found = own_passage_ndcg(torch.ones(4, 1), index, own)
    torch.testing.assert_close(
        found, torch.tensor([1, 1 / np.log2(3), 1 / np.log2(11), 0], dtype=torch.float32)
    )


def test_the_choice_is_that_of_the_encoder() -> None:
    probabilities = torch.softmax(3 * torch.randn(300, 3, generator=torch.Generator().manual_seed(0)), 1)
    for confidence in (0.0, 0.2, 0.5, 0.9, 0.999, 1.0):
        expected = [core.router_class(row, confidence) for row in probabilities.tolist()]
        assert classes_of(probabilities, confidence).tolist() == expected


def test_fitting_beats_the_most_frequent_class_on_separable_features() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(1500, generator=generator) * 5).long().clamp_max(2)  # the last is three of five
    centres = 0.05 * torch.randn(3, 17, generator=generator)  # small: standardisation has to find them
    features = 4 + centres[labels] + 0.02 * torch.randn(1500, 17, generator=generator)
    router = fit_router(features[:1000], labels[:1000], torch.ones(1000), RouterOptions(size=16, steps=150))
    held = labels[1000:]
    accuracy = float((core.router_logits(features[1000:], router).argmax(1) == held).float().mean())
    assert accuracy > float((held == 2).float().mean()) + 0.2


def test_costs_pull_the_choice_towards_the_dear_class() -> None:
    features = torch.zeros(400, 5)
    labels = (torch.arange(400) % 4 == 0).long() * 2  # one of four is hard, nothing tells which
    options = RouterOptions(size=4, steps=200, lr=0.05)
    shares = []
    for price in (1.0, 9.0):
        router = fit_router(features, labels, torch.where(labels == 2, price, 1.0), options)
        shares.append(float(core.router_logits(features[:1], router).softmax(1)[0, 2]))
    assert shares[0] == pytest.approx(0.25, abs=0.05)
    assert shares[1] == pytest.approx(0.75, abs=0.05)


def test_training_leaves_the_trunk_as_it_was_to_the_bit(tmp_path: Path) -> None:
    model, pool = write_release(tmp_path / "model"), write_word_pool(tmp_path / "pool.jsonl")
    labels_seen: list[str] = []
    found = train_router(
        model,
        [pool],
        tmp_path / "routed",
        QUICK,
        device="cpu",
        report=lambda label, *_: labels_seen.append(label),
    )
    assert {"passages", "queries"} <= set(labels_seen)
    assert sum(found.labels.values()) == pytest.approx(1)
    assert found.chosen in found.curve
    before, after = (
        Encoder.load(model, precision="float32"),
        Encoder.load(tmp_path / "routed", precision="float32"),
    )
    texts = ["river stone", "", "copper lamp " * 30]
    for depth in ("easy", "medium", "hard"):
        np.testing.assert_array_equal(after.encode(texts, depth=depth), before.encode(texts, depth=depth))
    assert after.config.router_size == 8
    assert after.config.router_confidence == found.chosen.confidence
    assert after.encode_detailed(texts).router_probabilities is not None
    assert (tmp_path / "routed" / "README.md").read_text() == "a card\n"
    old, new = (
        core.load_weights(str(folder / "model.safetensors")) for folder in (model, tmp_path / "routed")
    )
    assert {name for name in new if name not in old} == {
        f"router.{layer}.{part}" for layer in ("hidden", "out") for part in ("weight", "bias")
    }
    assert all(torch.equal(new[name], old[name]) and new[name].dtype == old[name].dtype for name in old)
    assert not list(tmp_path.glob(".*partial"))


def test_the_chosen_confidence_keeps_what_was_asked_at_the_least_depth(tmp_path: Path) -> None:
    model, pool = write_release(tmp_path / "model"), write_word_pool(tmp_path / "pool.jsonl", queries=3)
    options = RouterOptions(queries=600, passages=200, size=8, steps=60, overlap=0.6, retention=0.9)
    found = train_router(model, [pool], tmp_path / "routed", options, device="cpu")
    assert found.measure.startswith("nDCG@10")
    assert found.chosen.retention >= 0.9
    cheaper = [
        p
        for p in found.curve
        if p.query_depth + p.passage_depth < found.chosen.query_depth + found.chosen.passage_depth
    ]
    assert all(point.retention < 0.9 for point in cheaper)
    depths = [point.query_depth for point in found.curve]
    assert depths == sorted(depths)


def test_a_mean_depth_is_used_up_and_not_passed(tmp_path: Path) -> None:
    model, pool = write_release(tmp_path / "model"), write_word_pool(tmp_path / "pool.jsonl", queries=3)
    options = replace(QUICK, mean_depth=2.0)
    found = train_router(model, [pool], tmp_path / "routed", options, device="cpu")
    within = [p for p in found.curve if max(p.query_depth, p.passage_depth) <= 2.0]
    assert found.chosen == within[-1]
    assert len(within) < len(found.curve)
    with pytest.raises(InvalidArgument, match="mean_depth"):
        RouterOptions(mean_depth=0.5)


def test_a_routers_figures_are_reproducible_and_it_can_be_replaced(tmp_path: Path) -> None:
    model, pool = write_release(tmp_path / "model"), write_word_pool(tmp_path / "pool.jsonl")
    first = train_router(model, [pool], tmp_path / "routed", QUICK, device="cpu")
    assert train_router(tmp_path / "routed", [pool], tmp_path / "again", QUICK, device="cpu") == first


def test_report_has_fixed_depths_router_points_and_a_paired_test(tmp_path: Path) -> None:
    model, pool = write_release(tmp_path / "model"), write_word_pool(tmp_path / "pool.jsonl")
    train_router(model, [pool], tmp_path / "routed", QUICK, device="cpu")
    documents = [f"{first} {second}" for first in WORDS for second in WORDS]
    queries = [f"where is the {word}" for word in WORDS]
    qrels = {f"q{i}": {f"d{i * len(WORDS) + j}": 1 for j in range(len(WORDS))} for i in range(len(WORDS))}
    names = [f"d{i}" for i in range(len(documents))]
    sets = [
        RetrievalDataset(name, names, documents, list(qrels), queries, qrels, 0, 0) for name in ("one", "two")
    ]
    encoder = Encoder.load(tmp_path / "routed", precision="float32")
    curves = router_report(sets, encoder)
    assert [curve.name for curve in curves] == ["one", "two", "all queries"]
    for curve in curves:
        assert set(curve.fixed) == {1, 2, 4}
        assert curve.own in curve.points
        own = curve.points[curve.own]
        used = encoder.encode_detailed(queries, role="query").depths
        assert own.mean_depth == pytest.approx(np.mean(used))
        assert own.random.mean_depth == own.mean_depth
        assert 0 < own.test.p_value <= 1
        assert f"router {curve.own:.3f} *" in curve.to_markdown()
    json.dumps(curves[0].to_dict(), allow_nan=False)
    with pytest.raises(InvalidArgument, match="no router"):
        router_report(sets, Encoder.load(model))


def test_samples_have_each_querys_own_passage(tmp_path: Path) -> None:
    pool = write_word_pool(tmp_path / "pool.jsonl")
    sample = sample_pool([pool], 20, 60, seed=1)
    assert (len(sample.queries), len(sample.passages)) == (20, 60)
    for query, parent in zip(sample.queries, sample.parents, strict=True):
        assert sample.passages[parent].startswith(query)
    assert len(set(sample.passages)) == 60


def test_errors_come_before_the_work_and_say_what_is_wrong(tmp_path: Path) -> None:
    model, pool = write_release(tmp_path / "model"), write_word_pool(tmp_path / "pool.jsonl")
    with pytest.raises(InvalidArgument, match="is the model itself"):
        train_router(model, [pool], model, QUICK)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("dear")
    with pytest.raises(IoError, match="no model folder"):
        train_router(model, [pool], tmp_path / "notes", QUICK)
    assert (tmp_path / "notes" / "thesis.txt").read_text() == "dear"
    with pytest.raises(IoError, match=r"missing\.jsonl"):
        train_router(model, [tmp_path / "missing.jsonl"], tmp_path / "out", QUICK)
    passages = tmp_path / "passages.jsonl"
    passages.write_text('{"text": "a", "role": "passage", "parent": null, "document": null}\n')
    with pytest.raises(FormatError, match="holds no query"):
        train_router(model, [passages], tmp_path / "out", QUICK)
    with pytest.raises(InvalidArgument, match="device is 'tpux'"):
        train_router(model, [pool], tmp_path / "out", QUICK, device="tpux")
    for wrong in ({"retention": 0}, {"overlap": 1.5}, {"queries": 0}, {"held_out": 0.95}, {"lr": 0}):
        with pytest.raises(InvalidArgument, match=next(iter(wrong))):
            RouterOptions(**wrong)
    assert not (tmp_path / "out").exists()


def test_a_model_whose_depths_agree_has_nothing_to_route(tmp_path: Path) -> None:
    model, pool = write_release(tmp_path / "model"), write_word_pool(tmp_path / "pool.jsonl")
    options = RouterOptions(queries=150, passages=200, size=8, steps=5, overlap=1e-9)
    with pytest.raises(taesr.Error, match="nothing to route"):
        train_router(model, [pool], tmp_path / "out", options, device="cpu")


def test_the_command_trains_and_prints_one_json_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, pool = write_release(tmp_path / "model"), write_word_pool(tmp_path / "pool.jsonl")
    command = ["train-router", str(model), "--pool", str(pool), "--output", str(tmp_path / "out"), "--json"]
    sizes = ["--queries", "150", "--passages", "200", "--size", "4", "--steps", "30", "--overlap", "0.6"]
    assert main([*command, *sizes, "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)["held_out"]
    assert found["chosen"]["confidence"] == Encoder.load(tmp_path / "out").config.router_confidence
    assert main([*command, "--retention", "2"]) == 1
    assert "retention is 2; allowed: above 0 to 1" in capsys.readouterr().err
