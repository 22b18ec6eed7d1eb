"""Two processes on the CPU against one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.python.training.runs import (
    SmallPool,
    config_of,
    document_of,
    losses_of,
    python,
    small_pool,
)

from taesr.nn import TAESRModel
from taesr.training import Trainer
from taesr.training.distributed import World

# Each process makes the gradient of its own batches of one step; the leader saves it whole.
_GRADIENTS = """
import json, sys, torch
from taesr.training import TrainConfig, Trainer
from taesr.training.distributed import World
from taesr.training.sharding import whole
config = TrainConfig.from_dict(json.loads(sys.argv[1]))
with World.join("cpu") as world, Trainer(config, world) as trainer:
    caught = {}
    def keep(share, skip):
        for name, parameter in trainer.state.model.named_parameters():
            if parameter.grad is not None:
                caught[name] = whole(parameter.grad).clone()
    trainer.state.optimizers.step = keep
    trainer._step()
    if world.leads:
        torch.save(caught, sys.argv[2])
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> SmallPool:
    small = small_pool(tmp_path_factory.mktemp("pool"))
    small.prepare()
    return small


def gradients_of_one_process(pool: SmallPool, folder: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """Mean gradient of the batches that two processes would take."""
    from taesr.training.planner import Planner

    config = config_of(pool, folder, **changes)
    with World.join("cpu") as world, Trainer(config, world) as trainer:
        depths, state = trainer._depths(), trainer.state
        batches = config.accumulate * 2
        for rank in (0, 1):
            planner = Planner(pool.prepare(), config.data, seed=config.seed, rank=rank, world=2)
            for _ in range(config.accumulate):
                losses = state.module(planner.next(), depths, 0.0)
                (torch.stack(list(losses.values())).sum() / batches).backward()
            planner.close()
        return {n: p.grad.clone() for n, p in state.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_gradients_of_two_processes_equal_those_of_one(
    tmp_path: Path, pool: SmallPool, strategy: str
) -> None:
    changes: dict[str, Any] = {"accumulate": 2, "optimizer__clip": None}
    expected = gradients_of_one_process(pool, tmp_path / "one", **changes)
    document = document_of(pool, tmp_path / "two", distributed__strategy=strategy, **changes)
    (tmp_path / "gradients.py").write_text(_GRADIENTS)
    process = python(
        str(tmp_path / "gradients.py"), json.dumps(document), str(tmp_path / "two.pt"), processes=2
    )
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    found = torch.load(tmp_path / "two.pt", weights_only=True)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_runs_of_ddp_and_fsdp2_train_the_same_model_and_go_on_after_a_stop(
    tmp_path: Path, pool: SmallPool
) -> None:
    for strategy in ("ddp", "fsdp2"):
        for steps in (3, 5):
            changes: dict[str, Any] = {
                "distributed__strategy": strategy,
                "optimizer__name": "muon",
                "schedule": {"kind": "wsd", "warmup": 2, "decay": 0.0, "steps": steps},
                "export__weights": "float32",
            }
            path = tmp_path / f"{strategy}.json"
            path.write_text(json.dumps(document_of(pool, tmp_path / strategy, **changes)))
            process = python("-m", "taesr", "train", str(path), "--json", processes=2)
            output, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
            assert json.loads(output)["steps"] == steps  # printed once, by the leading process
    ddp, fsdp = losses_of(tmp_path / "ddp"), losses_of(tmp_path / "fsdp2")
    assert list(ddp) == list(fsdp) == [1, 2, 3, 4, 5]
    for step, row in ddp.items():
        assert fsdp[step] == pytest.approx(row, rel=1e-3), step
    one, other = (
        dict(TAESRModel.from_pretrained(tmp_path / strategy / "model").named_parameters())
        for strategy in ("ddp", "fsdp2")
    )
    for name, parameter in one.items():
        torch.testing.assert_close(parameter, other[name], rtol=1e-3, atol=2e-4)


def test_fsdp2_without_torchrun_says_how(tmp_path: Path, pool: SmallPool) -> None:
    from taesr import InvalidArgument

    config = config_of(pool, tmp_path, distributed__strategy="fsdp2")
    with pytest.raises(InvalidArgument, match="needs torchrun"), World.join("cpu") as world:
        Trainer(config, world)
