"""Batches: what they hold, and that they are the same again."""

import dataclasses
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.python.training.pools import SmallPool, make_records, small_pool

from taesr import InvalidArgument
from taesr.training.batch import Batch, sample_texts, take_part
from taesr.training.data import TrainingData
from taesr.training.options import LongTextOptions, MiningOptions
from taesr.training.planner import Planner, _cuts


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> SmallPool:
    return small_pool(tmp_path_factory.mktemp("pool"), records=make_records(topics=12))


@pytest.fixture(scope="module")
def data(pool: SmallPool) -> TrainingData:
    return pool.prepare()


def epoch_of(planner: Planner, number: int = 0) -> list[Batch]:
    """Every batch of an epoch."""
    batches = []
    while True:
        batch = planner.next()
        if planner.epoch > number:
            planner.close()
            return batches
        batches.append(batch)


def same(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.texts, other.texts)
        and torch.equal(one.packed.tokens, other.packed.tokens)
        and torch.equal(one.target, other.target)
        and one.seed == other.seed
    )


def test_an_epoch_takes_every_query_once_and_a_share_of_the_passages(
    pool: SmallPool, data: TrainingData
) -> None:
    for clustered in (True, False):
        options = dataclasses.replace(pool.options, clustered=clustered)
        taken = Counter(t for batch in epoch_of(Planner(data, options, seed=3)) for t in batch.texts.tolist())
        assert set(taken.values()) == {1}
        queries = np.flatnonzero(data.role == 1)
        assert set(queries.tolist()) <= set(taken)
        passages = len(taken) - len(queries)
        everyone = int((data.role == 0).sum())
        assert 0.25 * everyone < passages < 0.75 * everyone


def test_another_epoch_draws_other_passages_in_another_order(pool: SmallPool, data: TrainingData) -> None:
    planner = Planner(data, pool.options, seed=3)
    first = epoch_of(planner)
    planner.load_state_dict(planner.state_dict() | {"epoch": 1, "batch": 0})
    second = epoch_of(planner, 1)
    assert {t for b in first for t in b.texts.tolist()} != {t for b in second for t in b.texts.tolist()}


def test_a_batch_is_sorted_packed_and_of_nearly_equal_size(pool: SmallPool, data: TrainingData) -> None:
    batches = epoch_of(Planner(data, pool.options, seed=0))
    sizes = [batch.tokens for batch in batches]
    assert max(sizes) <= pool.options.batch_tokens
    assert max(sizes) - min(sizes) <= 2 * int(data.lengths.max())
    for batch in batches:
        texts = batch.texts.numpy()
        offsets = torch.as_tensor(batch.packed.offsets).tolist()
        assert [b - a for a, b in pairwise(offsets)] == data.lengths[texts].tolist()
        assert batch.packed.roles.tolist() == data.role[texts].tolist()
        assert (data.role[texts] == 0).sum() == batch.passages
        for part in (texts[: batch.passages], texts[batch.passages :]):
            assert (np.diff(data.lengths[part]) <= 0).all()
        for i, text in enumerate(texts):
            expected = data.tokens[data.starts[text] : data.starts[text + 1]]
            assert torch.equal(batch.packed.tokens[offsets[i] : offsets[i + 1]], expected.long())


def test_vectors_of_a_batch_are_the_ensembles(pool: SmallPool, data: TrainingData) -> None:
    one, two = (np.load(teacher.path).astype(np.float64) for teacher in pool.teachers)
    role = data.role[: len(one)]

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    mean = (unit(two)[role == 0].mean(0) + unit(two)[role == 1].mean(0)) / 2
    joined = unit(np.concatenate([unit(one), unit(unit(two) - mean)], 1))
    batch = Planner(data, pool.options, seed=0).next()
    assert data.space.projection is not None
    projection = data.space.projection.numpy().astype(np.float64)
    for text, teacher, target in zip(batch.texts.tolist(), batch.teacher, batch.target, strict=True):
        if not data.long[text]:
            assert np.allclose(teacher.numpy(), joined[text], atol=2e-3)
            assert np.allclose(target.numpy(), unit(joined[text] @ projection), atol=3e-3)


def test_a_long_texts_vector_is_the_length_weighted_mean_of_its_passages(
    pool: SmallPool, data: TrainingData
) -> None:
    from tests.python.training.pools import RULES

    from taesr.training.cache import prepare_cache

    cache = prepare_cache(pool.options, RULES, seed=0)
    assert len(cache.long) == 4
    for i in range(4):
        rows = cache.long.members[cache.long.starts[i] : cache.long.starts[i + 1]]
        weights = torch.from_numpy(data.lengths[rows] - 2).float().unsqueeze(1)
        expected = torch.nn.functional.normalize((data.vectors.take(rows).float() * weights).sum(0), dim=0)
        found = data.vectors.take(np.array([cache.pool_size + i]))[0].float()
        assert torch.allclose(found, expected, atol=2e-3)


def test_vectors_read_from_disk_are_those_on_the_device(pool: SmallPool, data: TrainingData) -> None:
    options = dataclasses.replace(pool.options, resident_gib=0.0)
    on_disk = pool.prepare(data=options)
    assert data.vectors.resident
    assert not on_disk.vectors.resident
    resident, read = Planner(data, pool.options, seed=1), Planner(on_disk, options, seed=1)
    seen_long = False
    for _ in range(6):
        one, other = resident.next(), read.next()
        assert same(one, other)
        assert torch.equal(one.teacher, other.teacher)
        seen_long |= bool(data.long[one.texts.numpy()].any())
    assert seen_long


def test_groups_hold_near_texts_and_a_passage_with_its_queries(pool: SmallPool, data: TrainingData) -> None:
    assert data.cluster is not None
    options = dataclasses.replace(pool.options, passage_share=1.0, group_tokens=100_000, batch_tokens=100_000)
    batch = Planner(data, options, seed=0).next()
    texts = batch.texts.numpy()
    for group in np.unique(batch.groups):
        assert len(set(data.cluster[texts[batch.groups == group]])) == 1
    with_parent = texts[data.parent[texts] >= 0]
    where = dict(zip(texts.tolist(), batch.groups.tolist(), strict=True))
    assert all(where[t] == where[data.parent[t]] for t in with_parent.tolist())
    assert len(batch.queries) == len(with_parent)
    assert data.parent[texts[batch.queries]].tolist() == texts[batch.positives].tolist()


def test_pairs_name_only_passages_that_are_in_the_batch(pool: SmallPool, data: TrainingData) -> None:
    for batch in epoch_of(Planner(data, pool.options, seed=5)):
        texts = batch.texts.numpy()
        inside = [
            i for i, t in enumerate(texts) if data.parent[t] >= 0 and data.parent[t] in set(texts.tolist())
        ]
        assert batch.queries.tolist() == inside
        assert texts[batch.positives].tolist() == data.parent[texts[inside]].tolist()


@pytest.mark.parametrize("handed_out", [0, 1, 5, 40])
def test_a_resumed_planner_gives_the_same_batches(
    pool: SmallPool, data: TrainingData, handed_out: int
) -> None:
    planner = Planner(data, pool.options, seed=2)
    for _ in range(handed_out):
        planner.next()
    state = json.loads(json.dumps(planner.state_dict()))
    expected = [planner.next() for _ in range(12)]
    fresh = Planner(data, dataclasses.replace(pool.options, prefetch=1), seed=2)
    fresh.load_state_dict(state)
    assert all(same(a, fresh.next()) for a in expected)
    planner.load_state_dict(state)  # also one that had run on
    assert all(same(a, planner.next()) for a in expected)


def test_a_state_of_other_data_options_seed_or_world_is_refused(pool: SmallPool, data: TrainingData) -> None:
    state = Planner(data, pool.options, seed=2).state_dict()
    others = [
        Planner(data, pool.options, seed=3),
        Planner(data, dataclasses.replace(pool.options, batch_tokens=500), seed=2),
        Planner(data, pool.options, seed=2, rank=0, world=2),
    ]
    for other in others:
        with pytest.raises(InvalidArgument, match="made with another pool, data section, seed or number"):
            other.load_state_dict(state)


def test_ranks_share_out_an_epoch(pool: SmallPool, data: TrainingData) -> None:
    whole = {t for batch in epoch_of(Planner(data, pool.options, seed=4)) for t in batch.texts.tolist()}
    ranks = [
        {t for b in epoch_of(Planner(data, pool.options, seed=4, rank=r, world=3)) for t in b.texts.tolist()}
        for r in range(3)
    ]
    assert all(ranks)
    assert set.union(*ranks) == whole
    assert sum(map(len, ranks)) == len(whole)


def test_more_ranks_than_groups_is_said(pool: SmallPool, data: TrainingData) -> None:
    options = dataclasses.replace(pool.options, group_tokens=10**6)
    with pytest.raises(InvalidArgument, match="no group of texts for process 99 of 100"):
        Planner(data, options, seed=0, rank=99, world=100).next()


def test_mined_negatives_come_with_their_query_and_answer_nothing(tmp_path: Path) -> None:
    pool = small_pool(
        tmp_path,
        long_texts=LongTextOptions(count=0),
        mining=MiningOptions(count=3, candidates=12, share=1.0, ceiling=0.9),
        passage_share=0.0,
    )
    data = pool.prepare()
    assert data.negatives is not None
    vectors = data.vectors.take(np.arange(len(data.role))).double().numpy()
    similarity = vectors @ vectors.T
    passages = np.flatnonzero(data.role == 0)
    for query in range(len(data.role)):
        parent = data.parent[query]
        expected: list[int] = []
        if parent >= 0:
            near = passages[np.argsort(-similarity[query, passages])][:12]
            ceiling = 0.9 * similarity[query, parent]
            expected = [int(p) for p in near if p != parent and similarity[query, p] <= ceiling][:3]
        found = [int(p) for p in data.negatives[query] if p >= 0]
        assert len(found) == len(expected)
        assert np.allclose(similarity[query, found], similarity[query, expected], atol=2e-3)
    for batch in epoch_of(Planner(data, pool.options, seed=0)):
        texts = batch.texts.tolist()
        assert len(set(texts)) == len(texts)
        assert batch.tokens <= pool.options.batch_tokens
        for text in texts:
            known = [n for n in data.negatives[text].tolist() if n >= 0]
            # The batch's end may part a query from its negative.
            assert not known or set(known) & set(texts) or text in (texts[0], texts[-1]) or batch.tokens > 300


def test_cuts_keep_batches_within_the_budget_and_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        lengths = rng.integers(1, 90, int(rng.integers(1, 400)))
        budget = int(lengths.max() + rng.integers(0, 300))
        cuts = _cuts(lengths, budget)
        assert cuts[0] == 0
        assert cuts[-1] == len(lengths)
        assert (np.diff(cuts) > 0).all()
        assert all(lengths[a:b].sum() <= budget for a, b in pairwise(cuts.tolist()))


def test_a_part_of_a_batch_holds_its_texts_tokens(pool: SmallPool, data: TrainingData) -> None:
    batch = Planner(data, pool.options, seed=0).next()
    places = np.array([5, 0, len(batch.texts) - 1])
    part = take_part(batch, places)
    expected = [data.tokens[data.starts[t] : data.starts[t + 1]] for t in batch.texts[places].tolist()]
    assert torch.equal(part.packed.tokens, torch.cat(expected).long())
    assert torch.equal(batch.packed.tokens[part.tokens], part.packed.tokens)
    assert part.packed.roles.tolist() == batch.packed.roles[places].tolist()


def test_a_sample_holds_whole_groups_within_its_limits_and_is_the_same_again(
    pool: SmallPool, data: TrainingData
) -> None:
    options = dataclasses.replace(pool.options, batch_tokens=3000, passage_share=1.0)
    batch = Planner(data, options, seed=0).next()
    queries, passages = sample_texts(batch, queries=9, passages=6)
    assert 0 < len(queries) <= 9
    assert 0 < len(passages) <= 6
    assert (passages < batch.passages).all()
    assert (queries >= batch.passages).all()
    assert set(batch.groups[queries]) <= set(batch.groups[passages])
    again = sample_texts(batch, queries=9, passages=6)
    assert np.array_equal(again[0], queries)
    assert np.array_equal(again[1], passages)
    queries, passages = sample_texts(batch, queries=999, passages=999, max_tokens=500)
    assert batch.lengths[passages].sum() <= 400
    assert batch.lengths[queries].sum() <= 100


def test_an_error_in_the_planning_thread_reaches_the_caller(
    pool: SmallPool, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = Planner(data, pool.options, seed=0)
    monkeypatch.setattr(planner, "_plan_batch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        planner.next()


def test_batch_tokens_below_the_longest_text_are_refused(pool: SmallPool, data: TrainingData) -> None:
    longest = int(data.lengths.max())
    options = dataclasses.replace(
        pool.options, batch_tokens=longest - 1, max_passage_tokens=16, long_texts=LongTextOptions(count=0)
    )
    with pytest.raises(InvalidArgument, match=rf"batch_tokens is {longest - 1}; allowed: at least {longest}"):
        Planner(data, options, seed=0)
