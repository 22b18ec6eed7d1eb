"""Mixture-of-Recursions in the engine against a plain implementation on whole texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import taesr
from taesr import Decoder
from taesr.decoder import KvCaching
from tests.python.decoder.reference_decoder import LAYERS, logits, random_weights, routed, save

TOKENS = [int(token) for token in torch.randint(0, 50, (40,), generator=torch.Generator().manual_seed(3))]


def routed_weights(unique: int, recursions: int, routing: str, seed: int = 1) -> dict[str, Tensor]:
    """Routers that send some tokens on and let others go at every recursion."""
    generator = torch.Generator().manual_seed(seed)
    weights = random_weights(unique)
    weights["model.router.weight"] = torch.randn(recursions, 24, generator=generator)
    if routing == "token_choice":
        weights["model.router.bias"] = 0.3 * torch.randn(recursions, generator=generator)
    return weights


@pytest.mark.parametrize("kv_caching", ["full", "shared"])
@pytest.mark.parametrize("gate", ["scaled", "preserving"])
@pytest.mark.parametrize("routing", ["expert_choice", "token_choice"])
@pytest.mark.parametrize(("sharing", "recursions"), [("middle_cycle", 2), ("middle_cycle", 4), ("cycle", 3)])
def test_logits_and_memory_equal_the_papers_algorithm(
    tmp_path: Path, sharing: str, recursions: int, routing: str, gate: str, kv_caching: KvCaching
) -> None:
    ends = int(sharing == "middle_cycle")
    layers = 2 * recursions + 2 * ends
    weights = routed_weights(2 + 2 * ends, recursions, routing)
    fields: dict[str, Any] = {"num_hidden_layers": layers, "sharing": sharing, "recursions": recursions}
    folder = save(weights, tmp_path / "m", **fields, routing=routing, gate=gate, gate_scale=0.7)
    decoder = Decoder.load(folder, kv_caching=kv_caching)
    expected = routed(
        weights,
        TOKENS,
        ends=ends,
        recursions=recursions,
        routing=routing,
        gate=gate,
        scale=0.7,
        shared_keys=kv_caching == "shared",
    )
    reached = [int(tokens.sum()) for tokens in expected.reached]
    assert 0 < reached[1] < reached[0] == len(TOKENS)  # the routers do route
    np.testing.assert_allclose(decoder.logits(TOKENS), expected.logits.numpy(), atol=2e-4)
    assert decoder.config.routing == routing
    assert decoder.config.gate == gate
    trace = decoder.trace(TOKENS)
    assert trace.recursions == torch.stack(expected.reached).sum(0).tolist()
    entry = 2 * 2 * 4 * 4  # keys and values of two heads of four numbers
    stored = reached[:1] if kv_caching == "shared" else reached
    assert trace.kv_bytes == entry * (2 * ends * len(TOKENS) + 2 * sum(stored))


def with_markers(weights: dict[str, Tensor], recursions: int, classes: Tensor) -> dict[str, Tensor]:
    """Make token t pass classes[t] recursions: its first numbers say so, and no layer changes them."""
    for name, weight in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight[:recursions] = 0
    depths = torch.arange(recursions)
    weights["model.embed_tokens.weight"][:, :recursions] = (classes[:, None] > depths).float() * 2 - 1
    weights["model.router.weight"] = torch.eye(24)[:recursions].contiguous()
    return weights


@pytest.mark.parametrize("recursions", [2, 3, 4])
def test_memory_and_reads_of_keys_and_values_are_those_of_theory(tmp_path: Path, recursions: int) -> None:
    layers: dict[str, Any] = {"num_hidden_layers": 12, "sharing": "cycle", "recursions": recursions}
    unique = 12 // recursions
    plain = Decoder.load(save(random_weights(unique), tmp_path / "plain", **layers))
    weights = with_markers(random_weights(unique), recursions, 1 + torch.arange(50) % recursions)
    folder = save(weights, tmp_path / "routed", **layers, routing="expert_choice", gate="preserving")
    tokens = list(range(48))  # as many of every depth: capacities 1, (n - 1)/n, ... 1/n
    full = plain.trace(tokens)
    routed_trace = Decoder.load(folder).trace(tokens)
    shared = Decoder.load(folder, kv_caching="shared").trace(tokens)
    assert full.recursions == [recursions] * 48
    assert routed_trace.recursions == shared.recursions == [1 + token % recursions for token in tokens]
    assert full.kv_bytes == full.kv_bytes_read == 12 * 48 * 2 * 2 * 4 * 4
    part = (recursions + 1) / (2 * recursions)
    assert routed_trace.kv_bytes == routed_trace.kv_bytes_read == pytest.approx(part * full.kv_bytes)
    assert shared.kv_bytes * recursions == full.kv_bytes
    assert shared.kv_bytes_read == full.kv_bytes_read


@pytest.mark.parametrize("routing", ["expert_choice", "token_choice"])
@pytest.mark.parametrize("zeros", [True, False])
def test_model_whose_gates_are_1_is_the_plain_recursive_one(
    tmp_path: Path, routing: str, zeros: bool
) -> None:
    recursions = 2
    weights = with_markers(random_weights(4), recursions, torch.full((50,), recursions))
    if zeros:
        weights["model.router.weight"] = torch.zeros(recursions, 24)
    elif routing == "token_choice":
        weights["model.router.weight"] = torch.eye(24)[:recursions].flip(0) * torch.tensor([[-4.0], [4.0]])
    if routing == "token_choice":
        weights["model.router.bias"] = torch.zeros(recursions)
    folder = save(
        weights, tmp_path / "m", sharing="middle_cycle", recursions=2, routing=routing, gate="preserving"
    )
    decoder = Decoder.load(folder)
    assert decoder.trace(TOKENS).recursions == [2] * len(TOKENS)
    plain = {name: weight for name, weight in weights.items() if "router" not in name}
    expected = logits(plain, LAYERS["middle_cycle"], TOKENS)
    np.testing.assert_allclose(decoder.logits(TOKENS), expected.numpy(), atol=1e-4)


def test_impossible_routing_is_named(tmp_path: Path) -> None:
    weights = routed_weights(6, 1, "expert_choice")
    with pytest.raises(
        taesr.InvalidArgument, match="routing expert_choice needs sharing cycle or middle_cycle"
    ):
        Decoder.load(save(weights, tmp_path / "a", routing="expert_choice"))
    with pytest.raises(
        taesr.InvalidArgument, match="routing is 'both'; allowed: none, expert_choice, token_choice"
    ):
        Decoder.load(save(weights, tmp_path / "b", routing="both"))
    fields: dict[str, Any] = {"sharing": "cycle", "recursions": 2, "routing": "token_choice"}
    with pytest.raises(taesr.InvalidArgument, match="gate is 'open'; allowed: scaled, preserving"):
        Decoder.load(save(weights, tmp_path / "c", **fields, gate="open"))
    with pytest.raises(taesr.FormatError, match=r"model\.router\.weight' has shape \[1, 24\]; .* \[2, 24\]"):
        Decoder.load(
            save(random_weights(3) | {"model.router.weight": torch.ones(1, 24)}, tmp_path / "d", **fields)
        )
    with pytest.raises(taesr.FormatError, match=r"model\.router\.bias' is missing"):
        Decoder.load(
            save(random_weights(3) | {"model.router.weight": torch.ones(2, 24)}, tmp_path / "e", **fields)
        )
