"""The trainable decoder against the engine and against the paper's algorithm token by token."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import taesr
from taesr import Decoder
from taesr.nn import DecoderConfig, RecursiveDecoder, shared_weights, token_routing
from taesr.nn.layer_sharing import Initialisation
from tests.python.decoder.reference_decoder import CONFIG, Model

TEXTS = torch.randint(0, 50, (3, 20), generator=torch.Generator().manual_seed(5))


def config(**fields: Any) -> DecoderConfig:
    sizes: dict[str, Any] = {
        "vocab_size": CONFIG["vocab_size"],
        "hidden_size": CONFIG["hidden_size"],
        "intermediate_size": CONFIG["intermediate_size"],
        "layers": 6,
        "heads": CONFIG["num_attention_heads"],
        "kv_heads": CONFIG["num_key_value_heads"],
        "head_dim": 4,
        "max_positions": 128,
        "rope_theta": 1000.0,
    }
    return DecoderConfig(**sizes | fields)


def random_decoder(**fields: Any) -> RecursiveDecoder:
    """Far from its initial weights, so that layers and routers matter."""
    decoder = RecursiveDecoder(config(**fields))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            scale = 1.0 if "router" in name else 0.2
            noise = scale * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + noise if parameter.dim() == 1 else noise)
        if (bias := decoder.state_dict().get("model.router.bias")) is not None:
            bias.copy_(0.3 * torch.randn(decoder.config.recursions, generator=generator))
    return decoder


@pytest.mark.parametrize("kv_caching", ["full", "shared"])
@pytest.mark.parametrize("gate", ["scaled", "preserving"])
@pytest.mark.parametrize("routing", ["none", "expert_choice", "token_choice"])
@pytest.mark.parametrize("sharing", ["cycle", "middle_cycle"])
def test_engine_gives_the_same_logits_for_what_was_saved(
    tmp_path: Path, sharing: str, routing: str, gate: str, kv_caching: Any
) -> None:
    decoder = random_decoder(sharing=sharing, recursions=2, routing=routing, gate=gate, tied_embeddings=False)
    decoder.save(tmp_path / "m")
    engine = Decoder.load(tmp_path / "m", kv_caching=kv_caching)
    output = decoder(TEXTS, shared_keys=kv_caching == "shared")
    for row, text in enumerate(TEXTS.tolist()):
        np.testing.assert_allclose(
            engine.logits(text), decoder.head(output.hidden[row]).detach().numpy(), atol=2e-4
        )
        if routing != "none":
            passed = torch.stack([step.selected[row] for step in output.routing]).sum(0)
            assert engine.trace(text).recursions == passed.tolist()
    assert set(engine.weights()) == set(decoder.state_dict())
    torch.testing.assert_close(RecursiveDecoder.load(tmp_path / "m").state_dict(), decoder.state_dict())


def top_k_reference(
    decoder: RecursiveDecoder, text: list[int], capacity: list[float]
) -> tuple[Tensor, list[list[int]]]:
    """Expert choice of one text, in lists of tokens: logits and who was chosen."""
    model = Model({name: value.detach() for name, value in decoder.state_dict().items()})
    x = model.embed(text)
    everyone = torch.ones(len(text), dtype=torch.bool)
    x = model.apply(0, x, model.keys(0, x), everyone)
    alive, chosen = list(range(len(text))), []
    for r, share in enumerate(capacity):
        score = x @ model.weights["model.router.weight"][r]
        alive = sorted(sorted(alive, key=lambda t: -float(score[t]))[: max(1, int(share * len(text)))])
        chosen.append(alive)
        active = torch.zeros(len(text), dtype=torch.bool)
        active[alive] = True
        y = x
        for layer in (1, 2):
            y = model.apply(layer, y, model.keys(layer, y), active)
        new = x.clone()
        for t in alive:
            new[t] = x[t] + decoder.config.gate_scale * score[t].sigmoid() * y[t]
        x = new
    return model.head(model.apply(3, x, model.keys(3, x), everyone)), chosen


def test_training_chooses_the_best_of_those_that_are_left() -> None:
    capacity = [1.0, 0.55, 0.3]
    decoder = random_decoder(
        sharing="middle_cycle", layers=8, recursions=3, routing="expert_choice", gate_scale=0.6
    )
    output = decoder(TEXTS, capacity=capacity)
    for row, text in enumerate(TEXTS.tolist()):
        expected, chosen = top_k_reference(decoder, text, capacity)
        assert [step.selected[row].nonzero()[:, 0].tolist() for step in output.routing] == chosen
        assert [len(tokens) for tokens in chosen] == [20, 11, 6]
        torch.testing.assert_close(decoder.head(output.hidden[row]).double(), expected, atol=2e-4, rtol=0)


def test_shared_keys_while_training_are_those_of_the_first_recursion() -> None:
    """With capacities of 1 the compact path is the masked one."""
    decoder = random_decoder(sharing="cycle", recursions=2, routing="expert_choice", gate="preserving")
    with torch.no_grad():
        decoder.model.router.weight.zero_()
    compact = decoder(TEXTS, capacity=[1.0, 1.0], shared_keys=True).hidden
    torch.testing.assert_close(compact, decoder(TEXTS, shared_keys=True).hidden)
    assert not torch.allclose(compact, decoder(TEXTS).hidden)


def test_losses_equal_their_formulas() -> None:
    decoder = random_decoder(sharing="cycle", recursions=2, routing="expert_choice")
    routing = decoder(TEXTS, capacity=[1.0, 0.5]).routing
    terms = []
    for step in routing:
        z = step.scores[step.candidates]
        target = step.selected[step.candidates].float()
        p = z.sigmoid()
        terms.append(-(target * p.log() + (1 - target) * (1 - p).log()).mean())
    torch.testing.assert_close(token_routing.auxiliary_loss(routing), sum(terms, torch.zeros(())))
    assert [int(step.candidates.sum()) for step in routing] == [60, 60]
    squares = sum(step.scores[step.candidates].square().mean().item() for step in routing)
    assert token_routing.z_loss(routing).item() == pytest.approx(squares, rel=1e-5)

    chooser = random_decoder(sharing="cycle", layers=6, recursions=3, routing="token_choice")
    routing = chooser(TEXTS).routing
    depth = torch.stack([step.selected for step in routing]).sum(0) - 1
    assert routing[0].choices is not None
    p = routing[0].choices.softmax(-1)
    expected = 3 * sum(((depth == j).float().mean() * p[..., j].mean()).item() for j in range(3))
    assert token_routing.balancing_loss(routing).item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(taesr.InvalidArgument, match="for expert choice"):
        token_routing.auxiliary_loss(routing)
    with pytest.raises(taesr.InvalidArgument, match="no routers"):
        token_routing.balancing_loss([])


def test_bias_without_a_loss_balances_what_tokens_choose() -> None:
    chooser = random_decoder(sharing="cycle", layers=6, recursions=3, routing="token_choice")
    bias = chooser.state_dict()["model.router.bias"]
    bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    with torch.no_grad():
        first = [int(step.selected.sum()) for step in chooser(TEXTS).routing]
        for _ in range(300):
            token_routing.balance_bias(bias, chooser(TEXTS).routing, rate=0.01)
        last = [int(step.selected.sum()) for step in chooser(TEXTS).routing]
    assert first == [60, 0, 0]
    assert last[1] == pytest.approx(40, abs=6)
    assert last[2] == pytest.approx(20, abs=6)


def test_auxiliary_loss_makes_the_sign_of_scores_tell_who_is_chosen() -> None:
    torch.manual_seed(0)
    decoder = random_decoder(sharing="cycle", recursions=2, routing="expert_choice", gate="preserving")
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        output = decoder(TEXTS[:, :-1], capacity=[1.0, 0.5])
        loss = functional.cross_entropy(decoder.head(output.hidden).flatten(0, 1), TEXTS[:, 1:].flatten())
        losses.append(float(loss))
        optimiser.zero_grad()
        torch.autograd.backward(loss + 0.1 * token_routing.auxiliary_loss(output.routing))
        optimiser.step()
    assert losses[-1] < 0.3 * losses[0]
    best = decoder(TEXTS[:, :-1], capacity=[1.0, 0.5]).routing[1].selected
    by_sign = decoder(TEXTS[:, :-1]).routing[1].selected
    assert (best == by_sign).float().mean() > 0.9


@pytest.mark.parametrize(
    ("recursions", "layers", "middle"),
    [
        (2, 30, [1, 3, 5, 7, 9, 11, 13, 16, 18, 20, 22, 24, 26, 28]),
        (3, 29, [1, 4, 8, 11, 14, 17, 20, 24, 27]),
        (4, 30, [1, 6, 10, 14, 19, 24, 28]),
    ],
)
def test_stepwise_layers_are_those_of_the_papers(recursions: int, layers: int, middle: list[int]) -> None:
    plain = {f"model.layers.{i}.mlp.up_proj.weight": torch.full((1, 1), float(i)) for i in range(layers)}
    made = shared_weights(
        plain, config(layers=layers, sharing="middle_cycle", recursions=recursions), "stepwise"
    )
    picked = [int(made[f"model.layers.{i}.mlp.up_proj.weight"]) for i in range(len(made))]
    assert picked == [0, *middle, layers - 1]


def test_shared_weights_of_every_kind_load_and_averages_are_means() -> None:
    source = random_decoder(layers=7).state_dict()
    for sharing in ("cycle", "sequence", "middle_cycle", "middle_sequence"):
        shape = config(sharing=sharing, recursions=2)
        for initialisation in get_args(Initialisation):
            RecursiveDecoder(shape).load_state_dict(shared_weights(source, shape, initialisation))
    six = random_decoder(layers=6).state_dict()
    made = shared_weights(six, config(sharing="cycle", recursions=2), "average")
    name = "mlp.up_proj.weight"
    mean = (six[f"model.layers.1.{name}"] + six[f"model.layers.4.{name}"]) / 2
    torch.testing.assert_close(made[f"model.layers.1.{name}"], mean)
    with pytest.raises(taesr.InvalidArgument, match=r"the weights have 6 layers; config\.layers is 12"):
        shared_weights(six, config(layers=12, sharing="cycle", recursions=2))
    with pytest.raises(taesr.InvalidArgument, match="initialisation is 'best'; allowed: stepwise, average"):
        shared_weights(six, config(sharing="cycle", recursions=2), "best")  # type: ignore[arg-type]


def test_bad_calls_say_what_is_allowed() -> None:
    decoder = random_decoder(sharing="cycle", recursions=2, routing="expert_choice")
    with pytest.raises(taesr.InvalidArgument, match=r"capacity is \[1.0\]; allowed: 2 shares"):
        decoder(TEXTS, capacity=[1.0])
    with pytest.raises(taesr.InvalidArgument, match="first recursion must see all"):
        decoder(TEXTS, capacity=[0.5, 0.5], shared_keys=True)
    with pytest.raises(taesr.InvalidArgument, match=r"input_ids has shape \[3\]"):
        decoder(TEXTS[:, 0])
    with pytest.raises(taesr.InvalidArgument, match="capacity is for routing expert_choice, not none"):
        random_decoder()(TEXTS, capacity=[1.0])
    assert token_routing.default_capacity(4) == [1, 0.75, 0.5, 0.25]
    assert token_routing.warmed_capacity([1, 0.5], 0) == [1, 1]
    assert token_routing.warmed_capacity([1, 0.5], 0.5) == [1, pytest.approx(0.75)]
    assert token_routing.warmed_capacity([1, 0.5], 2) == [1, 0.5]
