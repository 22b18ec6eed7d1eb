"""Token routing in training: which tokens go on, what teaches the router, what holds it to its target."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.python.small_models import TOKENIZER, small_config
from tests.python.training.pools import SmallPool, small_pool
from tests.python.training.runs import config_of, document_of, losses_of, python, rows_of

import taesr
from taesr import InvalidArgument, TAESRConfig, TAESRModel
from taesr._native import core
from taesr.nn import PackedBatch
from taesr.training import train
from taesr.training.capacity import capacity_now, target_now
from taesr.training.distributed import World
from taesr.training.losses.routing import balancing_loss, z_loss
from taesr.training.objective_options import TokenRoutingOptions
from taesr.training.routing import RoutedTokens, TokenBalancer

EXPERT: dict[str, Any] = {"token_routing": "expert_choice", "token_capacity": [1.0, 0.6, 0.3]}
TOKEN: dict[str, Any] = {"token_routing": "token_choice"}
LENGTHS = [3, 10, 1, 20]

# Each process writes what it counted, and the bias that came of it.
_BIASES = """
import json, sys, torch
from taesr.training import TrainConfig, Trainer
from taesr.training.capacity import target_now
from taesr.training.distributed import World
from taesr.training.sharding import whole
config = TrainConfig.from_dict(json.loads(sys.argv[1]))
with World.join("cpu") as world, Trainer(config, world) as trainer:
    steps, balancer, model = [], trainer.state.balancer, trainer.state.model
    move = balancer.step
    def keep(done):
        routed = balancer._routed
        target = target_now(config.objectives.token_routing, model.config, done)
        steps.append({"target": target, "seen": routed.seen, "active": routed.active})
        return move(done)
    balancer.step = keep
    for _ in range(4):
        trainer._step()
    bias = whole(model.get_parameter("token_router.bias").detach()).clone()
    torch.save({"bias": bias, "steps": steps}, f"{sys.argv[2]}/{world.rank}.pt")
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> SmallPool:
    small = small_pool(tmp_path_factory.mktemp("pool"))
    small.prepare()
    return small


def make_model(*, seed: int = 0, **fields: Any) -> TAESRModel:
    """In float64; the router, which begins at zero, is random too."""
    torch.manual_seed(seed)
    steps = {"easy": 1, "medium": 2, "hard": 3}
    config = small_config(vocab_size=60, recursion_steps=steps, matryoshka_dimensions=[16], **fields)
    model = TAESRModel(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        if fields.get("token_routing") == "token_choice":
            model.get_parameter("token_router.bias").fill_(0.5)  # some of the tokens go on to the end
    return model


def make_batch(lengths: list[int], *, seed: int = 1) -> PackedBatch:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 60, (sum(lengths),), generator=generator)
    offsets = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    return PackedBatch(tokens, offsets, torch.zeros(len(lengths), dtype=torch.int64))


def active_by_text(batch: PackedBatch, active: torch.Tensor) -> list[int]:
    return torch.bincount(batch.layout.sequence[active], minlength=len(batch)).tolist()


@pytest.mark.parametrize("fields", [{**EXPERT, "token_capacity": [1.0]}, TOKEN], ids=["expert", "token"])
def test_full_capacity_and_a_router_of_zeros_is_the_plain_model(fields: dict[str, Any]) -> None:
    routed, plain = make_model(**fields), make_model()
    with torch.no_grad():
        routed.get_parameter("token_router.weight").zero_()
    weights = routed.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    batch = make_batch(LENGTHS)
    with torch.no_grad():
        for depth in (1, 3):
            found = routed.packed(batch, [depth])[depth].hidden
            torch.testing.assert_close(found, plain.packed(batch, [depth])[depth].hidden, atol=1e-12, rtol=0)


def test_capacity_is_of_the_true_length_of_each_text_whatever_else_is_in_the_batch() -> None:
    model = make_model(**EXPERT)
    batch = make_batch(LENGTHS)
    starts = torch.tensor(batch.offsets[:-1])
    with torch.no_grad():
        together = model.packed(batch, [3])[3].routing
    for recursion, share in zip(together, EXPERT["token_capacity"], strict=True):
        wanted = [math.ceil(share * length - 1e-9) for length in LENGTHS]
        assert active_by_text(batch, recursion.active) == wanted
    for i, (first, last) in enumerate(zip(batch.offsets, batch.offsets[1:], strict=False)):
        alone = PackedBatch(batch.tokens[first:last], [0, last - first], batch.roles[:1])
        with torch.no_grad():
            routing = model.packed(alone, [3])[3].routing
        for one, all_texts in zip(routing, together, strict=True):
            mine = all_texts.active[batch.layout.sequence[all_texts.active] == i] - starts[i]
            assert torch.equal(one.active, mine)


@pytest.mark.parametrize("fields", [EXPERT, TOKEN], ids=["expert", "token"])
def test_tokens_that_stopped_never_go_on_again(fields: dict[str, Any]) -> None:
    with torch.no_grad():
        routing = make_model(**fields).packed(make_batch(LENGTHS), [3])[3].routing
    sets = [set(recursion.active.tolist()) for recursion in routing]
    assert sets[2] <= sets[1] <= sets[0]
    assert 0 < len(sets[2]) < len(sets[0])


def test_capacities_that_rise_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"'token_capacity' is 0\.7; allowed after a smaller share"):
        TAESRConfig(token_routing="expert_choice", token_capacity=[1.0, 0.5, 0.7])


def test_active_tokens_see_the_keys_and_values_of_those_that_stopped() -> None:
    alone: dict[str, Any] = {"sharing": "cycle", "entry_layers": 0, "exit_layers": 0}
    model = make_model(token_routing="expert_choice", token_capacity=[0.5], **alone)
    batch = make_batch([10])
    with torch.no_grad():
        before = model.packed(batch, [2])[2]
        active = before.routing[1].active
        stopped = [row for row in range(10) if row not in before.routing[0].active.tolist()]
        assert torch.equal(before.hidden[stopped], before.entry[stopped])
        # The state of one that never went on: only attention can carry it to others.
        model.get_parameter("embeddings.position.weight")[stopped[0], ::2] += 1e-3
        after = model.packed(batch, [2])[2]
    assert torch.equal(after.routing[1].active, active)
    assert (after.hidden[active] - before.hidden[active]).abs().amax(1).min() > 1e-7
    assert torch.equal(after.hidden[stopped[1:]], before.hidden[stopped[1:]])


@pytest.mark.parametrize("fields", [EXPERT, TOKEN], ids=["expert", "token"])
def test_every_recursion_of_the_router_gets_a_gradient(fields: dict[str, Any]) -> None:
    model = make_model(**fields)
    model.packed(make_batch(LENGTHS), [3])[3].dense.square().cumsum(1).sum().backward()
    gradient = model.get_parameter("token_router.weight").grad
    assert gradient is not None
    assert (gradient.abs().amax(1) > 1e-6).all()


def test_scores_above_zero_learn_too() -> None:
    model = make_model(**TOKEN)
    with torch.no_grad():
        model.get_parameter("token_router.bias").zero_()  # none below zero goes on
    output = model.packed(make_batch(LENGTHS), [1])[1]
    output.routing[0].scores.retain_grad()
    output.dense.square().cumsum(1).sum().backward()
    gradient = output.routing[0].scores.grad
    assert gradient is not None
    assert (gradient[output.routing[0].active].abs() > 1e-9).all()
    assert int((gradient != 0).sum()) == len(output.routing[0].active) > 0


def test_capacities_fall_from_one_along_half_a_cosine() -> None:
    options = TokenRoutingOptions(warmup=0.5, target=[1.0, 0.4])
    expert, token = make_model(**EXPERT).config, make_model(**TOKEN).config
    assert capacity_now(options, expert, 0.0) == [1.0, 1.0, 1.0]
    assert capacity_now(options, expert, 0.25) == pytest.approx([1.0, 0.8, 0.65])
    assert capacity_now(options, expert, 0.5) == capacity_now(options, expert, 1.0) == [1.0, 0.6, 0.3]
    assert capacity_now(options, token, 0.0) is None
    assert target_now(options, token, 1.0) == [1.0, 0.4, 0.4]
    assert target_now(TokenRoutingOptions(), token, 1.0) == pytest.approx([1, 2 / 3, 1 / 3])
    assert capacity_now(TokenRoutingOptions(warmup=0), expert, 0.0) == [1.0, 0.6, 0.3]


def test_capacity_of_a_pass_replaces_that_of_the_config() -> None:
    model, batch = make_model(**EXPERT), make_batch([10, 20])
    with torch.no_grad():
        assert model.packed(batch, [3], token_capacity=[1.0, 0.8])[3].active_share == (1.0, 0.8, 0.8)
        assert model.packed(batch, [3])[3].active_share == (1.0, 0.6, 0.3)


def test_balancing_loss_is_its_definition() -> None:
    model, batch, target = make_model(**TOKEN), make_batch(LENGTHS), [0.9, 0.5, 0.2]
    with torch.no_grad():
        model.get_parameter("token_router.bias").copy_(torch.tensor([0.3, 0.6, 0.5]))
    routing = model.packed(batch, [3])[3].routing
    bias = model.get_parameter("token_router.bias")
    found = balancing_loss(routing, bias, target)
    expected, squares, before, asked = 0.0, [], list(range(sum(LENGTHS))), 1.0
    for r, wanted in enumerate(target):
        scores = [float(routing[r].scores[i].detach()) for i in before]
        chance = sum(1 / (1 + math.exp(-(s + float(bias[r])))) for s in scores) / len(scores)
        going, c = len(routing[r].active) / len(before), wanted / asked
        switch = going * chance / c + (1 - going) * (1 - chance) / (1 - c)
        expected += c * (1 - c) * switch / 3
        squares.append(sum(s * s for s in scores) / len(scores))
        before, asked = routing[r].active.tolist(), wanted
    assert float(found) == pytest.approx(expected, rel=1e-9)
    assert float(z_loss(routing)) == pytest.approx(sum(squares) / 3, rel=1e-9)


def test_balancing_loss_moves_the_observed_share_to_its_target() -> None:
    model, batch, target = make_model(seed=3, **TOKEN), make_batch([24] * 8), [1.0, 0.6, 0.3]
    with torch.no_grad():
        model.get_parameter("token_router.bias").zero_()
    router = [p for n, p in model.named_parameters() if n.startswith("token_router.")]
    optimizer = torch.optim.Adam(router, lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        routing = model.packed(batch, [3])[3].routing
        balancing_loss(routing, model.get_parameter("token_router.bias"), target).backward()
        optimizer.step()
    assert model.packed(batch, [3])[3].active_share == pytest.approx(target, abs=0.06)


def test_loss_free_bias_moves_the_observed_share_to_its_target_without_a_gradient() -> None:
    model, batch, target = make_model(seed=3, **TOKEN), make_batch([24] * 8), [0.8, 0.5, 0.25]
    routed, options = RoutedTokens(), TokenRoutingOptions(target=target, rate=0.02, warmup=0.0)
    balancer = TokenBalancer(model, routed, options, World(0, 1, torch.device("cpu")))
    before = model.packed(batch, [3])[3].active_share
    assert max(abs(a - b) for a, b in zip(before, target, strict=True)) > 0.15
    for _ in range(150):
        output = model.packed(batch, [3])[3]
        routed.add(output.active_share, len(batch.tokens))
        figures = balancer.step(1.0)
    assert output.active_share == pytest.approx(target, abs=0.07)
    assert float(figures["active_share"]) == pytest.approx(sum(output.active_share) / 3)
    assert not model.get_parameter("token_router.bias").requires_grad
    output.dense.sum().backward()
    assert model.get_parameter("token_router.bias").grad is None


def test_loss_free_bias_moves_only_for_the_recursions_of_the_step() -> None:
    model = make_model(**TOKEN)
    routed, options = RoutedTokens(), TokenRoutingOptions(target=[0.9, 0.5], rate=0.1, warmup=0.0)
    balancer = TokenBalancer(model, routed, options, World(0, 1, torch.device("cpu")))
    routed.add((0.95,), 100)
    routed.add((0.81,), 300)  # together below 0.9
    balancer.step(1.0)
    assert model.get_parameter("token_router.bias").tolist() == pytest.approx([0.6, 0.5, 0.5])
    balancer.step(1.0)  # nothing was routed since
    routed.add((0.9, 0.6, 0.5), 100)
    balancer.step(1.0)
    assert model.get_parameter("token_router.bias").tolist() == pytest.approx([0.6, 0.4, 0.5])


def test_frozen_bias_stays() -> None:
    model = make_model(**TOKEN)
    model.get_parameter("token_router.bias").requires_grad_(False)
    routed = RoutedTokens()
    balancer = TokenBalancer(model, routed, TokenRoutingOptions(rate=0.1), World(0, 1, torch.device("cpu")))
    routed.add((0.1, 0.1, 0.1), 100)
    balancer.step(1.0)
    assert model.get_parameter("token_router.bias").tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives__token_routing__target": [0.5, 0.7]}, r"rising\) is 0.7; allowed: 0.001 to 0.5"),
        ({"objectives__token_routing__target": [0.5]}, "token_routing 'none'; allowed: with 'token_choice'"),
        ({"objectives__token_routing__z_loss": 0.1}, "z_loss is 0.1, and the model has no token routing"),
        ({"objectives__token_routing__balance": "lossless"}, "lossless"),
        ({"objectives__token_routing__rate": -1}, "rate is -1; allowed: 0 to 1"),
        ({"model__config__token_routing": "token_choice", "objectives__token_routing__target": [1, 1, 1, 1]},
         "target has 4 values; allowed: 0 to 3"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, pool: SmallPool, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        config_of(pool, tmp_path, **changes)


def routed_run(pool: SmallPool, output: Path, kind: str, **more: Any) -> dict[str, Any]:
    changes: dict[str, Any] = {"depths": [{"depths": [1, 3]}], "objectives__token_routing__rate": 0.05}
    fields = EXPERT if kind == "expert" else TOKEN
    changes |= {f"model__config__{name}": value for name, value in fields.items()}
    if kind == "loss":
        changes["objectives__token_routing__balance"] = "loss"
    return document_of(pool, output, **changes, **more)


@pytest.mark.parametrize("kind", ["expert", "loss_free", "loss"])
def test_routed_models_train_save_load_and_encode(tmp_path: Path, pool: SmallPool, kind: str) -> None:
    document = routed_run(pool, tmp_path / kind, kind, objectives__token_routing__z_loss=1e-3)
    result = train(taesr.training.TrainConfig.from_dict(document))
    assert result.model is not None
    rows = rows_of(tmp_path / kind)
    assert all(0 < row["active_share"] <= 1 and row["router_z"] >= 0 for row in rows)
    assert all(("balance" in row) == (kind == "loss") for row in rows)
    model = TAESRModel.from_pretrained(result.model)
    assert model.get_parameter("token_router.weight").any()
    if kind == "loss_free":
        assert model.get_parameter("token_router.bias").any()
    shutil.copyfile(TOKENIZER, result.model / "tokenizer.model")
    texts = ["river stone bread", "a garden in winter, with a window and a candle"]
    encoder = taesr.Encoder.load(result.model, precision="float32")
    found = torch.from_numpy(encoder.encode(texts, role="passage", depth="hard"))
    with torch.no_grad():
        for text, vector in zip(texts, found, strict=True):
            ids = [model.config.bos_id, *core.Tokenizer.load(TOKENIZER).encode(text), model.config.eos_id]
            wanted = model(torch.tensor([ids]), role="passage", depth="hard").pooler_output[0]
            torch.testing.assert_close(vector, wanted, atol=2e-5, rtol=0)


def test_loss_free_run_goes_on_exactly_after_a_stop(tmp_path: Path, pool: SmallPool) -> None:
    for output, stops in (("whole", [6]), ("stopped", [3, 6])):
        for steps in stops:
            schedule = {"kind": "wsd", "warmup": 2, "decay": 0.0, "tokens": None, "steps": steps}
            document = routed_run(
                pool, tmp_path / output, "loss_free", schedule=schedule, objectives__token_routing__warmup=0.0
            )
            train(taesr.training.TrainConfig.from_dict(document))
    assert losses_of(tmp_path / "whole") == losses_of(tmp_path / "stopped")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_move_the_bias_by_the_tokens_of_both(
    tmp_path: Path, pool: SmallPool, strategy: str
) -> None:
    document = routed_run(pool, tmp_path / "run", "loss_free", distributed__strategy=strategy)
    (tmp_path / "bias.py").write_text(_BIASES)
    process = python(str(tmp_path / "bias.py"), json.dumps(document), str(tmp_path), processes=2)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.equal(ranks[0]["bias"], ranks[1]["bias"])
    expected = torch.zeros(3)
    for own, other in zip(ranks[0]["steps"], ranks[1]["steps"], strict=True):
        assert own["target"] == other["target"]
        for r, (a, b) in enumerate(zip(own["active"], other["active"], strict=True)):
            share = (a + b) / (own["seen"][r] + other["seen"][r])
            expected[r] += 0.05 * ((own["target"][r] > share + 1e-7) - (own["target"][r] < share - 1e-7))
    torch.testing.assert_close(ranks[0]["bias"], expected, atol=1e-6, rtol=0)
    assert expected.any()
