"""Fusing ranked lists, against NumPy."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import taesr
from taesr.retrieval import FusionWeights, fuse

Lists = dict[str, dict[str, float]]


def random_lists(seed: int, heads: int = 3) -> Lists:
    draw = np.random.default_rng(seed)
    names = [f"d{i}" for i in range(30)]
    return {
        f"head{h}": {
            str(name): round(float(score), 2)  # rounded, so that some are equal
            for name, score in zip(
                draw.permutation(names)[: int(draw.integers(1, 20))],
                draw.normal(h, 1 + 5 * h, 30),
                strict=False,
            )
        }
        for h in range(heads)
    }


def first_named(lists: Lists) -> list[str]:
    return list(dict.fromkeys(itertools.chain.from_iterable(lists.values())))


def reference_rrf(lists: Lists, weights: dict[str, float], k: float) -> dict[str, float]:
    scores = dict.fromkeys(first_named(lists), 0.0)
    order = {name: i for i, name in enumerate(lists)}
    for head in sorted(lists, key=order.__getitem__):
        ranked = sorted(lists[head].items(), key=lambda entry: -entry[1])
        for rank, (document, _) in enumerate(ranked, 1):
            scores[document] += weights.get(head, 1.0) / (k + rank)
    return scores


def reference_weighted(lists: Lists, weights: dict[str, float]) -> dict[str, float]:
    names = first_named(lists)
    total = np.zeros(len(names))
    for head, found in lists.items():
        column = np.array([found.get(name, min(found.values())) for name in names])
        if column.std() > 1e-9:
            total += weights[head] * (column - column.mean()) / column.std()
    return dict(zip(names, total.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_reciprocal_ranks_are_those_of_numpy(seed: int) -> None:
    lists = random_lists(seed)
    for weights, k in (({}, 60.0), ({"head1": 2.5, "head2": 0.0}, 0.0)):
        expected = reference_rrf(lists, weights, k)
        found = fuse(lists, weights=weights, rrf_k=k)
        assert {one.document: one.score for one in found} == pytest.approx(expected)
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        assert all(sum(one.shares.values()) == one.score for one in found)


@pytest.mark.parametrize("seed", range(10))
def test_weighted_scores_are_those_of_numpy(seed: int) -> None:
    lists = random_lists(seed)
    weights = {"head0": 0.5, "head1": 0.2, "head2": 0.3}
    found = fuse(lists, method="weighted", weights=weights)
    expected = reference_weighted(lists, weights)
    assert {one.document: one.score for one in found} == pytest.approx(expected, abs=1e-4)
    assert all(sum(one.shares.values()) == one.score for one in found)


def test_equal_scores_keep_the_order_in_which_documents_were_named() -> None:
    lists = {"dense": {"b": 1.0, "a": 1.0}, "keyword": {"a": 1.0, "b": 1.0}}
    assert [one.document for one in fuse(lists)] == ["b", "a"]
    weights = {"dense": 1.0, "keyword": 1.0}
    assert [one.document for one in fuse(lists, method="weighted", weights=weights)] == ["b", "a"]


def test_one_head_and_empty_lists_are_lists() -> None:
    assert fuse({}) == []
    assert fuse({"dense": {}, "keyword": {}}) == []
    assert [one.document for one in fuse({"dense": {"a": 0.1, "b": 0.9}})] == ["b", "a"]
    only = fuse({"dense": {"a": 0.1}, "keyword": {}}, method="weighted", weights={"dense": 1, "keyword": 1})
    assert [(one.document, one.score) for one in only] == [("a", 0.0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "weighted"}, "no weight for head 'a'"),
        ({"method": "weighted", "weights": {"a": 1.0}}, "no weight for head 'b'"),
        ({"method": "weighted", "weights": {"a": -1.0, "b": 1.0}}, "weight of head 'a' is -1"),
        ({"weights": {"a": math.nan}}, "weight of head 'a' is nan"),
        ({"weights": {"a": math.inf}}, "weight of head 'a' is inf"),
        ({"weights": {"a": 0.0, "b": 0.0}}, "all heads are 0"),
        ({"rrf_k": -1.0}, "rrf_k is -1"),
        ({"method": "sum"}, "fusion 'sum'; it must be rrf or weighted"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(taesr.InvalidArgument, match=message):
        fuse({"a": {"x": 1.0}, "b": {"y": 2.0}}, **options)  # type: ignore[arg-type]


def test_scores_must_be_finite() -> None:
    with pytest.raises(taesr.InvalidArgument, match="scores must be finite"):
        fuse({"a": {"x": math.nan}})


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    weights = FusionWeights({"dense": 0.625, "keyword": 0.375}, {"weighted": 0.5}, 12)
    weights.save(tmp_path / "weights.json")
    assert FusionWeights.load(tmp_path / "weights.json") == weights
    (tmp_path / "plain.json").write_text('{"dense": 1, "keyword": 0.5}')
    assert FusionWeights.load(tmp_path / "plain.json").weights == {"dense": 1.0, "keyword": 0.5}


@pytest.mark.parametrize(
    "content",
    ["", "[1]", "{}", '{"dense": "much"}', '{"dense": -1}', '{"dense": NaN}', '{"dense": true}', "\x00"],
)
def test_a_file_without_weights_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "weights.json").write_text(content)
    with pytest.raises(taesr.FormatError, match=r"weights\.json"):
        FusionWeights.load(tmp_path / "weights.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(taesr.IoError, match=r"none\.json"):
        FusionWeights.load(tmp_path / "none.json")
    with pytest.raises(taesr.IoError, match=r"no/where\.json"):
        FusionWeights({"dense": 1.0}).save(tmp_path / "no" / "where.json")
