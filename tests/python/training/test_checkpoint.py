"""Checkpoint folders: whole or absent, and only as many as asked for."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taesr import FormatError, InvalidArgument, IoError
from taesr.training import checkpoint
from taesr.training.checkpoint import CheckpointFolder, CheckpointState


def folder_of(path: Path, **keep: int) -> CheckpointFolder:
    return CheckpointFolder(path / "checkpoints", **({"keep_last": 2, "keep_best": 1} | keep))


def state(value: float = 1.0) -> CheckpointState:
    return CheckpointState(
        model={"head.weight": torch.full((2, 3), value)},
        ema={"head.weight": torch.full((2, 3), value / 2)},
        training={"optimizers": {"adamw": {"head.weight": {"step": torch.tensor(value)}}}, "precision": {}},
        process={"random": checkpoint.random_state(), "planner": {"epoch": 0, "batch": 3}},
    )


def write(folder: CheckpointFolder, step: int, score: float | None = None) -> None:
    folder.begin(step)
    checkpoint.write_shared(folder.partial(step), state(float(step)))
    checkpoint.write_process(folder.partial(step), 0, state().process)
    folder.finish(step, score, {"tokens": 10 * step, "seconds": 0.5})


def steps_of(folder: CheckpointFolder) -> list[int]:
    return [item.step for item in folder.all()]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    write(folder, 7, 0.25)
    (found,) = folder.all()
    assert (found.step, found.score, found.facts["tokens"]) == (7, 0.25, 70)
    read = checkpoint.read(found, rank=0, processes=1, with_ema=True)
    assert torch.equal(read.model["head.weight"], torch.full((2, 3), 7.0))
    assert torch.equal(read.ema["head.weight"], torch.full((2, 3), 3.5))
    assert read.training["optimizers"]["adamw"]["head.weight"]["step"] == 7.0
    assert read.process["planner"] == {"epoch": 0, "batch": 3}


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, keep_last=2, keep_best=2)
    for step, score in ((1, 0.1), (2, 0.9), (3, None), (4, 0.5), (5, 0.2), (6, None)):
        write(folder, step, score)
    assert steps_of(folder) == [2, 4, 5, 6]


def test_of_equal_scores_the_newer_is_kept(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, keep_last=1, keep_best=1)
    for step in (1, 2, 3):
        write(folder, step, 0.5 if step < 3 else None)
    assert steps_of(folder) == [2, 3]


def test_interrupted_writing_leaves_the_older_checkpoints_and_goes_with_the_next(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    write(folder, 1)
    folder.begin(2)
    checkpoint.write_shared(folder.partial(2), state())  # and here the process dies
    assert steps_of(folder) == [1]
    assert folder.find("auto") == folder.all()[-1]
    write(folder, 3)
    assert sorted(path.name for path in folder.folder.iterdir()) == ["step-00000001", "step-00000003"]


def test_a_step_may_be_written_again(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    write(folder, 1)
    write(folder, 1, 0.5)
    assert [item.score for item in folder.all()] == [0.5]


def test_resume_finds_the_newest_nothing_or_the_one_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert folder.find("auto") is None
    assert folder.find("off") is None
    for step in (1, 2):
        write(folder, step)
    newest, named = folder.find("auto"), folder.find(str(folder.path(1)))
    assert newest is not None
    assert named is not None
    assert (newest.step, named.step) == (2, 1)
    with pytest.raises(InvalidArgument, match="has checkpoints up to step 2"):
        folder.find("off")
    with pytest.raises(IoError, match=r"'.*nowhere' is not a checkpoint: checkpoint\.json: No such file"):
        folder.find(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"step": "x", "score": 1}'])
def test_a_damaged_description_is_named(tmp_path: Path, content: str) -> None:
    folder = folder_of(tmp_path)
    write(folder, 1)
    (folder.path(1) / "checkpoint.json").write_text(content)
    with pytest.raises(FormatError, match=r"checkpoint\.json' is damaged"):
        folder.find("auto")


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "process-0.pt"])
def test_a_damaged_part_is_named(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path)
    write(folder, 1)
    file = folder.path(1) / name
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises((FormatError, IoError), match=name):
        checkpoint.read(folder.all()[0], rank=0, processes=1, with_ema=True)


def test_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    write(folder, 1)
    with pytest.raises(InvalidArgument, match="written by 1 processes and this run has 2"):
        checkpoint.read(folder.all()[0], rank=0, processes=2, with_ema=True)


def test_a_checkpoint_without_an_average_says_so(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    write(folder, 1)
    (folder.path(1) / "ema.safetensors").unlink()
    with pytest.raises(InvalidArgument, match="no average of the weights; set ema to 0"):
        checkpoint.read(folder.all()[0], rank=0, processes=1, with_ema=True)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(IoError, match="cannot write checkpoints in"):
        folder_of(tmp_path).begin(1)


def test_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    def draw() -> list[Any]:
        return [random.random(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(()))]

    np.random.randn()  # half of a pair: the other half is part of the state
    torch.save(checkpoint.random_state(), tmp_path / "state.pt")
    expected = draw()
    draw()
    checkpoint.set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw() == expected
