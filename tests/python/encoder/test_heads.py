"""Sparse and late-interaction heads against the definitions in plain PyTorch."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from taesr import Encoder, InvalidArgument, TAESRModel
from taesr.nn.heads import late_embedding, sparse_embedding
from taesr.sparse import SparseRows
from tests.python.small_models import save, small_config

CONFIG = small_config(sparse_head=True, late_size=6)
TEXTS = [
    "reset password",
    "",
    "printer",
    "the printer is offline and nobody knows why",
    " \n",
    "reset password",
]
LONG = "the weather in the mountains is mild and the printer is offline " * 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random small model with both heads, its sparse weights few as in a trained one."""
    torch.manual_seed(0)
    model = TAESRModel(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        model.get_parameter("sparse.bias").sub_(1.5)
        model.get_parameter("sparse.idf").copy_(torch.rand(22000) - 0.1)
    return save(model, tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def model(folder: Path) -> TAESRModel:
    return TAESRModel.from_pretrained(folder)


@pytest.fixture(scope="module")
def small(folder: Path) -> Encoder:
    return Encoder.load(folder, precision="float32")


def states(model: TAESRModel, small: Encoder, text: str, role: str = "passage") -> torch.Tensor:
    """States of the last layer [tokens, hidden], special tokens included."""
    ids = [CONFIG.bos_id, *small.native.tokenizer.encode(text), CONFIG.eos_id]
    with torch.no_grad():
        return model(torch.tensor([ids]), role=role, depth="hard").last_hidden_state[0]


def dense_sparse(model: TAESRModel, hidden: torch.Tensor) -> torch.Tensor:
    """Weights by the definition, all logits at once: [vocabulary]."""
    w = model.get_parameter
    x = F.gelu(F.linear(hidden, w("sparse.transform.weight"), w("sparse.transform.bias")))
    x = F.layer_norm(x, x.shape[-1:], w("sparse.norm.weight"), w("sparse.norm.bias"), CONFIG.layer_norm_eps)
    logits = x @ w("embeddings.token.weight").T + w("sparse.bias")
    return torch.log1p(torch.relu(logits)).amax(0)


def unpacked(rows: SparseRows) -> np.ndarray:
    dense = np.zeros((len(rows), rows.columns), np.float32)
    for i in range(len(rows)):
        pieces, weights = rows.row(i)
        dense[i, pieces] = weights
    return dense


@pytest.mark.parametrize("role", ["passage", "query"])
def test_outputs_of_one_pass_are_the_definitions(model: TAESRModel, small: Encoder, role: str) -> None:
    full = small.encode_full(TEXTS, role=role, depth="hard", sparse_top=22000)
    assert full.sparse is not None
    assert full.late is not None
    np.testing.assert_array_equal(full.embeddings, small.encode(TEXTS, role=role, depth="hard"))
    weights = unpacked(full.sparse)
    for i, text in enumerate(TEXTS):
        hidden = states(model, small, text, role)
        with torch.no_grad():
            np.testing.assert_allclose(weights[i], dense_sparse(model, hidden).numpy(), atol=1e-4)
            late = F.normalize(hidden[1:-1] @ model.get_parameter("late.weight").T, dim=1)
        np.testing.assert_allclose(full.late[i], late.numpy(), atol=1e-4)
        assert full.late[i].shape == (full.token_counts[i], 6)
        assert full.late[i].dtype == np.float32


def test_sparse_rows_are_ascending_positive_and_few(small: Encoder) -> None:
    all_weights = unpacked(small.encode_full(TEXTS, outputs=["sparse"], sparse_top=22000).sparse)
    rows = small.encode_full(TEXTS, outputs=["sparse"], sparse_top=20).sparse
    assert (rows.indptr.dtype, rows.indices.dtype, rows.values.dtype) == (np.int64, np.int32, np.float32)
    for i in range(len(TEXTS)):
        pieces, weights = rows.row(i)
        assert len(pieces) == 20
        assert (np.diff(pieces) > 0).all()
        assert (weights > 0).all()
        np.testing.assert_allclose(np.sort(weights), np.sort(all_weights[i])[-20:], atol=1e-6)
    np.testing.assert_array_equal(rows.to_scipy().toarray(), unpacked(rows))


def test_long_texts_take_the_largest_weights_and_all_tokens_of_their_windows(small: Encoder) -> None:
    common = "the of and in to a is that it was for on are with as at be this have from or had by"
    words = [
        word for word in common.split() if small.count_tokens(word) == 1
    ] * 6  # so that texts cut like windows
    full = small.encode_full([" ".join(words), "printer"], sparse_top=50)
    count, windows = full.token_counts[0], full.windows[0]
    assert count == len(words)
    assert windows > 2
    assert full.late[0].shape == (22 * windows, 6)
    # The windows once more, as texts of their own: 22 pieces of 24, starts spread evenly.
    starts = [i * (count - 22) // (windows - 1) for i in range(windows)]
    parts = [" ".join(words[start : start + 22]) for start in starts]
    alone = small.encode_full(parts, sparse_top=22000)
    np.testing.assert_allclose(np.concatenate(alone.late), full.late[0], atol=1e-5)
    merged = unpacked(alone.sparse).max(0)
    pieces, weights = full.sparse.row(0)
    np.testing.assert_allclose(weights, merged[pieces], atol=1e-5)
    np.testing.assert_allclose(np.sort(weights), np.sort(merged)[-50:], atol=1e-5)


def test_a_text_has_the_same_heads_whatever_its_company(small: Encoder) -> None:
    texts = [f"article {i} " + "about printers " * (i % 30) for i in range(40)]
    together = small.encode_full(texts, sparse_top=22000)
    weights = unpacked(together.sparse)
    for i in range(0, 40, 7):
        alone = small.encode_full(texts[i], sparse_top=22000)
        np.testing.assert_allclose(unpacked(alone.sparse)[0], weights[i], atol=1e-5)
        np.testing.assert_allclose(alone.late[0], together.late[i], atol=1e-5)


def test_bfloat16_stays_close(folder: Path, small: Encoder) -> None:
    half = Encoder.load(folder, precision="bfloat16").encode_full(TEXTS, sparse_top=22000)
    full = small.encode_full(TEXTS, sparse_top=22000)
    for i in range(len(TEXTS)):
        a, b = unpacked(half.sparse)[i], unpacked(full.sparse)[i]
        assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.99
        assert ((half.late[i] * full.late[i]).sum(1) > 0.98).all()


def test_queries_without_an_encoder_hold_each_piece_once(model: TAESRModel, small: Encoder) -> None:
    rows = small.encode_sparse_query(["printer printer offline", "", LONG])
    idf = model.get_parameter("sparse.idf").detach().numpy()
    for i, text in enumerate(["printer printer offline", "", LONG]):
        expected = {p: idf[p] for p in set(small.native.tokenizer.encode(text)) if idf[p] > 0}
        pieces, weights = rows.row(i)
        assert pieces.tolist() == sorted(expected)
        np.testing.assert_allclose(weights, [expected[p] for p in sorted(expected)], rtol=1e-6)


def test_only_what_was_asked_for_is_there(small: Encoder) -> None:
    sparse = small.encode_full(["a", "b"], outputs=["sparse"])
    assert (sparse.embeddings.shape, len(sparse.sparse), sparse.late) == ((0, 0), 2, None)
    dense = small.encode_detailed(["a"])
    assert (dense.embeddings.shape, dense.sparse, dense.late) == ((1, 16), None, None)
    nothing = small.encode_full([])
    assert (nothing.embeddings.shape[0], len(nothing.sparse), nothing.late) == (0, 0, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": ["sprase"]}, "outputs has 'sprase'; allowed: dense, sparse, late"),
        ({"outputs": []}, "outputs is empty"),
        ({"sparse_top": 0}, "sparse_top is 0"),
    ],
)
def test_bad_options_are_named(small: Encoder, options: dict, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        small.encode_full(["a"], **options)


def test_heads_that_a_model_lacks_are_named(tmp_path: Path) -> None:
    bare_config = dataclasses.replace(CONFIG, sparse_head=False, late_size=0)
    bare_model = TAESRModel(bare_config)
    bare = Encoder.load(save(bare_model, tmp_path))
    assert bare.encode("a").shape == (1, 16)
    with pytest.raises(InvalidArgument, match=r"has no sparse head \(config field 'sparse_head'\)"):
        bare.encode_full(["a"], outputs=["sparse"])
    with pytest.raises(InvalidArgument, match="has no late-interaction head"):
        bare.encode_full(["a"], outputs=["late"])
    with pytest.raises(InvalidArgument, match="has no sparse head"):
        bare.encode_sparse_query(["a"])
    hidden, batch = torch.randn(3, 16), SimpleNamespace(offsets=[0, 3])
    with pytest.raises(InvalidArgument, match="no sparse head"):
        sparse_embedding(bare_model, hidden, batch)
    with pytest.raises(InvalidArgument, match="no late-interaction head"):
        late_embedding(bare_model, hidden)


@pytest.mark.parametrize("offsets", [[0, 1, 8], torch.tensor([0, 1, 8])])
def test_module_functions_have_the_derivatives_of_the_definitions(model: TAESRModel, offsets: object) -> None:
    torch.manual_seed(3)
    hidden = torch.randn(8, 16, requires_grad=True)
    names = ["sparse.transform.weight", "sparse.norm.bias", "sparse.bias", "embeddings.token.weight"]
    inputs = [hidden, *(model.get_parameter(name) for name in names)]
    weights = sparse_embedding(model, hidden, SimpleNamespace(offsets=offsets))
    expected = torch.stack([dense_sparse(model, hidden[:1]), dense_sparse(model, hidden[1:])])
    torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-4)
    direction = torch.randn_like(expected)
    got = torch.autograd.grad((weights * direction).sum(), inputs)
    wanted = torch.autograd.grad((expected * direction).sum(), inputs)
    for a, b in zip(got, wanted, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)

    late = late_embedding(model, hidden)
    torch.testing.assert_close(late, F.normalize(hidden @ model.get_parameter("late.weight").T, dim=1))
    late[:, 0].sum().backward()
    assert model.get_parameter("late.weight").grad.abs().max() > 0
    model.zero_grad()


@pytest.mark.parametrize("offsets", [[0], [0, 2, 2, 4], [1, 4], [0, 5], []])
def test_borders_that_do_not_fit_are_refused(model: TAESRModel, offsets: list[int]) -> None:
    with pytest.raises(InvalidArgument, match="offsets must rise from 0 to the number of tokens, 4"):
        sparse_embedding(model, torch.randn(4, 16), SimpleNamespace(offsets=offsets))


def test_states_that_do_not_fit_are_refused(model: TAESRModel) -> None:
    for hidden in (torch.randn(4, 15), torch.randn(4), torch.zeros(4, 16, dtype=torch.int64)):
        with pytest.raises(InvalidArgument, match=r"hidden must be floating point \[tokens, 16\]"):
            sparse_embedding(model, hidden, SimpleNamespace(offsets=[0, 4]))
        with pytest.raises(InvalidArgument, match=r"hidden must be floating point \[tokens, 16\]"):
            late_embedding(model, hidden)
