"""The student's space: fitted, saved, taken over by a later run."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.python.training.pools import SmallPool, make_records, small_pool

from taesr import FormatError, InvalidArgument
from taesr.training.kmeans import assign, fit_centroids
from taesr.training.losses.kl import SimilarityRows
from taesr.training.options import SpaceOptions
from taesr.training.planner import Planner
from taesr.training.space import load_space, principal_axes, save_space


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> SmallPool:
    return small_pool(tmp_path_factory.mktemp("space"), records=make_records(topics=20))


def test_principal_axes_are_the_eigenvectors_of_the_second_moment() -> None:
    rows = torch.randn(500, 12, dtype=torch.float64) @ torch.randn(12, 12, dtype=torch.float64)
    axes = principal_axes(rows.float(), 5).double()
    _, _, right = np.linalg.svd(rows.numpy())
    assert np.allclose(np.abs(right[:5] @ axes.numpy()), np.eye(5), atol=1e-3)


def test_the_learned_map_keeps_order_in_small_slices_better_than_principal_axes(pool: SmallPool) -> None:
    loss = {}
    for method in ("pca", "learned"):
        options = dataclasses.replace(pool.space, method=method, steps=100, lr=4e-3, slices=[4, 8, 16])
        data = pool.prepare(space=options)
        teacher = data.vectors.take(np.arange(len(data.role)))
        rows = SimilarityRows(teacher, len(teacher), 0.05, (1.0, 0.0))
        loss[method] = float(rows.kl(data.space.target(teacher), {4: 1.0, 8: 1.0}))
    assert loss["learned"] < 0.97 * loss["pca"]


def test_a_second_run_finds_the_space_and_clusters_of_the_first(pool: SmallPool) -> None:
    first, second = pool.prepare(), pool.prepare()
    assert first.space.projection is not None
    assert torch.equal(first.space.projection, second.space.projection)
    assert np.array_equal(first.cluster, second.cluster)
    assert first.space.means.keys() == {"two"}


def test_another_run_with_the_path_of_a_space_has_its_targets(pool: SmallPool, tmp_path: Path) -> None:
    first = pool.prepare()
    saved = Path(pool.options.cache) / "space.safetensors"
    kept = tmp_path / "space.safetensors"
    kept.write_bytes(saved.read_bytes())
    options = dataclasses.replace(pool.options, cache=str(tmp_path / "elsewhere"))
    space = dataclasses.replace(pool.space, path=str(kept), method="pca")
    second = pool.prepare(data=options, space=space)
    one, other = Planner(first, pool.options, seed=0).next(), Planner(second, options, seed=0).next()
    # Clusters are fitted anew, targets by text are the same.
    targets = dict(zip(one.texts.tolist(), one.target, strict=True))
    shared = [
        (targets[t], v) for t, v in zip(other.texts.tolist(), other.target, strict=True) if t in targets
    ]
    assert shared
    assert all(torch.equal(a, b) for a, b in shared)


def test_a_space_of_other_teachers_is_refused(pool: SmallPool, tmp_path: Path) -> None:
    data = pool.prepare()
    path = tmp_path / "space.safetensors"
    save_space(data.space, pool.teachers, path)
    assert load_space(path, pool.teachers, [24, 16]).projection is not None
    one, two = pool.teachers
    for teachers, widths, message in [
        ([two, one], [16, 24], r"was made with the teachers one .weight 1., two .weight 1."),
        ([one], [24], "was made with the teachers"),
        ([dataclasses.replace(one, weight=0.5), two], [24, 16], "was made with the teachers"),
        (
            [one, dataclasses.replace(two, center=False)],
            [24, 16],
            r"has means of \['two'\], the run centres none",
        ),
        ([one, two], [20, 16], "the projection is"),
    ]:
        with pytest.raises(FormatError, match=message):
            load_space(path, teachers, widths)


def test_dimensions_must_fit_teachers_and_model(pool: SmallPool) -> None:
    with pytest.raises(InvalidArgument, match=r"space\.dimensions is 8; the model's embedding_size is 16"):
        pool.prepare(space=dataclasses.replace(pool.space, dimensions=8, slices=[8]))
    with pytest.raises(InvalidArgument, match=r"method none leaves the teachers' 40"):
        pool.prepare(space=dataclasses.replace(pool.space, method="none"))
    with pytest.raises(InvalidArgument, match="slices is"):
        SpaceOptions(dimensions=8, slices=[16])


def test_method_none_leaves_the_joined_vector(tmp_path: Path) -> None:
    pool = small_pool(tmp_path)
    config = dataclasses.replace(pool.config, embedding_size=40, matryoshka_dimensions=[40])
    space = SpaceOptions(dimensions=40, method="none", slices=[40])
    data = pool.prepare(space=space, config=config)
    batch = Planner(data, pool.options, seed=0).next()
    assert torch.allclose(batch.target, batch.teacher.float(), atol=1e-3)
    again = pool.prepare(space=space, config=config)
    assert again.space.projection is None


def test_k_means_finds_well_separated_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.eye(8), dim=1)
    owner = torch.arange(8).repeat(50)
    rows = torch.nn.functional.normalize(
        centres[owner] + 0.05 * torch.randn(400, 8, generator=generator), dim=1
    )
    found = assign(rows, fit_centroids(rows, 8))
    for cluster in range(8):
        assert len(set(found[owner == cluster].tolist())) == 1
    assert len(set(found.tolist())) == 8


def test_texts_that_do_not_fit_the_models_positions_are_refused(pool: SmallPool) -> None:
    config = dataclasses.replace(pool.config, max_position_embeddings=100)
    with pytest.raises(InvalidArgument, match="up to 120 tokens do not fit max_position_embeddings 100"):
        pool.prepare(config=config)
