"""Each of the library's GPU kernels equals its twin on the CPU, on odd sizes.

    compute-sanitizer --tool memcheck python -m pytest tests/python/cuda/test_operators.py

runs them under a checker; racecheck and synccheck do too.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from taesr._native import core  # noqa: F401 - loading it makes the operators known

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")

OPS = torch.ops.taesr
HALVES = [torch.bfloat16, torch.float16]
DTYPES = [*HALVES, torch.float32]
# One token; 513; sequences without tokens, also at both ends; sizes around those of tiles and blocks.
SHAPES = [[1], [513], [0], [0, 16, 17, 0, 15, 64, 65, 1, 300, 0], [1, 2, 3] * 40, [256, 257, 255]]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def offsets_of(lengths: list[int], dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.tensor([0, *itertools.accumulate(lengths)], dtype=dtype)


def close(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    """Equal but for rounding in `dtype`."""
    tolerance = {torch.bfloat16: 2e-2, torch.float16: 3e-3, torch.float32: 2e-5}[dtype]
    torch.testing.assert_close(found.float().cpu(), expected.float(), rtol=tolerance, atol=tolerance)


def both(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """Results on the CPU and on the GPU, from copies of the arguments."""
    on_gpu = [x.cuda() if isinstance(x, torch.Tensor) else x for x in arguments]
    return function(*arguments), function(*on_gpu)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("lengths", [*SHAPES, [5000, 0, 70000]], ids=str)
def test_active_rows(lengths: list[int], share: float) -> None:
    mask = torch.rand(sum(lengths)) < share
    (rows, borders), (found_rows, found_borders) = both(OPS.active_rows, mask, offsets_of(lengths))
    assert torch.equal(found_rows.cpu(), rows)
    assert torch.equal(found_borders.cpu(), borders)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("lengths", [*SHAPES, [22000, 5]], ids=str)
def test_best_rows(lengths: list[int], share: float, ties: bool) -> None:
    scores = torch.randn(sum(lengths))
    if ties:
        scores = scores.round()
    if len(scores) > 3:
        scores[0], scores[1], scores[2] = float("nan"), float("-inf"), -0.0
    kept = offsets_of([round(share * length) for length in lengths])
    expected, found = both(OPS.best_rows, scores, None, offsets_of(lengths), kept, int(kept[-1]))
    assert torch.equal(found.cpu(), expected)
    going = torch.rand(len(scores)) < 0.7
    expected, found = both(OPS.best_rows, scores, going, offsets_of(lengths), kept, int(kept[-1]))
    assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 4, 8, 384])
@pytest.mark.parametrize("count", [0, 1, 513])
def test_gather_and_scatter(count: int, width: int, dtype: torch.dtype) -> None:
    x = torch.randn(600, 3 * width).to(dtype)
    rows = torch.randperm(600)[:count]
    for part in (x, x[:, width : 2 * width]):  # rows side by side, and with others' values between
        expected, found = both(OPS.gather_rows, part, rows)
        assert torch.equal(found.cpu(), expected)
    values = torch.randn(count, 3 * width).to(dtype)
    target, on_gpu = x.clone(), x.cuda()
    OPS.scatter_rows_(target, rows, values)
    OPS.scatter_rows_(on_gpu, rows.cuda(), values.cuda())
    assert torch.equal(on_gpu.cpu(), target)
    gate = 2 * torch.rand(count)
    OPS.scatter_gated_(target, rows, values, gate)
    OPS.scatter_gated_(on_gpu, rows.cuda(), values.cuda(), gate.cuda())
    close(on_gpu, target, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 513])
def test_kv_append_and_gather(count: int, dtype: torch.dtype) -> None:
    cache, qkv = torch.zeros(600, 768, dtype=dtype), torch.randn(count, 1152).to(dtype)
    rows = torch.randperm(600)[:count]
    on_gpu = cache.cuda()
    OPS.kv_append_(cache, rows, qkv)
    OPS.kv_append_(on_gpu, rows.cuda(), qkv.cuda())
    assert torch.equal(on_gpu.cpu(), cache)
    assert torch.equal(OPS.gather_rows(on_gpu, rows.cuda()).cpu(), qkv[:, 384:])


def tiles_of(lengths: list[int], rows: int) -> torch.Tensor:
    """Tiles of all sequences, and two of filling."""
    tiles = [(i, first) for i, length in enumerate(lengths) for first in range(0, length, rows)]
    return torch.tensor([*tiles, (-1, 0), (-1, 0)], dtype=torch.int32)


def attend(
    query: torch.Tensor,
    keys_values: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
    tiles: torch.Tensor,
    rows: int,
    heads: int,
) -> torch.Tensor:
    hidden = query.shape[1]
    out = torch.full_like(query, float("nan"))
    key, value = keys_values[:, :hidden], keys_values[:, hidden:]
    OPS.tile_attention(query, key, value, queries, keys, tiles, rows, heads, out)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("rows", [16, 64])
@pytest.mark.parametrize("lengths", SHAPES, ids=str)
def test_tile_attention(lengths: list[int], rows: int, size: int, dtype: torch.dtype) -> None:
    hidden = 3 * size
    keys = [length + (7 * i) % 40 if length else 0 for i, length in enumerate(lengths)]
    query = torch.randn(sum(lengths), hidden).to(dtype)
    keys_values = torch.randn(sum(keys), 2 * hidden).to(dtype)
    for key_lengths in (lengths, keys):  # all of a sequence's tokens ask, or some
        arguments = (
            query,
            keys_values[: sum(key_lengths)],
            offsets_of(lengths, torch.int32),
            offsets_of(key_lengths, torch.int32),
            tiles_of(lengths, rows),
        )
        expected, found = both(attend, *arguments, rows, 3)
        if dtype == torch.float32:  # ATen's, whose products on a GPU may be less than float32
            torch.testing.assert_close(found.cpu(), expected, rtol=2e-3, atol=2e-3)
        else:
            close(found, expected, dtype)


@pytest.mark.parametrize("dtype", HALVES)
def test_tile_attention_of_large_scores(dtype: torch.dtype) -> None:
    """Softmax does not overflow, and takes the largest score where one is far above the others."""
    query, keys_values = 30 * torch.randn(70, 64).to(dtype), 30 * torch.randn(70, 128).to(dtype)
    offsets = torch.tensor([0, 70], dtype=torch.int32)
    expected, found = both(attend, query, keys_values, offsets, offsets, tiles_of([70], 64), 64, 2)
    torch.testing.assert_close(found.float().cpu(), expected.float(), rtol=2e-2, atol=1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [96, 128, 384, 1024, 1152])
@pytest.mark.parametrize("rows", [0, 1, 513])
def test_norms(rows: int, width: int, dtype: torch.dtype) -> None:
    gain, shift, bias, scale = torch.randn(4, width)
    x, y, entry = torch.randn(3, rows, width).to(dtype)
    for carried in (0, rows // 2, rows):
        target, on_gpu = x.clone(), x.cuda()
        given = (y, bias, gain, shift, 1e-12, entry, scale, carried)
        OPS.add_norm_(target, *given)
        OPS.add_norm_(on_gpu, *(a.cuda() if isinstance(a, torch.Tensor) else a for a in given))
        close(on_gpu, target, dtype)
    tables = (
        torch.randn(50, width).to(dtype),
        torch.randn(9, width).to(dtype),
        torch.randn(2, width).to(dtype),
    )
    tokens = torch.randint(0, 50, (rows,), dtype=torch.int32)
    places = torch.randint(0, 18, (rows,), dtype=torch.int32)
    expected, found = both(OPS.embed_norm, tokens, places, *tables, gain, shift, 1e-12)
    close(found, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [3, 4, 384])
@pytest.mark.parametrize("lengths", SHAPES, ids=str)
def test_segment_mean(lengths: list[int], width: int, dtype: torch.dtype) -> None:
    x = torch.randn(sum(lengths), width).to(dtype)
    expected, found = both(OPS.segment_mean, x, offsets_of(lengths, torch.int32))
    close(found, expected, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocabulary", [5, 517, 4500])
@pytest.mark.parametrize("lengths", [*SHAPES, [3, 5000, 40]], ids=str)
def test_sparse_max(lengths: list[int], vocabulary: int, dtype: torch.dtype) -> None:
    states, table = torch.randn(sum(lengths), 64).to(dtype), torch.randn(vocabulary, 64).to(dtype)
    bias = torch.randn(vocabulary) - 4
    borders = offsets_of(lengths).tolist()
    (weights, _), (found, tokens) = both(OPS.sparse_max, states, table, bias, borders)
    # Products are rounded to `dtype`, from sums in another order: near weight zero by one place of 4 to 8.
    place = {torch.bfloat16: 4e-2, torch.float16: 5e-3, torch.float32: 1e-4}[dtype]
    torch.testing.assert_close(found.cpu(), weights, rtol=place, atol=place)
    # A weight comes from the token that it names.
    products = (states.float() @ table.float().T + bias).relu().log1p()
    for i, (begin, end) in enumerate(itertools.pairwise(borders)):
        if begin == end:
            assert float(found[i].abs().sum()) == 0
            continue
        named = tokens[i].long().cpu()
        assert bool(((named >= begin) & (named < end)).all())
        named_weights = products[named, torch.arange(vocabulary)]
        torch.testing.assert_close(found[i].cpu(), named_weights, rtol=place, atol=place)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [7, 16, 96, 128, 256, 320])
def test_maxsim(width: int, dtype: torch.dtype) -> None:
    queries, documents = [1, 32, 33, 0, 70, 8], [0, 1, 16, 17, 513, 0, 64, 3]
    q, d = torch.randn(sum(queries), width).to(dtype), torch.randn(sum(documents), width).to(dtype)
    q, d = (torch.nn.functional.normalize(x.float(), dim=1).to(dtype) for x in (q, d))
    expected, found = both(OPS.maxsim, q, offsets_of(queries), d, offsets_of(documents))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


def test_arguments_that_would_crash_a_kernel_are_refused() -> None:
    x = torch.randn(4, 8, device="cuda")
    with pytest.raises(RuntimeError, match="rows is"):
        OPS.gather_rows(x, torch.tensor([0], device="cuda", dtype=torch.int32))
    with pytest.raises(RuntimeError, match="rows is"):
        OPS.gather_rows(x, torch.tensor([0]))
    with pytest.raises(RuntimeError, match="mask is"):
        OPS.active_rows(torch.zeros(4, device="cuda"), torch.tensor([0, 4], device="cuda"))
