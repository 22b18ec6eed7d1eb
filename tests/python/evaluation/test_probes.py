"""Probes on embeddings that hold an answer, and on ones that do not."""

import json
from pathlib import Path

import numpy as np
import pytest

from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.evaluation.probes import (
    ProbeData,
    ProbeOptions,
    load_probe,
    order_features,
    pair_features,
    probe_groups,
    probe_labels,
    probe_triplets,
    run_probe,
    run_probes,
)

GENERATOR = np.random.default_rng(0)
ITEMS = 400
SOURCES = [f"article {n // 2}" for n in range(ITEMS)]


def _noise(dims: int = 12) -> np.ndarray:
    return GENERATOR.normal(size=(ITEMS, dims))


def test_order_is_read_from_a_direction_and_not_from_noise() -> None:
    years = GENERATOR.uniform(1800, 2000, size=(2, ITEMS))
    first, second = (_noise() + np.outer(year - 1900, np.ones(12)) / 30 for year in years)
    labels = [int(a < b) for a, b in zip(*years, strict=True)]
    data = ProbeData("order", {"first": [""] * ITEMS, "second": [""] * ITEMS}, labels, SOURCES)
    known = run_probe(data, {"first": first, "second": second})
    unknown = run_probe(data, {"first": _noise(), "second": _noise()})
    assert known.score > 0.9
    assert abs(unknown.score - 0.5) < 0.1
    assert known.items == pytest.approx(0.3 * ITEMS, abs=2)
    assert known.chance == unknown.chance


def test_pairs_that_belong_together_are_told_from_others() -> None:
    first, labels = _noise(), [n % 2 for n in range(ITEMS)]
    second = np.where(np.array(labels)[:, None] == 1, first + 0.3 * _noise(), _noise())
    data = ProbeData("pair", {"first": [""] * ITEMS, "second": [""] * ITEMS}, labels, SOURCES)
    assert run_probe(data, {"first": first, "second": second}).score > 0.85
    assert abs(run_probe(data, {"first": first, "second": _noise()}).score - 0.5) < 0.12


def test_features_have_the_symmetry_of_their_question() -> None:
    first, second = _noise(), _noise()
    np.testing.assert_array_equal(order_features(first, second), -order_features(second, first))
    np.testing.assert_array_equal(pair_features(first, second), pair_features(second, first))


def test_one_source_is_never_on_both_sides() -> None:
    # Each source has a direction of its own and one label: only a leak could be read.
    sources = [f"s{n // 8}" for n in range(ITEMS)]
    labels = [str(GENERATOR.integers(2)) for _ in range(ITEMS // 8) for _ in range(8)]
    labels = [labels[8 * (n // 8)] for n in range(ITEMS)]
    features = np.eye(ITEMS // 8)[[n // 8 for n in range(ITEMS)]] + 0.01 * _noise(ITEMS // 8)
    held_out = probe_labels(features, labels, sources)
    leaked = probe_labels(features, labels, [str(n) for n in range(ITEMS)])
    assert leaked.score > 0.95
    assert held_out.score < 0.75


def test_triplets_are_counted_and_ties_count_half() -> None:
    anchor = np.array([[1.0, 0], [1, 0], [1, 0], [0, 2]])
    positive = np.array([[2.0, 0], [0, 1], [3, 3], [0, 1]])
    negative = np.array([[0.0, 1], [1, 0], [1, 1], [5, 0]])
    found = probe_triplets(anchor, positive, negative)
    assert (found.score, found.chance, found.items) == ((1 + 0 + 0.5 + 1) / 4, 0.5, 4)


def test_groups_are_found_among_other_sources_only() -> None:
    vectors = np.repeat(np.eye(4), 6, axis=0) + 0.01 * GENERATOR.normal(size=(24, 4))
    groups = [f"decade {n // 6}" for n in range(24)]
    options = ProbeOptions(neighbours=3)
    apart = probe_groups(vectors, groups, [str(n) for n in range(24)], options)
    assert apart.score == 1
    assert apart.chance == pytest.approx(5 / 23)
    same = probe_groups(vectors, groups, groups, options)  # all of one's group are of one's source
    assert same.score == 0


def test_file_is_read_and_every_subspace_measured(tmp_path: Path) -> None:
    path = tmp_path / "howto.jsonl"
    rows = [
        {"text": f"{'press' if n % 2 else 'is'} {n}", "label": "how-to" if n % 2 else "fact"}
        for n in range(60)
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    data = load_probe(path, "label")
    assert (data.texts["text"][1], data.answers[1]) == ("press 1", "how-to")
    assert len(set(data.sources)) == 60
    results = run_probes(
        data,
        {
            "procedural": lambda texts: np.array([[text.startswith("press"), 1.0] for text in texts]),
            "length": lambda texts: np.array([[len(text) % 1 + 0.0] for text in texts]),
        },
    )
    assert results["procedural"].score == 1
    assert results["length"].score <= results["length"].chance + 0.01


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("order", '{"first": "a", "second": "b", "label": 2}', "'label' must be 0 or 1, got 2"),
        (
            "order",
            '{"first": "a", "second": "b", "label": true}',
            "'label' must be a name or a number, got True",
        ),
        ("pair", '{"first": "a", "label": 1}', "'second' must be a text, got None"),
        ("label", '{"text": " ", "label": "x"}', "'text' must be a text"),
        ("group", '{"text": "a", "group": null}', "'group' must be a name or a number, got None"),
        ("triplet", "[1]", "must be one JSON object, got list"),
        ("triplet", "{", "not valid JSON"),
        ("label", '{"text": "\udcff"}', "not valid JSON in UTF-8"),
    ],
)
def test_malformed_line_is_named(tmp_path: Path, kind: str, line: str, message: str) -> None:
    path = tmp_path / "probe.jsonl"
    path.write_bytes(b"\n" + line.encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError, match=rf"probe\.jsonl:2: {message}"):
        load_probe(path, kind)  # type: ignore[arg-type]


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(IoError, match="no such file"):
        load_probe(tmp_path / "none.jsonl", "label")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(FormatError, match="no items"):
        load_probe(tmp_path / "empty.jsonl", "label")
    with pytest.raises(InvalidArgument, match="kind 'date' is not one of"):
        load_probe(tmp_path / "empty.jsonl", "date")  # type: ignore[arg-type]


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="1 labels from 2 sources"):
        probe_labels(np.ones((2, 1)), ["a", "a"], ["x", "y"])
    with pytest.raises(InvalidArgument, match="two groups"):
        probe_groups(np.ones((2, 1)), ["a", "a"], ["x", "y"])
    with pytest.raises(InvalidArgument, match="1 candidates from other sources; needs 10"):
        probe_groups(np.ones((2, 1)), ["a", "b"], ["x", "y"])
    with pytest.raises(InvalidArgument, match="needs 1 finite rows"):
        run_probe(ProbeData("label", {"text": ["a"]}, ["x"], ["s"]), {"text": np.array([[np.nan]])})
    with pytest.raises(InvalidArgument, match="splits is 0"):
        ProbeOptions(splits=0)
