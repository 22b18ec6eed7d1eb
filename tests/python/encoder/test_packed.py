"""The packed forward pass of every shape, held to plain PyTorch and its derivatives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from taesr import InvalidArgument, TAESRConfig, TAESRModel
from taesr._native import core
from taesr.nn import PackedBatch
from tests.python.reference_encoder import Reference
from tests.python.small_models import small_config

TEXTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15, 16, 17], [18], [19, 20]]
ROLES = ["passage", "query", "query", "passage"]
DEPTHS = [1, 2, 4]


def config(**fields: Any) -> TAESRConfig:
    sizes = {"intermediate_size": 24, "embedding_size": 12, "matryoshka_dimensions": [4, 12]}
    return small_config(vocab_size=50, **sizes, **fields)


ALONE = {"entry_layers": 0, "exit_layers": 0}
SHAPES = {
    "middle_cycle": config(),
    "middle_cycle_refined": config(entry_layers=2, refinement_layers=2, exit_layers=2),
    "one_shared_layer": config(shared_layers=1, refinement_layers=1),
    "nothing_around_the_middle": config(shared_layers=3, **ALONE),
    "cycle": config(sharing="cycle", **ALONE),
    "middle_sequence": config(sharing="middle_sequence", refinement_layers=1),
    "sequence": config(sharing="sequence", shared_layers=3, **ALONE),
    "expert_choice": config(token_routing="expert_choice", token_capacity=[1.0, 0.7, 0.3]),
    "expert_choice_cycle": config(
        sharing="cycle", token_routing="expert_choice", token_capacity=[0.5], **ALONE
    ),
    "token_choice": config(token_routing="token_choice", refinement_layers=1),
}
ROUTED = ["expert_choice", "expert_choice_cycle", "token_choice"]


def model(shape: str) -> TAESRModel:
    """In float64, every weight at random: nothing hides behind a zero or a one."""
    torch.manual_seed(3)
    made = TAESRModel(SHAPES[shape]).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return made


def packed(texts: list[list[int]], roles: list[str]) -> PackedBatch:
    offsets = [0]
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    return PackedBatch(
        torch.tensor([token for text in texts for token in text]),
        offsets,
        torch.tensor([int(role == "query") for role in roles]),
    )


def reference_of(made: TAESRModel) -> tuple[Reference, dict[str, torch.Tensor]]:
    weights = {name: p.detach().clone().requires_grad_() for name, p in made.named_parameters()}
    return Reference(made.config, weights), weights


def each_depth(outputs: dict[int, Any], value: Callable[[Any], torch.Tensor]) -> torch.Tensor:
    return torch.stack([value(outputs[depth]) for depth in DEPTHS])


@pytest.mark.parametrize("shape", SHAPES)
def test_states_and_embeddings_are_those_of_plain_pytorch(shape: str) -> None:
    made = model(shape)
    reference, _ = reference_of(made)
    outputs = made.packed(packed(TEXTS, ROLES), DEPTHS)
    for depth, output in outputs.items():
        each = [reference.hidden(text, role, depth) for text, role in zip(TEXTS, ROLES, strict=True)]
        torch.testing.assert_close(output.hidden, torch.cat(each), atol=1e-10, rtol=1e-9)
        torch.testing.assert_close(
            output.pooled, torch.stack([x.mean(0) for x in each]), atol=1e-10, rtol=1e-9
        )
        dense = torch.stack([reference.dense(t, role, depth) for t, role in zip(TEXTS, ROLES, strict=True)])
        torch.testing.assert_close(output.dense, dense, atol=1e-10, rtol=1e-9)
        entries = torch.cat([reference.entry(t, role) for t, role in zip(TEXTS, ROLES, strict=True)])
        torch.testing.assert_close(output.entry, entries, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("checkpoint_layers", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_plain_pytorch(shape: str, checkpoint_layers: bool) -> None:
    made = model(shape)
    reference, weights = reference_of(made)
    torch.manual_seed(4)
    target = torch.randn(len(DEPTHS), len(TEXTS), 12, dtype=torch.float64)
    outputs = made.packed(packed(TEXTS, ROLES), DEPTHS, checkpoint_layers=checkpoint_layers)
    (each_depth(outputs, lambda output: output.dense) * target).sum().backward()
    expected = [
        torch.stack([reference.dense(t, role, depth) for t, role in zip(TEXTS, ROLES, strict=True)])
        for depth in DEPTHS
    ]
    (torch.stack(expected) * target).sum().backward()
    for name, parameter in made.named_parameters():
        wanted = weights[name].grad
        if wanted is None:  # of nothing that these depths use
            assert parameter.grad is None or not parameter.grad.any(), name
            continue
        assert parameter.grad is not None, name
        torch.testing.assert_close(
            parameter.grad, wanted, atol=1e-9, rtol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_several_depths_in_one_pass_are_each_depth_alone(shape: str) -> None:
    made = model(shape)
    batch = packed(TEXTS, ROLES)
    with torch.no_grad():
        together = made.packed(batch, [4, 1, 2, 1])
        assert list(together) == [4, 1, 2]
        for depth in DEPTHS:
            alone = made.packed(batch, [depth])[depth]
            assert torch.equal(together[depth].hidden, alone.hidden)
            assert torch.equal(together[depth].dense, alone.dense)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_embedding_depends_on_its_own_text_alone(shape: str) -> None:
    made = model(shape)
    with torch.no_grad():
        together = made.packed(packed(TEXTS, ROLES), [4])[4].dense
        backwards = made.packed(packed(TEXTS[::-1], ROLES[::-1]), [4])[4].dense.flip(0)
        alone = torch.cat(
            [made.packed(packed([t], [role]), [4])[4].dense for t, role in zip(TEXTS, ROLES, strict=True)]
        )
    torch.testing.assert_close(together, backwards, atol=1e-12, rtol=0)
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", ["middle_cycle_refined", "middle_sequence"])
def test_depth_one_skips_the_refinement_layers(shape: str) -> None:
    made = model(shape)
    batch = packed(TEXTS, ROLES)
    with torch.no_grad():
        before = made.packed(batch, [1, 2])
        for name, parameter in made.named_parameters():
            if name.startswith("refinement."):
                parameter += 1
        after = made.packed(batch, [1, 2])
    assert torch.equal(before[1].hidden, after[1].hidden)
    assert not torch.allclose(before[2].hidden, after[2].hidden)


def test_checkpointing_keeps_less_for_the_backward_pass() -> None:
    made = model("middle_cycle")
    batch = packed(TEXTS, ROLES)
    sizes = {}
    for checkpoint_layers in (False, True):
        saved: dict[int, int] = {}

        def note(x: torch.Tensor, saved: dict[int, int] = saved) -> torch.Tensor:
            saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            output = made.packed(batch, [4], checkpoint_layers=checkpoint_layers)
        weights = {p.untyped_storage().data_ptr() for p in made.parameters()}
        sizes[checkpoint_layers] = sum(size for at, size in saved.items() if at not in weights)
        assert output[4].dense.requires_grad
    assert sizes[True] < 0.4 * sizes[False]


def test_checkpointing_leaves_frozen_weights_without_gradients() -> None:
    made = model("middle_cycle_refined")
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(not name.startswith(("shared.", "embeddings.")))
    made.packed(packed(TEXTS, ROLES), [4], checkpoint_layers=True)[4].dense.sum().backward()
    for name, parameter in made.named_parameters():
        assert (parameter.grad is None) == name.startswith(("shared.", "embeddings.")), name


@pytest.mark.parametrize("shape", ROUTED)
def test_a_router_of_zeros_and_full_capacity_changes_nothing(shape: str) -> None:
    routed = model(shape)
    with torch.no_grad():
        for name, parameter in routed.named_parameters():
            if name.startswith("token_router."):
                parameter.zero_()
    fields = routed.config.to_dict() | {"token_capacity": [1.0] if shape != "token_choice" else []}
    whole = TAESRModel(TAESRConfig(**fields)).double()
    plain = TAESRModel(TAESRConfig(**fields | {"token_routing": "none", "token_capacity": []})).double()
    whole.load_state_dict(routed.state_dict())
    plain.load_state_dict({n: w for n, w in routed.state_dict().items() if not n.startswith("token_router.")})
    batch = packed(TEXTS, ROLES)
    with torch.no_grad():
        a, b = whole.packed(batch, [1, 4]), plain.packed(batch, [1, 4])
    for depth in (1, 4):
        torch.testing.assert_close(a[depth].hidden, b[depth].hidden, atol=1e-12, rtol=0)
    assert a[4].active_share == (1.0, 1.0, 1.0, 1.0)
    assert b[4].active_share == ()


def test_expert_choice_works_on_the_share_that_the_config_names() -> None:
    output = model("expert_choice").packed(packed(TEXTS, ROLES), [4])[4]
    # Lengths 3, 10, 1, 2; rounded up in each sequence: 3+7+1+2 at 0.7, 1+3+1+1 at 0.3.
    assert output.active_share == (1.0, 13 / 16, 6 / 16, 6 / 16)


def test_tokens_that_stop_never_start_again_in_token_choice() -> None:
    made = model("token_choice")
    shares = made.packed(packed(TEXTS, ROLES), [4])[4].active_share
    assert list(shares) == sorted(shares, reverse=True)
    with torch.no_grad():
        made.get_parameter("token_router.bias").fill_(-1e6)  # all stop at once
        assert made.packed(packed(TEXTS, ROLES), [4])[4].active_share == (0.0, 0.0, 0.0, 0.0)


def test_bfloat16_stays_close_and_its_gradients_are_float32() -> None:
    made = TAESRModel(SHAPES["middle_cycle_refined"])
    batch = packed(TEXTS, ROLES)
    exact = made.packed(batch, [4])[4]
    rough = made.packed(batch, [4], dtype=torch.bfloat16)[4]
    assert rough.hidden.dtype == torch.bfloat16
    assert rough.dense.dtype == torch.float32
    assert torch.cosine_similarity(rough.dense, exact.dense).min() > 0.999
    rough.dense.sum().backward()
    assert {p.grad.dtype for p in made.parameters() if p.grad is not None} == {torch.float32}


@pytest.mark.parametrize("shape", SHAPES)
def test_inference_mode_gives_the_same_on_several_threads(shape: str) -> None:
    made, batch, threads = model(shape), packed(TEXTS, ROLES), torch.get_num_threads()
    with torch.no_grad():
        expected = made.packed(batch, [4])[4].dense
    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            found = made.packed(batch, [4])[4].dense
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_packed_agrees_with_the_padded_interface() -> None:
    made = TAESRModel(SHAPES["middle_cycle"])
    with torch.no_grad():
        padded = made(torch.tensor([TEXTS[1]]), role="query", depth=2)
        output = made.packed(packed([TEXTS[1]], ["query"]), [2])[2]
    assert torch.equal(padded.pooler_output, output.dense)
    assert torch.equal(padded.last_hidden_state[0], output.hidden)


def test_moved_batches_are_the_same_batch() -> None:
    batch = packed(TEXTS, ROLES)
    moved = batch.to("cpu")
    assert len(moved) == 4
    assert moved.offsets == [0, 3, 13, 14, 16]
    assert torch.equal(moved.tokens, batch.tokens)
    from_tensor = PackedBatch(batch.tokens, torch.tensor(batch.offsets), batch.roles)
    assert from_tensor.offsets == batch.offsets
    assert from_tensor.layout.lengths.tolist() == [3, 10, 1, 2]


TOKENS = torch.tensor([5, 6, 7])
ROLE = torch.zeros(1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("tokens", "offsets", "roles", "message"),
    [
        (TOKENS.float(), [0, 3], ROLE, "tokens must be int64"),
        (TOKENS[:0], [0, 0], ROLE, "T at least 1"),
        (TOKENS, [0, 2], ROLE, "number of tokens, 3"),
        (TOKENS, [1, 3], ROLE, "must rise from 0"),
        (TOKENS, [0, 3, 3], ROLE.repeat(2), "must rise from 0"),
        (TOKENS, [0, 4, 3], ROLE.repeat(2), "must rise from 0"),
        (TOKENS, [], ROLE, "must rise from 0"),
        (TOKENS, [0, 3], ROLE.repeat(2), r"roles must be int64 \[1\]"),
    ],
)
def test_batches_that_do_not_fit_are_refused(
    tokens: torch.Tensor, offsets: list[int], roles: torch.Tensor, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        PackedBatch(tokens, offsets, roles)


def test_what_the_model_lacks_is_refused() -> None:
    made = model("middle_cycle")
    for tokens, role, message in [
        ([5, 50], 0, "token ids from 5 to 50; allowed: 0 to 49"),
        ([-1], 0, "token ids from -1"),
        ([5], 2, "roles from 2 to 2; allowed: 0 to 1"),
        ([5] * 25, 0, "25 tokens; allowed: 1 to 24"),
    ]:
        batch = PackedBatch(torch.tensor(tokens), [0, len(tokens)], torch.tensor([role]))
        with pytest.raises(InvalidArgument, match=message):
            made.packed(batch, [1])
    for depths in ([0], [5], [1, -1], []):
        with pytest.raises(InvalidArgument, match="depth"):
            made.packed(packed(TEXTS, ROLES), depths)
    with pytest.raises(InvalidArgument, match="outputs names"):
        made.packed(packed(TEXTS, ROLES), [1], outputs=["densest"])


def test_layouts_of_other_batches_are_refused() -> None:
    made = model("middle_cycle")
    with pytest.raises(InvalidArgument, match="number of tokens"):
        core.encoder_states(
            made.config.native,
            dict(made.named_parameters()),
            TOKENS,
            core.PackedLayout([0, 2], torch.device("cpu")),
            ROLE,
            [1],
            False,
        )
    with pytest.raises(InvalidArgument, match="never fall"):
        core.PackedLayout([0, 3, 2], torch.device("cpu"))
