"""The encoder on a GPU, with the library's own kernels, is the encoder on the CPU."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from taesr.config import TAESRConfig
from taesr.nn import PackedBatch, TAESRModel, sparse_embedding

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")

# Long, middling and short texts, as batches order them; one token; a full window; one above it.
_ORDERED = [300, 200, 140, 129, 128, 100, 90, 70, 65, 64, 50, 40, 13, 9, 5, 3, 2, 1]
_SHAPES = {
    "ordered": _ORDERED,
    "short first": _ORDERED[::-1],
    "mixed": _ORDERED[::2] + _ORDERED[1::2],
    "one token": [1],
    "513 tokens": [513],
    "short only": [7] * 40 + [1],
}


def _model() -> TAESRModel:
    torch.manual_seed(0)
    return TAESRModel(
        TAESRConfig(
            vocab_size=500,
            hidden_size=128,
            intermediate_size=512,
            num_attention_heads=4,
            max_position_embeddings=520,
            embedding_size=64,
            matryoshka_dimensions=[32, 64],
            refinement_layers=1,
            sparse_head=True,
        )
    )


def _batch(lengths: list[int], device: str) -> PackedBatch:
    generator = torch.Generator().manual_seed(len(lengths))
    offsets = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    tokens = torch.randint(4, 500, (offsets[-1],), generator=generator)
    roles = torch.randint(0, 2, (len(lengths),), generator=generator)
    return PackedBatch(tokens, offsets, roles).to(device)


def _run(
    lengths: list[int], device: str, dtype: torch.dtype | None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Embeddings at depths 1 and 3, and the gradients of a sum that weighs them."""
    model = _model().to(device)
    outputs = model.packed(_batch(lengths, device), [1, 3], dtype=dtype)
    dense = torch.stack([output.dense for output in outputs.values()])
    weights = torch.randn(dense.shape, generator=torch.Generator().manual_seed(1)).to(device)
    (dense * weights).sum().backward()
    gradients = {name: p.grad.float().cpu() for name, p in model.named_parameters() if p.grad is not None}
    return dense.detach().float().cpu(), gradients


@pytest.mark.parametrize("name", _SHAPES)
def test_float32_equals_the_cpu(name: str) -> None:
    expected, gradients = _run(_SHAPES[name], "cpu", None)
    found, found_gradients = _run(_SHAPES[name], "cuda", None)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(
            found_gradients[parameter], gradient, rtol=2e-2, atol=2e-3 * float(gradient.abs().max() + 1e-3)
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", _SHAPES)
def test_half_precision_stays_near_the_cpu(name: str, dtype: torch.dtype) -> None:
    expected, gradients = _run(_SHAPES[name], "cpu", None)
    found, found_gradients = _run(_SHAPES[name], "cuda", dtype)
    assert float(F.cosine_similarity(found, expected, dim=2).min()) > 0.999
    # All gradients point the same way; those of a single bias are sums in which much cancels.
    together = [
        torch.cat([parts[name].flatten() for name in gradients]) for parts in (gradients, found_gradients)
    ]
    assert float(F.cosine_similarity(*together, dim=0)) > 0.998
    for parameter, gradient in gradients.items():
        if float(gradient.norm()) > 1e-4:
            near = F.cosine_similarity(found_gradients[parameter].flatten(), gradient.flatten(), dim=0)
            assert float(near) > 0.8, parameter


def test_a_text_does_not_depend_on_its_batch_mates() -> None:
    model = _model().cuda()
    with torch.no_grad():
        together = model.packed(_batch(_ORDERED, "cuda"), [3], dtype=torch.bfloat16)[3].dense
        batch = _batch(_ORDERED, "cuda")
        for i in range(len(_ORDERED)):
            span = slice(batch.offsets[i], batch.offsets[i + 1])
            alone = PackedBatch(batch.tokens[span], [0, _ORDERED[i]], batch.roles[i : i + 1])
            single = model.packed(alone, [3], dtype=torch.bfloat16)[3].dense
            assert float((single[0] * together[i]).sum()) > 1 - 1e-4


def test_sparse_vectors_and_their_gradients_equal_the_cpu() -> None:
    results = []
    for device in ("cpu", "cuda"):
        model = _model().to(device)
        batch = _batch(_ORDERED, device)
        hidden = model.packed(batch, [2])[2].hidden
        vectors = sparse_embedding(model, hidden, batch)
        vectors.square().sum().backward()
        table = model.get_parameter("embeddings.token.weight").grad
        assert table is not None
        results.append((vectors.detach().cpu(), table.cpu()))
    (expected, gradient), (found, found_gradient) = results
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert float(F.cosine_similarity(found_gradient.flatten(), gradient.flatten(), dim=0)) > 0.9999
