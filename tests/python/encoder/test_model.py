import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from taesr import Encoder, FormatError, InvalidArgument, IoError, TAESRModel
from tests.python.reference_encoder import ReferenceEncoder
from tests.python.small_models import small_config

TINY = small_config(vocab_size=50, recursion_steps={"easy": 1, "medium": 2, "hard": 3})

TABLE = "embeddings.token.weight"
SCALE = "embeddings.token.scale"


@pytest.fixture(scope="module")
def bundled() -> TAESRModel:
    return TAESRModel.from_pretrained()


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([row + [1] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def test_pooler_output_is_what_the_encoder_gives(bundled: TAESRModel, encoder: Encoder) -> None:
    reference = ReferenceEncoder(encoder.source)
    texts = ["reset password", "the printer is offline and nobody knows why"]
    ids, mask = padded([reference.ids(text) for text in texts])
    with torch.no_grad():
        out = bundled(ids, attention_mask=mask, depth="hard", return_dict=True)
    assert out.pooler_output.shape == (2, 384)
    assert out.recursion_depth_used == 6
    expected = torch.from_numpy(encoder.encode(texts, depth="hard"))
    assert torch.cosine_similarity(out.pooler_output, expected).min() >= 0.99999
    states = reference.hidden(reference.ids(texts[0]), "passage", 6)
    torch.testing.assert_close(out.last_hidden_state[0, : len(states)], states, atol=1e-4, rtol=1e-4)
    assert not out.last_hidden_state[0, len(states) :].any()


def test_slices_rank_like_the_whole(bundled: TAESRModel, encoder: Encoder) -> None:
    reference = ReferenceEncoder(encoder.source)
    near, far = "how to change my password", "the history of the Roman empire"
    ids, mask = padded([reference.ids(text) for text in ("reset a forgotten password", near, far)])
    with torch.no_grad():
        pooled = bundled(ids, attention_mask=mask).pooler_output
    for dim in (64, 128, 256, 384):
        part = torch.nn.functional.normalize(pooled[:, :dim], dim=1)
        assert part[0] @ part[1] > part[0] @ part[2] + 0.2


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = TAESRModel(TINY)
    ids, mask = padded([[5, 6, 7], [8, 9, 10, 11, 12, 13, 14]])
    with torch.no_grad():
        batch = model(ids, attention_mask=mask).pooler_output
        ids[0, 3:] = 49  # whatever the padding holds
        again = model(ids, attention_mask=mask).pooler_output
        alone = model(torch.tensor([[5, 6, 7]])).pooler_output
    torch.testing.assert_close(batch, again, atol=0, rtol=0)
    torch.testing.assert_close(batch[:1], alone, atol=1e-6, rtol=0)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(1)
    model = TAESRModel(TINY).double()
    ids, mask = padded([[5, 6, 7], [8, 9, 10, 11]])
    target = torch.randn(2, 16)

    def loss() -> torch.Tensor:
        return (model(ids, attention_mask=mask, depth=3).last_hidden_state[:, 0] * target).sum()

    loss().backward()
    for name in (
        "entry.0.attention.qkv.weight",
        "shared.0.mlp.up.weight",
        "reinject.weight",
        "exit.0.mlp_norm.weight",
    ):
        parameter = model.get_parameter(name)
        index = (parameter.shape[0] - 1,) + (0,) * (parameter.dim() - 1)
        step = 1e-6
        with torch.no_grad():
            parameter[index] += step
            above = loss()
            parameter[index] -= 2 * step
            below = loss()
            parameter[index] += step
        numeric = float(above - below) / (2 * step)
        assert float(parameter.grad[index]) == pytest.approx(numeric, rel=1e-4, abs=1e-7), name


def test_training_reduces_a_loss() -> None:
    torch.manual_seed(2)
    model = TAESRModel(TINY)
    ids = torch.randint(4, 50, (8, 12))
    target = torch.nn.functional.normalize(torch.randn(8, 16), dim=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (1 - (model(ids, depth="hard").pooler_output * target).sum(1)).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_save_and_load_keep_config_weights_and_tokenizer(tmp_path, bundled: TAESRModel) -> None:
    bundled.save_pretrained(tmp_path / "copy")
    copy = TAESRModel.from_pretrained(tmp_path / "copy")
    assert copy.config == bundled.config
    for (name, a), (_, b) in zip(copy.named_parameters(), bundled.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert Encoder.load(tmp_path / "copy", precision="float32").encode("a").shape == (1, 384)


def test_an_int8_token_table_is_smaller_and_loads_as_floats_within_half_a_step(tmp_path) -> None:
    torch.manual_seed(5)
    made = TAESRModel(dataclasses.replace(TINY, vocab_size=4000))
    with torch.no_grad():
        made.get_parameter(TABLE)[7] = 0  # a row without a scale
        made.get_parameter(TABLE)[8] *= 1e-30
    made.save_pretrained(tmp_path / "float")
    made.save_pretrained(tmp_path / "int8", token_table="int8")
    stored = load_file(tmp_path / "int8" / "model.safetensors")
    assert stored[TABLE].dtype == torch.int8
    sizes = [(tmp_path / kind / "model.safetensors").stat().st_size for kind in ("float", "int8")]
    assert sizes[0] - sizes[1] == pytest.approx(4000 * 16 * 3 - 4000 * 4, abs=200)  # and a line of the header
    loaded = TAESRModel.from_pretrained(tmp_path / "int8")
    table, again = made.get_parameter(TABLE), loaded.get_parameter(TABLE)
    assert again.dtype == torch.float32
    assert ((again - table).abs() <= table.abs().amax(1, keepdim=True) / 254 * 1.001).all()
    assert not again[7].any()
    for name, parameter in made.named_parameters():
        assert name == TABLE or torch.equal(parameter, loaded.get_parameter(name)), name
    loaded.save_pretrained(tmp_path / "again", token_table="int8")
    twice = TAESRModel.from_pretrained(tmp_path / "again")
    torch.testing.assert_close(twice.get_parameter(TABLE), again, atol=0, rtol=1e-6)


def write(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    save_file(weights, folder / "model.safetensors")


def test_damaged_int8_tables_are_refused_by_name(tmp_path) -> None:
    TAESRModel(TINY).save_pretrained(tmp_path, token_table="int8")
    good = load_file(tmp_path / "model.safetensors")
    for change, message in [
        ({SCALE: None}, "is int8 without"),
        ({SCALE: good[SCALE][:-1].clone()}, "one value a row"),
        ({SCALE: good[SCALE].half()}, "must be F32"),
        ({SCALE: torch.full_like(good[SCALE], torch.nan)}, "not finite"),
        ({TABLE: good[TABLE].float()}, "belongs to a token table of int8"),
        ({"head.bias": good["head.bias"].to(torch.int8)}, "'head.bias' must be F32, F16 or BF16"),
    ]:
        write(tmp_path, {name: w for name, w in (good | change).items() if w is not None})
        with pytest.raises(FormatError, match=message):
            TAESRModel.from_pretrained(tmp_path)
    with pytest.raises(InvalidArgument, match="token_table is 'int4'"):
        TAESRModel(TINY).save_pretrained(tmp_path, token_table="int4")
    broken = TAESRModel(TINY)
    with torch.no_grad():
        broken.get_parameter(TABLE)[0, 0] = torch.inf
    with pytest.raises(InvalidArgument, match="not finite"):
        broken.save_pretrained(tmp_path, token_table="int8")


def test_weights_of_heads_exist_if_the_config_asks_for_them() -> None:
    plain = set(dict(TAESRModel(TINY).named_parameters()))
    full = dataclasses.replace(
        TINY,
        refinement_layers=1,
        sparse_head=True,
        late_size=8,
        router_size=4,
        subspaces={"temporal": 6},
        token_routing="token_choice",
    )
    shapes = {name: tuple(p.shape) for name, p in TAESRModel(full).named_parameters() if name not in plain}
    heads = {name: shape for name, shape in shapes.items() if not name.startswith("refinement.0.")}
    assert len(shapes) - len(heads) == 12
    assert heads == {
        "sparse.transform.weight": (16, 16),
        "sparse.transform.bias": (16,),
        "sparse.norm.weight": (16,),
        "sparse.norm.bias": (16,),
        "sparse.bias": (50,),
        "sparse.idf": (50,),
        "late.weight": (8, 16),
        "router.hidden.weight": (4, 17),
        "router.hidden.bias": (4,),
        "router.out.weight": (3, 4),
        "router.out.bias": (3,),
        "subspace.temporal.weight": (6, 16),
        "subspace.temporal.bias": (6,),
        "token_router.weight": (3, 16),
        "token_router.bias": (3,),
    }


def test_tuple_output_is_hidden_then_pooled() -> None:
    hidden, pooled = TAESRModel(TINY)(torch.tensor([[5, 6]]), return_dict=False)
    assert hidden.shape == (1, 2, 16)
    assert pooled.shape == (1, 16)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (torch.tensor([[1.0]]), None, "must be int64"),
        (torch.tensor([1, 2]), None, "must be int64 \\[B, T\\]"),
        (torch.zeros(0, 4, dtype=torch.int64), None, "at least 1"),
        (torch.tensor([[5, 6]]), torch.tensor([[1]]), "attention_mask is"),
        (torch.tensor([[5, 6]]), torch.tensor([[0, 0]]), "without a true token"),
        (torch.tensor([[5, 99]]), None, "token ids from 5 to 99; allowed: 0 to 49"),
        (torch.tensor([[5, -1]]), None, "allowed: 0 to 49"),
        (torch.full((1, 25), 5), None, "25 tokens; allowed: 1 to 24"),
    ],
)
def test_bad_inputs_are_refused(ids: torch.Tensor, mask: torch.Tensor | None, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        TAESRModel(TINY)(ids, attention_mask=mask)


def test_loading_from_nowhere_is_one_clear_error(tmp_path) -> None:
    with pytest.raises(IoError, match="not a model folder"):
        TAESRModel.from_pretrained(tmp_path / "nowhere")
