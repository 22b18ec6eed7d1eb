"""Turning a space so that its slices keep more: the fit, and the model that is written."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from tests.python.small_models import save, small_config, write_release
from tests.python.training.pools import write_word_pool

from taesr import Encoder, InvalidArgument, TAESRModel
from taesr.cli import main
from taesr.training.slices import SliceOptions, fit_rotation, train_slices

QUICK = SliceOptions(queries=150, passages=200, near=40, steps=30, batch=32)


def first_kept(
    queries: npt.NDArray[np.float32],
    passages: npt.NDArray[np.float32],
    turn: npt.NDArray[np.float32],
    dim: int,
) -> float:
    """Share of queries whose nearest passage by a slice is that by the whole."""
    part = [rows @ turn[:, :dim] for rows in (queries, passages)]
    part = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in part]
    return float(((part[0] @ part[1].T).argmax(1) == (queries @ passages.T).argmax(1)).mean())


def test_slices_keep_more_of_a_space_whose_meaning_lies_in_its_last_values() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.1] * 12 + [1.0] * 4)
    queries, passages = (
        F.normalize(torch.randn(n, 16, generator=generator) * scale, dim=1) for n in (300, 200)
    )
    fitted = fit_rotation(queries, passages, [4], SliceOptions(near=40, steps=150, batch=64, lr=2e-2))
    turn = fitted.numpy()
    np.testing.assert_allclose(turn @ turn.T, np.eye(16), atol=1e-5)
    before = first_kept(queries.numpy(), passages.numpy(), np.eye(16, dtype=np.float32), 4)
    after = first_kept(queries.numpy(), passages.numpy(), turn, 4)
    assert before < 0.1
    assert after > 0.4


def test_the_written_model_compares_whole_embeddings_as_before(tmp_path: Path) -> None:
    model, pool = write_release(tmp_path / "model"), write_word_pool(tmp_path / "pool.jsonl")
    found = train_slices(model, [pool], tmp_path / "turned", QUICK, device="cpu")
    assert list(found.before) == list(found.after) == [8, 16]
    assert found.after[16] == pytest.approx(found.before[16], abs=0.02)
    texts = ["river stone", "bread", "a cloud over the garden"]
    old, new = (
        Encoder.load(tmp_path / name, precision="float32").encode(texts) for name in ("model", "turned")
    )
    np.testing.assert_allclose(new @ new.T, old @ old.T, atol=1e-4)
    assert np.abs(new - old).max() > 1e-3, "it has been turned"
    assert (tmp_path / "turned" / "README.md").read_text() == "a card\n"


def test_the_same_seed_gives_the_same_rotation() -> None:
    rows = F.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    options = SliceOptions(near=10, steps=5, batch=16)
    assert torch.equal(fit_rotation(rows, rows, [2, 4], options), fit_rotation(rows, rows, [2, 4], options))


def test_models_without_slices_and_pools_without_parents_are_refused(tmp_path: Path) -> None:
    pool = write_word_pool(tmp_path / "pool.jsonl")
    whole = save(TAESRModel(small_config(matryoshka_dimensions=[16])), tmp_path / "whole")
    with pytest.raises(InvalidArgument, match="has no slices: its matryoshka_dimensions hold none below 16"):
        train_slices(whole, [pool], tmp_path / "out", QUICK)
    lonely = write_word_pool(tmp_path / "lonely.jsonl", parents=False)
    with pytest.raises(InvalidArgument, match="no held-out query names its passage"):
        train_slices(write_release(tmp_path / "model"), [lonely], tmp_path / "out", QUICK)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InvalidArgument, match="near"):
        SliceOptions(near=1)


def test_the_command_writes_a_model_and_prints_what_slices_keep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, pool = write_release(tmp_path / "model"), write_word_pool(tmp_path / "pool.jsonl")
    command = ["train-slices", str(model), "--pool", str(pool), "--output", str(tmp_path / "out")]
    assert main([*command, "--queries", "100", "--passages", "100", "--steps", "3"]) == 0
    assert "8 values:" in capsys.readouterr().out
    assert main([*command, "--queries", "100", "--steps", "3", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"before", "after"}
