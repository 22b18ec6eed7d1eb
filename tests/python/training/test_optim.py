"""Optimisers, the average of the weights, and steps that are skipped."""

import copy

import pytest
import torch
from torch import nn

from taesr import Error
from taesr.training.config import OptimizerOptions
from taesr.training.ema import MovingAverage
from taesr.training.optim import Muon, Optimizers, decay_groups, orthogonal
from taesr.training.precision import MOST_SKIPPED, Precision

CPU = torch.device("cpu")
TAKEN = torch.zeros(())
SKIPPED = torch.ones(())


def parameters(seed: int = 0) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "embeddings.token.weight": (11, 6),
        "embeddings.norm.weight": (6,),
        "entry.0.attention.qkv.weight": (18, 6),
        "entry.0.attention.qkv.bias": (18,),
        "shared.0.mlp.up.weight": (12, 6),
        "head.weight": (5, 6),
        "head.bias": (5,),
    }
    return {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def fill_gradients(named: dict[str, nn.Parameter], seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in named.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_only_matrices_decay() -> None:
    named = parameters()
    groups = decay_groups(named.values(), 0.1)
    decayed = {id(p) for p in groups[0]["params"]}
    assert groups[0]["weight_decay"] == 0.1
    assert groups[1]["weight_decay"] == 0.0
    for name, parameter in named.items():
        assert (id(parameter) in decayed) == (parameter.ndim == 2), name


def test_muon_takes_the_matrices_of_the_layers_only() -> None:
    named = parameters()
    first, second = Optimizers(named.items(), OptimizerOptions(name="muon"))
    chosen = {id(p) for p in second.param_groups[0]["params"]}
    assert {name for name, p in named.items() if id(p) in chosen} == {
        "entry.0.attention.qkv.weight",
        "shared.0.mlp.up.weight",
    }
    assert sum(len(group["params"]) for group in first.param_groups) == len(named) - 2


def test_frozen_parameters_are_in_no_optimiser() -> None:
    named = parameters()
    named["head.weight"].requires_grad_(False)
    optimizers = Optimizers(named.items(), OptimizerOptions())
    assert all(p is not named["head.weight"] for p in optimizers.parameters)


def test_adamw_takes_the_step_of_pytorch() -> None:
    named, expected = parameters(), parameters()
    options = OptimizerOptions(lr=0.01, weight_decay=0.1, betas=(0.8, 0.9))
    ours = Optimizers(named.items(), options)
    theirs = torch.optim.AdamW(
        [
            {"params": [p for p in expected.values() if p.ndim == 2], "weight_decay": 0.1},
            {"params": [p for p in expected.values() if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=0.005,
        betas=(0.8, 0.9),
    )
    for seed in range(3):
        fill_gradients(named, seed)
        fill_gradients(expected, seed)
        ours.step(0.5, TAKEN)
        theirs.step()
    for name, parameter in named.items():
        torch.testing.assert_close(parameter, expected[name])


def test_newton_schulz_brings_singular_values_near_one() -> None:
    matrices = torch.randn(3, 24, 16, generator=torch.Generator().manual_seed(0))
    for shape in (matrices, matrices.mT.contiguous()):
        values = torch.linalg.svdvals(orthogonal(shape))
        assert float(values.min()) > 0.6
        assert float(values.max()) < 1.3


def test_muon_steps_along_the_orthogonal_factor_and_splits_queries_keys_and_values() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.zeros(24, 8))
    weight.grad = torch.randn(24, 8, generator=generator)
    optimizer = Muon([weight], lr=0.1, momentum=0.0, weight_decay=0.0)
    optimizer.step()
    for part, gradient in zip(weight.detach().split(8), weight.grad.split(8), strict=True):
        u, _, v = torch.linalg.svd(gradient)
        direction = -part / (0.1 * 0.2 * 8**0.5)
        cosine = nn.functional.cosine_similarity(direction.flatten(), (u @ v).flatten(), dim=0)
        assert float(cosine) > 0.95


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_skipped_step_changes_nothing(name: str) -> None:
    named = parameters()
    optimizers = Optimizers(named.items(), OptimizerOptions(name=name))  # type: ignore[arg-type]
    fill_gradients(named)
    optimizers.step(1.0, TAKEN)
    weights, state = copy.deepcopy(list(named.values())), copy.deepcopy(optimizers.state())
    for parameter in named.values():
        parameter.grad = torch.full_like(parameter, float("nan"))
    optimizers.step(1.0, SKIPPED)
    for before, after in zip(weights, named.values(), strict=True):
        assert torch.equal(before, after)
    for kind, by_name in optimizers.state().items():
        for parameter_name, values in by_name.items():
            for key, value in values.items():
                assert torch.equal(value, state[kind][parameter_name][key]), (parameter_name, key)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_goes_on_where_it_was(name: str) -> None:
    options = OptimizerOptions(name=name)  # type: ignore[arg-type]
    named = parameters()
    optimizers = Optimizers(named.items(), options)
    fill_gradients(named)
    optimizers.step(1.0, TAKEN)
    other = {key: nn.Parameter(p.detach().clone()) for key, p in named.items()}
    restored = Optimizers(other.items(), options)
    restored.load_state(optimizers.state())
    for both, todo in ((named, optimizers), (other, restored)):
        fill_gradients(both, 5)
        todo.step(1.0, TAKEN)
    for key in named:
        assert torch.equal(named[key], other[key]), key


def test_gradients_are_clipped_to_the_length_asked_for() -> None:
    named = parameters()
    optimizers = Optimizers(named.items(), OptimizerOptions())
    precision = Precision("fp32", 0.5, CPU)
    fill_gradients(named)
    gradients = [p.grad.clone() for p in named.values() if p.grad is not None]
    length = torch.cat([g.flatten() for g in gradients]).norm()
    seen: list[torch.Tensor] = []
    for parameter in named.values():
        parameter.register_hook(lambda g: g)
    original = optimizers.step
    optimizers.step = lambda share, skip: (  # type: ignore[method-assign]
        seen.extend(p.grad.clone() for p in named.values() if p.grad is not None),
        original(share, skip),
    )[1]
    norm = precision.step(optimizers, 1.0)
    assert float(norm) == pytest.approx(float(length))
    assert float(torch.cat([g.flatten() for g in seen]).norm()) == pytest.approx(0.5, rel=1e-4)
    assert all(p.grad is None for p in named.values())


def test_steps_without_finite_gradients_are_counted_and_many_in_a_row_end_the_run() -> None:
    named = parameters()
    optimizers = Optimizers(named.items(), OptimizerOptions())
    precision = Precision("bf16", 1.0, CPU)

    def step(*, finite: bool) -> None:
        fill_gradients(named)
        if not finite:
            named["head.bias"].grad = torch.full((5,), float("inf"))
        precision.step(optimizers, 1.0)

    for finite in (True, False, False, True):
        step(finite=finite)
    assert precision.check() == 2
    assert precision.check() == 0
    for _ in range(MOST_SKIPPED - 1):
        step(finite=False)
    assert precision.check() == MOST_SKIPPED - 1
    step(finite=False)
    with pytest.raises(Error, match=r"20 steps in a row; lower optimizer\.lr"):
        precision.check()
    assert all(bool(p.isfinite().all()) for p in named.values())


def test_fp16_scales_the_loss_and_backs_off_when_it_overflows() -> None:
    named = parameters()
    optimizers = Optimizers(named.items(), OptimizerOptions(clip=None))
    precision = Precision("fp16", None, CPU)
    scale = precision.scaler.get_scale()
    precision.backward(sum(p.sum() for p in named.values()))  # type: ignore[arg-type]
    assert float(named["head.bias"].grad[0]) == scale  # type: ignore[index]
    before = named["head.bias"].detach().clone()
    precision.step(optimizers, 1.0)
    assert not torch.equal(before, named["head.bias"])
    precision.backward(sum(p.sum() for p in named.values()) * float("inf"))  # type: ignore[arg-type]
    before = named["head.bias"].detach().clone()
    precision.step(optimizers, 1.0)
    assert torch.equal(before, named["head.bias"])
    assert precision.scaler.get_scale() == scale / 2
    again = Precision("fp16", None, CPU)
    again.load_state(precision.state())
    assert again.scaler.get_scale() == scale / 2


def test_the_average_follows_its_formula() -> None:
    named = parameters()
    average = MovingAverage(named.items(), 0.75)
    expected = {name: p.detach().clone() for name, p in named.items()}
    for step in range(1, 40):
        decay = min(0.75, (1 + step) / (10 + step))
        for name, parameter in named.items():
            parameter.data.add_(0.1)
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
        average.update(step)
    for name, value in average.state().items():
        torch.testing.assert_close(value, expected[name])
    other = MovingAverage(parameters(3).items(), 0.75)
    other.load_state(average.state())
    assert all(torch.equal(value, other.state()[name]) for name, value in average.state().items())
