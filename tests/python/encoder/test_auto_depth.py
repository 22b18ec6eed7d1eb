"""Depth "auto": the router chooses by text, and what it chose is what one gets at that depth."""

import dataclasses
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from taesr import Encoder, InvalidArgument, TAESRModel
from taesr.nn import PackedBatch, router_features, router_logits
from tests.python.small_models import save, small_config

CONFIG = small_config(sparse_head=True, late_size=6, router_size=8, subspaces={"temporal": 5, "semantic": 7})
WORDS = ["printer", "offline", "password", "reset", "mountain", "weather", "1987", "the", "of", "how", "and"]
LONG = "the weather in the mountains is mild and the printer is offline " * 9


def some_texts(count: int) -> list[str]:
    generator = random.Random(7)
    return [
        "",
        " \n",
        *(" ".join(generator.choices(WORDS, k=generator.randint(1, 16))) for _ in range(count - 2)),
    ]


TEXTS = some_texts(60)


@pytest.fixture(scope="module")
def model(encoder: Encoder) -> TAESRModel:
    """Random, with a router that has sharp and different opinions on TEXTS."""
    torch.manual_seed(1)
    made = TAESRModel(CONFIG)
    weight, bias = (made.get_parameter(f"router.out.{part}") for part in ("weight", "bias"))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        made.get_parameter("sparse.norm.weight").add_(0.7)  # a new head's vectors are nearly empty
        made.get_parameter("sparse.bias").add_(1)
        logits = torch.stack([plain_logits(made, ids_of(encoder, text)) for text in TEXTS])
        weight.mul_(1 / logits.std(0)[:, None])
        bias.copy_((bias - logits.mean(0)) / logits.std(0))
        for parameter in (weight, bias):
            parameter.mul_(3)
    return made


@pytest.fixture(scope="module")
def folder(model: TAESRModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(model, tmp_path_factory.mktemp("routed"))


@pytest.fixture(scope="module")
def routed(folder: Path) -> Encoder:
    return Encoder.load(folder, precision="float32")


def ids_of(encoder: Encoder, text: str) -> list[int]:
    return [CONFIG.bos_id, *encoder.native.tokenizer.encode(text), CONFIG.eos_id]


def plain_logits(model: TAESRModel, ids: list[int]) -> torch.Tensor:
    """The definition, in plain PyTorch but for the entry states."""
    batch = PackedBatch(torch.tensor(ids), [0, len(ids)], torch.zeros(1, dtype=torch.int64))
    entry = model.packed(batch, [1])[1].entry
    features = torch.cat([entry.mean(0), torch.tensor([math.log(len(ids))])])
    w = model.get_parameter
    hidden = F.gelu(w("router.hidden.weight") @ features + w("router.hidden.bias"))
    return w("router.out.weight") @ hidden + w("router.out.bias")


def test_probabilities_are_those_of_the_definition_and_the_depths_follow(
    model: TAESRModel, routed: Encoder
) -> None:
    full = routed.encode_detailed(TEXTS)
    assert full.router_probabilities is not None
    with torch.no_grad():
        expected = (
            torch.stack([plain_logits(model, ids_of(routed, text)) for text in TEXTS]).softmax(1).numpy()
        )
    np.testing.assert_allclose(full.router_probabilities, expected, atol=1e-4)
    sums = full.router_probabilities.astype(np.float64).cumsum(1)
    wanted = [1 if s[0] >= 0.5 else 2 if s[1] >= 0.5 else 4 for s in sums]
    assert full.depths == wanted
    assert len(set(wanted)) > 1, "the test needs texts of several depths"


@pytest.mark.parametrize("role", ["passage", "query"])
def test_each_text_is_what_it_is_alone_at_its_reported_depth(routed: Encoder, role: str) -> None:
    full = routed.encode_full(TEXTS, role=role)
    for i, text in enumerate(TEXTS):
        alone = routed.encode_full(text, role=role, depth=full.depths[i])
        assert float(full.embeddings[i] @ alone.embeddings[0]) >= 1 - 1e-6
        np.testing.assert_allclose(full.late[i], alone.late[0], atol=1e-4)
        weights = [dict(zip(*rows, strict=True)) for rows in (full.sparse.row(i), alone.sparse.row(0))]
        assert len(weights[0]) == 256
        shared = [piece for piece in weights[0] if piece in weights[1]]
        assert len(shared) > 250, "only pieces of equal weight may differ"
        for piece in shared:
            assert weights[0][piece] == pytest.approx(weights[1][piece], abs=1e-4)


def test_batch_mates_and_order_change_nothing(routed: Encoder) -> None:
    full = routed.encode_detailed(TEXTS)
    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    shuffled = routed.encode_detailed([TEXTS[i] for i in order])
    assert shuffled.depths == [full.depths[i] for i in order]
    np.testing.assert_allclose(shuffled.embeddings, full.embeddings[order], atol=1e-5)
    alone = [routed.encode_detailed([text]) for text in TEXTS]
    assert [one.depths[0] for one in alone] == full.depths
    np.testing.assert_allclose(np.vstack([one.embeddings for one in alone]), full.embeddings, atol=1e-5)


def test_a_long_text_takes_the_depth_of_its_deepest_window(model: TAESRModel, routed: Encoder) -> None:
    full = routed.encode_detailed([LONG, "printer", LONG[:300]])
    assert full.windows[0] > 1
    ids = routed.native.tokenizer.encode(LONG)
    size, overlap = routed.max_tokens, routed.max_tokens // 5
    count = math.ceil((len(ids) - overlap) / (size - overlap))
    begins = [i * (len(ids) - size) // (count - 1) for i in range(count)]
    assert count == full.windows[0]
    depths = []
    with torch.no_grad():
        for begin in begins:
            chances = plain_logits(model, [CONFIG.bos_id, *ids[begin : begin + size], CONFIG.eos_id]).softmax(
                0
            )
            sums = chances.double().cumsum(0)
            depths.append(1 if sums[0] >= 0.5 else 2 if sums[1] >= 0.5 else 4)
    assert full.depths[0] == max(depths)
    for i, text in enumerate([LONG, "printer", LONG[:300]]):
        at_depth = routed.encode(text, depth=full.depths[i])
        assert float(full.embeddings[i] @ at_depth[0]) >= 1 - 1e-6


@pytest.mark.parametrize(("confidence", "depth"), [(0.0, 1), (1.0, 4)])
def test_confidence_moves_depth_from_easy_to_hard(
    model: TAESRModel, routed: Encoder, tmp_path: Path, confidence: float, depth: int
) -> None:
    other = TAESRModel(dataclasses.replace(CONFIG, router_confidence=confidence))
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.get_parameter("router.out.weight").mul_(0.01)  # nothing is certain
    path = save(other, tmp_path / "model")
    loaded = Encoder.load(path, precision="float32")
    assert loaded.config.router_confidence == confidence
    full = loaded.encode_detailed(TEXTS)
    assert set(full.depths) == {depth}
    np.testing.assert_allclose(full.embeddings, routed.encode(TEXTS, depth=depth), atol=1e-6)


def test_fixed_depths_and_models_without_a_router_report_no_probabilities(
    routed: Encoder, encoder: Encoder
) -> None:
    assert routed.encode_detailed(TEXTS[:3], depth="hard").router_probabilities is None
    plain = encoder.encode_detailed(["printer"])
    assert plain.depths == [encoder.config.recursion_steps["medium"]]
    assert plain.router_probabilities is None


def test_the_padded_pass_routes_like_the_encoder(model: TAESRModel, routed: Encoder) -> None:
    texts = [text for text in TEXTS if text.strip()]
    ids = [ids_of(routed, text) for text in texts]
    width = max(map(len, ids))
    padded = torch.tensor([row + [CONFIG.pad_id] * (width - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    with torch.no_grad():
        out = model(padded, mask, depth="auto")
    full = routed.encode_detailed(texts)
    assert out.recursion_depth_used == full.depths
    np.testing.assert_allclose(out.router_logits.softmax(1).numpy(), full.router_probabilities, atol=1e-4)
    np.testing.assert_allclose(out.pooler_output.numpy(), full.embeddings, atol=1e-5)
    fixed = model(padded, mask, depth="hard")
    assert (fixed.recursion_depth_used, fixed.router_logits) == (4, None)


def test_the_padded_pass_is_differentiable_at_mixed_depths(model: TAESRModel) -> None:
    out = model(torch.tensor([[0, 7, 8, 9, 2], [0, 30, 31, 32, 2]]), depth="auto")
    model.zero_grad()
    (out.pooler_output.sum() + out.router_logits.sum()).backward()
    for name in ("router.hidden.weight", "head.weight", "shared.0.attention.qkv.weight"):
        assert float(model.get_parameter(name).grad.abs().sum()) > 0
    model.zero_grad()


def test_router_functions_refuse_a_model_without_one(encoder: Encoder) -> None:
    model = TAESRModel(dataclasses.replace(CONFIG, router_size=0))
    with pytest.raises(InvalidArgument, match="router_size"):
        router_logits(model, torch.zeros(1, 17))
    batch = PackedBatch(torch.tensor([1, 2]), [0, 2], torch.tensor([0]))
    with pytest.raises(InvalidArgument, match="a row for each token"):
        router_features(torch.zeros(3, 16), batch)


@pytest.mark.parametrize("confidence", [-0.1, 1.1])
def test_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(InvalidArgument, match=r"router_confidence.*allowed: 0 to 1"):
        small_config(router_confidence=confidence)


@pytest.mark.parametrize("depth", ["auto", "easy", "hard"])
def test_subspaces_are_maps_of_the_deepest_mean_state(model: TAESRModel, routed: Encoder, depth: str) -> None:
    outputs = ["dense", "subspace:temporal", "subspace:semantic"]
    full = routed.encode_full(TEXTS[2:14], outputs=outputs, depth=depth)
    assert set(full.subspaces) == {"temporal", "semantic"}
    np.testing.assert_array_equal(full.embeddings, routed.encode(TEXTS[2:14], depth=depth))
    for i, text in enumerate(TEXTS[2:14]):
        with torch.no_grad():
            pooled = model(torch.tensor([ids_of(routed, text)]), depth="hard").last_hidden_state[0].mean(0)
            for name, rows in full.subspaces.items():
                w, b = (model.get_parameter(f"subspace.{name}.{part}") for part in ("weight", "bias"))
                np.testing.assert_allclose(rows[i], F.normalize(w @ pooled + b, dim=0).numpy(), atol=1e-5)


def test_subspaces_alone_cost_one_pass_at_the_deepest_depth(routed: Encoder) -> None:
    full = routed.encode_full([*TEXTS, LONG], outputs=["subspace:temporal"])
    assert full.embeddings.size == 0
    assert set(full.depths) == {4}
    rows = full.subspaces["temporal"]
    assert rows.shape == (len(TEXTS) + 1, 5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_unknown_outputs_are_refused_with_those_that_there_are(routed: Encoder, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"no subspace 'spatial'; it has semantic, temporal"):
        routed.encode_full(["x"], outputs=["subspace:spatial"])
    bare = Encoder.load(save(TAESRModel(small_config()), tmp_path))
    with pytest.raises(InvalidArgument, match=r"no subspace 'temporal'; it has none"):
        bare.encode_full(["x"], outputs=["subspace:temporal"])
    with pytest.raises(InvalidArgument, match=r"allowed: dense, sparse, late, subspace:NAME"):
        routed.encode_full(["x"], outputs=["subspaces"])
