"""Arithmetic by formula against what PyTorch counts."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from taesr.errors import InvalidArgument
from taesr.evaluation.flops import text_flops


@dataclasses.dataclass
class Shape:
    """A config with every part."""

    hidden_size: int = 8
    intermediate_size: int = 20
    shared_layers: int = 2
    entry_layers: int = 1
    exit_layers: int = 2
    refinement_layers: int = 3
    embedding_size: int = 6
    vocab_size: int = 50
    late_size: int = 4
    max_position_embeddings: int = 16
    token_routing: str = "none"
    token_capacity: list[float] = dataclasses.field(default_factory=list)


def _layer(shape: Shape, x: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """One layer of `x` [n, h] over keys and values of `visible` [m, h], which are there already."""
    h, f = shape.hidden_size, shape.intermediate_size
    query, _, _ = (x @ torch.ones(h, 3 * h)).split(h, dim=1)
    attended = torch.softmax(query @ visible.T, -1) @ visible
    x = x + attended @ torch.ones(h, h)
    return x + (x @ torch.ones(h, f)) @ torch.ones(f, h)


def _counted(shape: Shape, tokens: int, depth: int, outputs: tuple[str, ...]) -> int:
    """Run the encoder in plain PyTorch under the counter; kept tokens are the first ones."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        x = torch.ones(tokens + 2, shape.hidden_size)
        for _ in range(shape.entry_layers):
            x = _layer(shape, x, x)
        for recursion in range(depth):
            kept = tokens + 2
            if shape.token_routing == "expert_choice":
                share = shape.token_capacity[min(recursion, len(shape.token_capacity) - 1)]
                kept = -int(-share * (tokens + 2) // 1)
            for _ in range(shape.shared_layers):
                x = torch.cat([_layer(shape, x[:kept], x), x[kept:]])
        for _ in range(shape.exit_layers + (shape.refinement_layers if depth > 1 else 0)):
            x = _layer(shape, x, x)
        if "dense" in outputs:
            x.mean(0, keepdim=True) @ torch.ones(shape.hidden_size, shape.embedding_size)
        if "sparse" in outputs:
            x @ torch.ones(shape.hidden_size, shape.hidden_size)
            x @ torch.ones(shape.hidden_size, shape.vocab_size)
        if "late" in outputs:
            x @ torch.ones(shape.hidden_size, shape.late_size)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("depth", [1, 6])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"entry_layers": 0, "exit_layers": 0, "refinement_layers": 0},
        {"token_routing": "expert_choice", "token_capacity": [1.0, 0.5, 0.3]},
    ],
    ids=["middle", "cycle", "expert choice"],
)
@pytest.mark.parametrize("outputs", [("dense",), ("dense", "sparse", "late")], ids=str)
def test_formula_is_what_pytorch_counts(
    changes: dict[str, Any], depth: int, outputs: tuple[str, ...]
) -> None:
    shape = Shape(**changes)
    found = text_flops(shape, [3, 11], [depth, depth], outputs=outputs)
    assert found.tolist() == [_counted(shape, tokens, depth, outputs) for tokens in (3, 11)]


def test_windows_are_counted_and_a_truncated_end_is_not() -> None:
    shape = Shape()
    full = text_flops(shape, [14], [3])
    assert text_flops(shape, [100], [3]).tolist() == full.tolist()
    assert text_flops(shape, [100], [3], windows=[9]).tolist() == (9 * full).tolist()


def test_token_choice_is_the_upper_bound() -> None:
    routed = Shape(token_routing="token_choice", token_capacity=[1.0, 0.5])
    assert text_flops(routed, [9], [6]).tolist() == text_flops(Shape(), [9], [6]).tolist()


def test_shares_that_were_measured_replace_the_upper_bound() -> None:
    routed = Shape(token_routing="token_choice")
    expert = Shape(token_routing="expert_choice", token_capacity=[1.0, 0.5, 0.25])
    shares = [1.0, 0.5, 0.25, 0.25]  # of 8 tokens: whole numbers, as expert choice has them
    measured = text_flops(routed, [6], [4], active_share=shares)
    assert measured.tolist() == text_flops(expert, [6], [4]).tolist()
    with pytest.raises(InvalidArgument, match="active_share has 4 values; allowed: at least 5"):
        text_flops(routed, [6], [5], active_share=shares)


def test_config_without_newer_fields_has_one_entry_and_one_exit_layer() -> None:
    older = SimpleNamespace(
        hidden_size=8, intermediate_size=20, shared_layers=2, embedding_size=6, max_position_embeddings=16
    )
    shape = Shape(exit_layers=1, refinement_layers=0)
    assert text_flops(older, [5], [3]).tolist() == text_flops(shape, [5], [3]).tolist()


def test_no_texts_have_no_flops() -> None:
    assert text_flops(Shape(), [], []).tolist() == []


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="output 'colbert' is not one of dense, sparse, late"):
        text_flops(Shape(), [1], [1], outputs=("colbert",))
    with pytest.raises(InvalidArgument, match="2 token counts, 1 depths, 2 windows"):
        text_flops(Shape(), [1, 2], [1])


def test_bundled_model_does_the_arithmetic_that_the_formula_says() -> None:
    from taesr import TAESRModel

    model = TAESRModel.from_pretrained()
    tokens = torch.arange(4, 41)[None]
    for depth in (1, 3):
        # The mathematical attention kernel is made of products that the counter sees.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(tokens, depth=depth)
        assert counter.get_total_flops() == text_flops(model.config, [35], [depth])[0]
