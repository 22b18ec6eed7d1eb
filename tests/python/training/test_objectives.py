"""Every loss against a plain float64 reference, and the whole against its parts."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tests.python.training.pools import small_pool
from torch import Tensor

from taesr import InvalidArgument
from taesr.nn import TAESRModel
from taesr.training.batch import Batch, sample_texts
from taesr.training.losses.contrastive import contrastive_loss, contrastive_mask
from taesr.training.losses.cosine import cosine_loss
from taesr.training.losses.kl import SimilarityRows, score_kl
from taesr.training.losses.late import maxsim_scores
from taesr.training.losses.self_distillation import self_distillation_loss
from taesr.training.losses.sparse import bag_of_pieces, flops_loss, margin_mse, ramp
from taesr.training.objective_options import (
    ContrastiveOptions,
    CosineOptions,
    KLOptions,
    LateOptions,
    ObjectiveOptions,
    SelfDistillationOptions,
    SparseOptions,
)
from taesr.training.objectives import Objectives
from taesr.training.planner import Planner

DIMS = {4: 0.3, 8: 0.7}


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def test_cosine_is_its_definition() -> None:
    z, target = random(6, 8), random(6, 8, seed=1)
    expected = 0.0
    for size, weight in DIMS.items():
        a, b = unit(z.numpy()[:, :size]), unit(target.numpy()[:, :size])
        expected += weight * np.mean([1 - a[i] @ b[i] for i in range(6)])
    assert float(cosine_loss(z, target, DIMS)) == pytest.approx(expected, abs=1e-12)


def naive_kl(
    teacher: np.ndarray, z: np.ndarray, passages: int, temperature: float, shares: tuple[float, float]
) -> float:
    total, n = 0.0, len(teacher)
    for size, weight in DIMS.items():
        v = unit(z[:, :size])
        for columns, share in ((range(passages), shares[0]), (range(passages, n), shares[1])):
            if len(columns) < 2:
                continue
            for row in range(n):
                others = [c for c in columns if c != row]
                p = softmax(teacher[row] @ teacher[others].T / temperature)
                q = softmax(v[row] @ v[others].T / temperature)
                total += weight * share * (p * np.log(p / q)).sum() / n
    return total


@pytest.mark.parametrize(("rows", "passages"), [(7, 4), (7, 7), (7, 0), (7, 1), (2, 1), (1, 1)])
def test_row_kl_is_its_definition(rows: int, passages: int) -> None:
    teacher, z = torch.from_numpy(unit(random(rows, 12).numpy())), random(rows, 8, seed=1)
    found = SimilarityRows(teacher, passages, 0.2, (0.6, 0.4)).kl(z, DIMS)
    expected = naive_kl(teacher.numpy(), z.numpy(), passages, 0.2, (0.6, 0.4))
    assert float(found) == pytest.approx(expected, abs=1e-10)
    in_float32 = SimilarityRows(teacher.half(), passages, 0.2, (0.6, 0.4)).kl(z.float(), DIMS)
    assert float(in_float32) == pytest.approx(expected, abs=5e-3)


def test_row_kl_has_the_gradient_of_its_definition() -> None:
    teacher = F.normalize(random(7, 12), dim=1)
    rows = SimilarityRows(teacher, 4, 0.2, (0.6, 0.4))
    z = random(7, 8, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rows.kl(x, DIMS), z)
    assert torch.autograd.gradcheck(lambda x: 3 * rows.kl(x * 2, DIMS) ** 2, z)


def test_row_kl_of_the_teacher_itself_is_nothing_and_needs_no_gradient() -> None:
    teacher = F.normalize(random(9, 8), dim=1)
    rows = SimilarityRows(teacher, 5, 0.05, (1.0, 1.0))
    assert float(rows.kl(teacher, {8: 1.0})) == pytest.approx(0, abs=1e-12)
    assert not rows.kl(teacher, {8: 1.0}).requires_grad


def test_score_kl_is_its_definition() -> None:
    scores, teacher = random(5, 4), random(5, 4, seed=1)
    expected = 0.0
    for row in range(5):
        p, q = softmax(teacher[row].numpy() / 0.3), softmax(scores[row].numpy() / 0.7)
        expected += (p * np.log(p / q)).sum() / 5
    found = score_kl(scores, teacher, temperature=0.7, teacher_temperature=0.3)
    assert float(found) == pytest.approx(expected, abs=1e-12)


def test_contrastive_leaves_out_passages_that_the_teacher_takes_for_answers() -> None:
    teacher = F.normalize(random(9, 4), dim=1)
    queries, positives = torch.tensor([6, 8, 5]), torch.tensor([2, 0, 2])
    z = random(9, 8, seed=1)
    mask = contrastive_mask(teacher, queries, positives, 5, 0.9)
    expected = 0.0
    for query, own in zip(queries.tolist(), positives.tolist(), strict=True):
        similarity = (teacher[query] @ teacher[:5].T).numpy()
        kept = [p for p in range(5) if p == own or similarity[p] <= 0.9 * similarity[own]]
        assert mask[queries.tolist().index(query)].nonzero().flatten().tolist() == kept
        for size, weight in DIMS.items():
            v = unit(z.numpy()[:, :size])
            expected -= weight * np.log(softmax(v[query] @ v[kept].T / 0.1)[kept.index(own)]) / 3
    assert not bool(mask.all())
    found = contrastive_loss(z, queries, positives, mask, temperature=0.1, dims=DIMS)
    assert float(found) == pytest.approx(expected, abs=1e-10)


def test_contrastive_without_a_query_is_nothing_and_has_a_gradient() -> None:
    z = random(4, 8).requires_grad_()
    none = torch.empty(0, dtype=torch.int64)
    mask = contrastive_mask(F.normalize(z.detach(), dim=1), none, none, 4, 0.9)
    loss = contrastive_loss(z, none, none, mask, temperature=0.1, dims=DIMS)
    loss.backward()
    assert float(loss.detach()) == 0
    assert z.grad is not None
    assert not z.grad.any()


def test_self_distillation_teaches_the_shallower_exits_only() -> None:
    dense = {d: F.normalize(random(6, 8, seed=d), dim=1).requires_grad_() for d in (1, 3, 6)}
    options = SelfDistillationOptions(weight=1.0, kl=0.5, temperature=0.2)
    loss = self_distillation_loss(dense, 4, options, DIMS)
    deepest = dense[6].detach()
    expected = 0.0
    for depth in (1, 3):
        expected += float(cosine_loss(dense[depth].detach(), deepest, DIMS)) / 2
        v = unit(deepest.numpy())
        expected += 0.5 * naive_kl(v, dense[depth].detach().numpy(), 4, 0.2, (0.5, 0.5)) / 2
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-10)
    loss.backward()
    assert dense[6].grad is None
    assert dense[1].grad is not None


@pytest.mark.parametrize("tile_tokens", [1, 7, 1000])
def test_maxsim_is_its_definition_whatever_the_tiles(tile_tokens: int) -> None:
    query_lengths, passage_lengths = [3, 1, 5], [6, 4, 4, 1]
    queries = F.normalize(random(9, 4), dim=1).requires_grad_()
    passages = F.normalize(random(15, 4, seed=1), dim=1).requires_grad_()

    def scores(q: Tensor, p: Tensor) -> Tensor:
        return maxsim_scores(q, query_lengths, p, passage_lengths, tile_tokens=tile_tokens)

    rows = [
        torch.stack([(q @ p.T).amax(1).mean() for p in passages.split(passage_lengths)])
        for q in queries.split(query_lengths)
    ]
    assert torch.allclose(scores(queries, passages), torch.stack(rows), atol=1e-12)
    weights = random(3, 4, seed=2)
    found = torch.autograd.grad((scores(queries, passages) * weights).sum(), (queries, passages))
    expected = torch.autograd.grad((torch.stack(rows) * weights).sum(), (queries, passages))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_sparse_parts_are_their_definitions() -> None:
    vectors = random(5, 6).abs()
    expected = sum(float(vectors[:, j].mean()) ** 2 for j in range(6))
    assert float(flops_loss(vectors)) == pytest.approx(expected)
    scores, teacher = random(3, 4), random(3, 4, seed=1)
    squares = []
    for row in range(3):
        best = int(teacher[row].argmax())
        for other in set(range(4)) - {best}:
            wanted = 20 * float(teacher[row, best] - teacher[row, other])
            squares.append((float(scores[row, best] - scores[row, other]) - wanted) ** 2)
    assert float(margin_mse(scores, teacher, 20)) == pytest.approx(np.mean(squares))
    assert [ramp(p, 0.5) for p in (0.0, 0.25, 0.5, 1.0)] == [0, 0.25, 1, 1]
    assert ramp(0.0, 0.0) == 1
    bag = bag_of_pieces(
        torch.tensor([0, 4, 4, 2, 0, 5, 2]), torch.tensor([0, 0, 0, 0, 1, 1, 1]), 2, 6, (0, 2)
    )
    assert bag.tolist() == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    pool = small_pool(tmp_path_factory.mktemp("objectives"), batch_tokens=1200, passage_share=1.0)
    return Planner(pool.prepare(), pool.options, seed=0).next()


@pytest.fixture
def model(tmp_path: Path) -> TAESRModel:
    torch.manual_seed(0)
    config = dataclasses.replace(small_pool(tmp_path).config, sparse_head=True, late_size=8)
    return TAESRModel(config)


def objectives(options: ObjectiveOptions, **changes: object) -> Objectives:
    values = {"matryoshka_weights": {8: 0.5, 16: 0.5}, "depth_weights": {1: 1.0, 3: 2.0}} | changes
    return Objectives(options, **values)


EVERYTHING = ObjectiveOptions(
    cosine=CosineOptions(weight=0.5),
    kl=KLOptions(weight=2.0, dims={8: 1.0}),
    contrastive=ContrastiveOptions(weight=0.3),
    self_distillation=SelfDistillationOptions(weight=0.2, kl=0.1),
    late=LateOptions(weight=0.7, queries=8, passages=6),
    sparse=SparseOptions(weight=0.4, margin_mse=0.1, max_tokens=600),
)


def test_the_parts_are_weighted_over_depths_as_asked(model: TAESRModel, batch: Batch) -> None:
    parts = objectives(EVERYTHING)(model, batch, [1, 3])
    dense = {d: out.dense for d, out in model.packed(batch.packed, [1, 3]).items()}
    share = {1: 1 / 3, 3: 2 / 3}
    dims = {8: 0.5, 16: 0.5}
    rows = SimilarityRows(batch.teacher, batch.passages, 0.05, (0.6, 0.4))
    mask = contrastive_mask(batch.teacher, batch.queries, batch.positives, batch.passages, 0.95)
    expected = {
        "cosine": sum(0.5 * share[d] * cosine_loss(z, batch.target, dims) for d, z in dense.items()),
        "kl": sum(2.0 * share[d] * rows.kl(z, {8: 1.0}) for d, z in dense.items()),
        "contrastive": sum(
            0.3
            * share[d]
            * contrastive_loss(z, batch.queries, batch.positives, mask, temperature=0.05, dims=dims)
            for d, z in dense.items()
        ),
        "self_distillation": 0.2
        * self_distillation_loss(dense, batch.passages, EVERYTHING.self_distillation, dims),
    }
    for name, value in expected.items():
        assert torch.allclose(parts[name], value, rtol=1e-4), name
    assert set(parts) == {*expected, "late", "sparse", "sparse_idf", "flops"}
    assert all(part.isfinite() and part.ndim == 0 for part in parts.values())


def test_every_parameter_learns_from_the_whole(model: TAESRModel, batch: Batch) -> None:
    sum(objectives(EVERYTHING)(model, batch, [1, 3]).values()).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    unused = {f"shared.{k}.recursion.{r}" for k in range(2) for r in range(3, 6)}
    assert [n for n in still if not any(n.startswith(u) for u in unused)] == []


def test_the_same_batch_gives_the_same_loss_again(model: TAESRModel, batch: Batch) -> None:
    one, other = (objectives(EVERYTHING)(model, batch, [1, 3]) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_few_steps_lower_each_part(model: TAESRModel, batch: Batch) -> None:
    whole = objectives(EVERYTHING)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    history = []
    for _ in range(15):
        parts = whole(model, batch, [1, 3])
        history.append({name: float(part.detach()) for name, part in parts.items()})
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
    for name in ("cosine", "kl", "contrastive", "late", "sparse"):
        assert history[-1][name] < history[0][name], name


def test_flops_grow_with_the_progress_of_the_training(model: TAESRModel, batch: Batch) -> None:
    whole = objectives(ObjectiveOptions(sparse=SparseOptions(weight=1.0, ramp=0.5)))
    cost = [float(whole(model, batch, [1], progress)["flops"]) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert cost[0] == 0
    assert cost[2] > 0
    assert cost[1] == pytest.approx(cost[2] / 4)
    assert cost[3] == pytest.approx(cost[2])


def test_heads_learn_at_the_deepest_depth_or_at_all(model: TAESRModel, batch: Batch) -> None:
    late = LateOptions(weight=1.0, queries=8, passages=6)
    deepest = objectives(ObjectiveOptions(late=late))(model, batch, [1, 3])["late"]
    alone = {d: objectives(ObjectiveOptions(late=late))(model, batch, [d])["late"] for d in (1, 3)}
    every = objectives(ObjectiveOptions(late=dataclasses.replace(late, every_depth=True)))(
        model, batch, [1, 3]
    )
    assert torch.allclose(deepest, alone[3])
    assert torch.allclose(every["late"], alone[1] / 3 + alone[3] * 2 / 3)


def test_late_scores_leave_out_the_special_tokens(model: TAESRModel, batch: Batch) -> None:
    options = LateOptions(weight=1.0, queries=8, passages=6)
    found = objectives(ObjectiveOptions(late=options))(model, batch, [3])["late"]
    hidden = model.packed(batch.packed, [3])[3].hidden
    vectors = F.normalize(hidden @ model.get_parameter("late.weight").T, dim=1)
    offsets = torch.as_tensor(batch.packed.offsets).tolist()
    asking, passages = sample_texts(batch, queries=8, passages=6)

    def inner(place: int) -> Tensor:
        return vectors[offsets[place] + 1 : offsets[place + 1] - 1]

    scores = torch.stack(
        [torch.stack([(inner(q) @ inner(p).T).amax(1).mean() for p in passages]) for q in asking]
    )
    teacher = batch.teacher[asking].float() @ batch.teacher[passages].float().T
    assert torch.allclose(
        found, score_kl(scores, teacher, temperature=0.02, teacher_temperature=0.05), rtol=1e-3
    )


def test_a_batch_without_queries_still_gives_heads_their_zero_gradients(
    model: TAESRModel, batch: Batch
) -> None:
    alone = dataclasses.replace(
        batch, passages=len(batch.texts), queries=batch.queries[:0], positives=batch.positives[:0]
    )
    parts = objectives(EVERYTHING)(model, alone, [1])
    assert float(parts["late"]) == float(parts["sparse"]) == 0
    sum(parts.values()).backward()
    assert model.get_parameter("late.weight").grad is not None
    assert model.get_parameter("sparse.idf").grad is not None


def test_what_does_not_fit_is_refused(tmp_path: Path, model: TAESRModel, batch: Batch) -> None:
    with pytest.raises(InvalidArgument, match="every weight is 0"):
        ObjectiveOptions(cosine=CosineOptions(weight=0), kl=KLOptions(weight=0))
    with pytest.raises(InvalidArgument, match=r"depth_weights gives depths \[2\] no weight"):
        objectives(ObjectiveOptions())(model, batch, [2])
    with pytest.raises(InvalidArgument, match="names a slice of 32; allowed: 1 to embedding_size 16"):
        objectives(ObjectiveOptions(kl=KLOptions(dims={32: 1.0})))(model, batch, [1])
    plain = TAESRModel(small_pool(tmp_path).config)
    with pytest.raises(InvalidArgument, match="set late_size"):
        objectives(ObjectiveOptions(late=LateOptions(weight=1.0)))(plain, batch, [1])
    with pytest.raises(InvalidArgument, match="set sparse_head"):
        objectives(ObjectiveOptions(sparse=SparseOptions(weight=1.0)))(plain, batch, [1])
