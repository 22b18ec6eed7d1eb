"""The GPU's engine gives what the model on the CPU does, at mixed depths, for all shapes and roles."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

import taesr
from taesr import InvalidArgument, TAESRConfig
from taesr._native import core
from taesr.nn import PackedBatch, TAESRModel

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")

LENGTHS = [300, 1, 513, 128, 2, 16, 17, 64, 65, 5, 90]
DEPTHS = [6, 1, 3, 1, 6, 3, 1, 6, 1, 2, 1]
SHAPES: dict[str, dict[str, Any]] = {
    "middle_cycle": {},
    "sequence": {"sharing": "middle_sequence"},
    "heads of 64": {"num_attention_heads": 2},
    "heads of 16": {"num_attention_heads": 8},
    "expert_choice": {"token_routing": "expert_choice", "token_capacity": [1.0, 0.6, 0.2]},
    "token_choice": {"token_routing": "token_choice"},
    "width 96": {"hidden_size": 96, "num_attention_heads": 3},
}


def model_of(**fields: Any) -> TAESRModel:
    """Every weight at random."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 500, "hidden_size": 128, "intermediate_size": 512}
    sizes |= {"num_attention_heads": 4, "max_position_embeddings": 520, "embedding_size": 64}
    sizes |= {"matryoshka_dimensions": [32, 64], "refinement_layers": 1}
    model = TAESRModel(TAESRConfig(**(sizes | fields)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter += 0.05 * torch.randn_like(parameter)
    return model


def batch_of(lengths: list[int]) -> PackedBatch:
    generator = torch.Generator().manual_seed(1)
    offsets = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    tokens = torch.randint(4, 500, (offsets[-1],), generator=generator)
    return PackedBatch(tokens, offsets, torch.randint(0, 2, (len(lengths),), generator=generator))


def engine_of(model: TAESRModel, precision: str) -> core.DeviceEngine:
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return core.DeviceEngine(model.config.native, weights, precision, "cuda")


def expected_of(model: TAESRModel, batch: PackedBatch, depths: list[int]) -> torch.Tensor:
    """By the differentiable model on the CPU, each depth in a pass of its own."""
    with torch.no_grad():
        by_depth = model.packed(batch, sorted(set(depths)))
        return torch.stack([by_depth[depth].dense[i] for i, depth in enumerate(depths)])


def embed(engine: core.DeviceEngine, batch: PackedBatch, depths: list[int], *, routed: bool) -> torch.Tensor:
    return engine.embed(batch.tokens, list(batch.offsets), batch.roles, depths, routed).cpu()


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_equals_the_model_on_the_cpu(shape: str, routed: bool) -> None:
    model, batch = model_of(**SHAPES[shape]), batch_of(LENGTHS)
    found = embed(engine_of(model, "float32"), batch, DEPTHS, routed=routed)
    torch.testing.assert_close(found, expected_of(model, batch, DEPTHS), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", [name for name in SHAPES if "choice" not in name])
def test_half_precision_stays_near(shape: str, precision: str) -> None:
    model, batch = model_of(**SHAPES[shape]), batch_of(LENGTHS)
    expected = expected_of(model, batch, DEPTHS)
    for routed in (False, True):
        found = embed(engine_of(model, precision), batch, DEPTHS, routed=routed)
        assert float(F.cosine_similarity(found, expected).min()) > 0.999


@pytest.mark.parametrize("shape", ["expert_choice", "token_choice"])
def test_routed_tokens_in_half_precision_stay_near(shape: str) -> None:
    """A token whose score is near another's may be routed otherwise after rounding: most texts agree."""
    model, batch = model_of(**SHAPES[shape]), batch_of(LENGTHS)
    found = embed(engine_of(model, "bfloat16"), batch, DEPTHS, routed=False)
    similarity = F.cosine_similarity(found, expected_of(model, batch, DEPTHS))
    assert float(similarity.median()) > 0.99


def test_a_text_does_not_depend_on_its_batch_mates() -> None:
    model, batch = model_of(), batch_of(LENGTHS)
    engine = engine_of(model, "bfloat16")
    together = embed(engine, batch, DEPTHS, routed=True)
    for i, depth in enumerate(DEPTHS):
        span = slice(batch.offsets[i], batch.offsets[i + 1])
        alone = PackedBatch(batch.tokens[span], [0, LENGTHS[i]], batch.roles[i : i + 1])
        single = embed(engine, alone, [depth], routed=False)
        assert float((single[0] * together[i]).sum()) > 1 - 1e-4


def test_ids_and_depths_out_of_range_are_refused() -> None:
    engine, batch = engine_of(model_of(), "bfloat16"), batch_of([3])
    with pytest.raises(InvalidArgument, match="token ids"):
        engine.embed(batch.tokens + 500, list(batch.offsets), batch.roles, [1], False)
    with pytest.raises(InvalidArgument, match="depth"):
        engine.embed(batch.tokens, list(batch.offsets), batch.roles, [7], False)
    with pytest.raises(InvalidArgument, match="depths for"):
        engine.embed(batch.tokens, list(batch.offsets), batch.roles, [1, 1], False)


# The public encoder.

TEXTS = ["reset password", "", "one two three " * 400, "a", "how do I restore a snapshot?"] + [
    f"text number {i} " * (1 + i % 60) for i in range(90)
]


@pytest.fixture(scope="module")
def pair() -> tuple[taesr.Encoder, taesr.Encoder]:
    return taesr.Encoder.load(precision="float32"), taesr.Encoder.load(device="cuda")


def test_the_encoder_on_a_gpu_says_what_it_is(pair: tuple[taesr.Encoder, taesr.Encoder]) -> None:
    cpu, gpu = pair
    assert (cpu.device, gpu.device, gpu.precision) == ("cpu", "cuda:0", "bfloat16")
    assert cpu.fingerprint == gpu.fingerprint
    with pytest.raises(InvalidArgument, match="cuda:99"):
        taesr.Encoder.load(device="cuda:99")
    with pytest.raises(InvalidArgument, match="int8"):
        taesr.Encoder.load(device="cuda", precision="int8")


@pytest.mark.parametrize("depth", ["easy", "medium", "hard"])
def test_the_encoder_on_a_gpu_equals_the_one_on_the_cpu(
    pair: tuple[taesr.Encoder, taesr.Encoder], depth: str
) -> None:
    cpu, gpu = pair
    expected = cpu.encode(TEXTS, depth=depth)
    found = gpu.encode(TEXTS, depth=depth)
    assert float((expected * found).sum(1).min()) > 0.999
    exact = taesr.Encoder.load(device="cuda", precision="float32").encode(TEXTS, depth=depth)
    assert float((expected * exact).sum(1).min()) > 1 - 1e-5


def test_replayed_graphs_give_what_the_first_pass_gave(pair: tuple[taesr.Encoder, taesr.Encoder]) -> None:
    """The first pass of a shape runs as it is, the second is recorded, later ones are replayed."""
    cpu, gpu = pair
    batches = [["reset password"], ["reset my password now, please"], TEXTS[5:45], TEXTS[3:4], [TEXTS[2]]]
    for batch in batches:
        expected = cpu.encode(batch, role="query", depth="medium")
        rounds = [gpu.encode(batch, role="query", depth="medium") for _ in range(4)]
        for found in rounds:
            assert float((expected * found).sum(1).min()) > 0.999
        for found in rounds[1:]:
            assert float((rounds[0] * found).sum(1).min()) > 1 - 1e-4
    # Other texts of the same shape go through the same graph.
    for text in ("restore snapshot", "delete index", "what is it"):
        expected, found = (e.encode([text], role="query", depth="medium") for e in (cpu, gpu))
        assert float((expected * found).sum()) > 0.999


def test_alone_and_together_are_the_same(pair: tuple[taesr.Encoder, taesr.Encoder]) -> None:
    _, gpu = pair
    together = gpu.encode(TEXTS, depth="hard")
    backwards = gpu.encode(TEXTS[::-1], depth="hard")[::-1]
    assert float((together * backwards).sum(1).min()) > 1 - 1e-4
    for i in (0, 1, 2, 3, 50):
        assert float(gpu.encode([TEXTS[i]], depth="hard")[0] @ together[i]) > 1 - 1e-4


def test_budgets_and_streams_work_on_a_gpu(pair: tuple[taesr.Encoder, taesr.Encoder], tmp_path: Path) -> None:
    cpu, gpu = pair
    budget = 2 * cpu.flops(400, "easy")
    expected = cpu.encode_detailed(TEXTS[3:], max_flops=budget)
    found = gpu.encode_detailed(TEXTS[3:], max_flops=budget)
    assert found.depths == expected.depths
    assert float((expected.embeddings * found.embeddings).sum(1).min()) > 0.999
    hurried = gpu.encode_detailed(TEXTS, deadline_ms=10_000)
    assert not hurried.deadline_missed
    assert hurried.embeddings.shape == (len(TEXTS), gpu.dimension)
