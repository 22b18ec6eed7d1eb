"""Each of the decoder's GPU kernels equals its twin on the CPU."""

import pytest
import torch

from taesr._native import core  # noqa: F401 - loading it makes the operators known

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")

OPS = torch.ops.taesr
DTYPES = [torch.float32, torch.bfloat16]
PAGE = 16  # entries
VISIBLE = [1, 16, 17, 0, 300, 111]  # of six rows; the fourth is padding


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def close(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    """Equal but for rounding in `dtype`."""
    tolerance = 2e-2 if dtype == torch.bfloat16 else 5e-5
    torch.testing.assert_close(found.float().cpu(), expected.float(), rtol=tolerance, atol=tolerance)


def decode_rows(fields: list[tuple[int, ...]]) -> torch.Tensor:
    """Each row's id, state, recursion, position, visible, entry, list, slot."""
    return torch.tensor(fields, dtype=torch.int32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [7, 30, 576, 1536])
def test_rows_of_states(width: int, dtype: torch.dtype) -> None:
    rows = decode_rows([(9 - i, -1 if i == 3 else i, 0, 0, 0, -1, 0, 0) for i in range(5)])
    table, y = torch.randn(12, width).to(dtype), torch.randn(5, width).to(dtype)
    gate_up, gain = torch.randn(5, 2 * width).to(dtype), torch.randn(width)
    for by_state in (False, True):
        expected, found = torch.zeros(5, width), torch.zeros(5, width, device="cuda")
        OPS.decode_gather(table, rows, by_state, expected)
        OPS.decode_gather(table.cuda(), rows.cuda(), by_state, found)
        assert torch.equal(found.cpu(), expected)
    for addend in (None, y):
        x = torch.randn(5, width)
        on_gpu, out = x.cuda(), torch.zeros(5, width, dtype=dtype)
        found = out.cuda()
        OPS.add_rms_norm_(x, addend, gain, 1e-5, out)
        OPS.add_rms_norm_(on_gpu, None if addend is None else addend.cuda(), gain.cuda(), 1e-5, found)
        close(on_gpu, x, torch.float32)
        close(found, out, dtype)
    out = torch.zeros(5, width, dtype=dtype)
    found = out.cuda()
    OPS.decode_swiglu(gate_up, out)
    OPS.decode_swiglu(gate_up.cuda(), found)
    close(found, out, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("splits", [1, 4])
@pytest.mark.parametrize(("heads", "kv_heads"), [(9, 3), (4, 2), (4, 1), (3, 3)])
@pytest.mark.parametrize("size", [20, 32, 64, 128])
def test_paged_attention(size: int, heads: int, kv_heads: int, splits: int, dtype: torch.dtype) -> None:
    slots, pages = 3, 60
    first = torch.tensor([0, 1, 2, 5, 6, 30])
    rows = decode_rows(
        [(0, -1 if n == 0 else i, 0, 7 * i, n, n - 1, int(first[i]), i % 2) for i, n in enumerate(VISIBLE)]
    )
    order, angles = torch.randperm(pages), torch.randn(300, size)
    pool = torch.randn(pages, slots, kv_heads, 2, PAGE, size).to(dtype)
    values = pool[:, :, :, 1].view(pages, slots, kv_heads, size, PAGE)  # beside each other's entries
    for row, count in enumerate(VISIBLE):  # what is behind the last entry may be anything
        for entry in range(count, -(-count // PAGE) * PAGE):
            page = order[first[row] + entry // PAGE]
            pool[page, :, :, 0, entry % PAGE] = values[page, ..., entry % PAGE] = float("nan")
    qkv = torch.randn(len(VISIBLE), (heads + 2 * kv_heads) * size).to(dtype)
    found = []
    for device in ("cpu", "cuda"):
        memory, parts = pool.to(device), torch.zeros(len(VISIBLE), heads, splits, size + 2, device=device)
        addresses = memory.data_ptr() + order * (memory[0].numel() * memory.element_size())
        out = torch.zeros(len(VISIBLE), heads * size, dtype=dtype, device=device)
        keys = [qkv.to(device), rows.to(device), addresses.to(device), angles.to(device), heads, kv_heads, 1]
        OPS.decode_append(*keys)
        OPS.decode_attend(*keys, parts, out)
        found.append((memory.cpu(), out.cpu()))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-2, atol=1e-4, equal_nan=True)
    close(found[1][1], found[0][1], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("preserving", [True, False])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_routers_and_gates(kind: int, preserving: bool, dtype: torch.dtype) -> None:
    width = 576
    rows = decode_rows([(0, -1 if i == 4 else 2 * i, i % 4 - 1, 0, 0, -1, 0, 0) for i in range(9)])
    x, y = torch.randn(9, width), torch.randn(9, width).to(dtype)
    weights, bias = torch.randn(3, width) / 24, 0.1 * torch.randn(3)
    states, chances = torch.randn(20, width), torch.rand(20)
    depths, going = torch.randint(0, 3, (20,), dtype=torch.int32), torch.zeros(9, dtype=torch.int32)
    for addend in (None, y):
        inputs = [x, addend, rows, kind, preserving, 0.3, weights, bias]
        kept = [states.clone(), chances.clone(), depths.clone()]
        on_gpu = [tensor.cuda() for tensor in kept]
        sent = [tensor.cuda() if isinstance(tensor, torch.Tensor) else tensor for tensor in inputs]
        expected, found = going.clone(), going.cuda()
        OPS.decode_merge(*kept, *inputs, expected)
        OPS.decode_merge(*on_gpu, *sent, found)
        close(on_gpu[0], kept[0], torch.float32)
        close(on_gpu[1], kept[1], torch.float32)
        assert torch.equal(on_gpu[2].cpu(), kept[2])
        assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("count", [1, 2, 40, 256])
@pytest.mark.parametrize("vocabulary", [256, 700, 49152])
def test_top(vocabulary: int, count: int) -> None:
    logits = torch.randn(8, vocabulary)
    logits[1, vocabulary // 2], logits[2, 0] = float("nan"), float("-inf")
    logits[3] = 7  # all equal
    logits[4] = logits[4].round()  # many equal
    logits[5, ::512] += 20  # as one thread of the kernel sees them
    tokens, scores = torch.zeros(8, count, dtype=torch.int32), torch.zeros(8, count)
    found_tokens, found_scores = tokens.cuda(), scores.cuda()
    OPS.decode_top(logits, scores, tokens)
    OPS.decode_top(logits.cuda(), found_scores, found_tokens)
    assert tokens[1:3, 0].tolist() == found_tokens[1:3, 0].tolist() == [-1, -1]
    sound = [0, 3, 4, 5, 6, 7]
    assert torch.equal(found_tokens.cpu()[sound], tokens[sound])
    assert torch.equal(found_scores.cpu()[sound], scores[sound])


def test_top_says_where_it_gives_up() -> None:
    logits = torch.randn(1, 49152)
    logits[0].view(-1, 512)[:, :40] += 50
    tokens, scores = torch.zeros(1, 256, dtype=torch.int32).cuda(), torch.zeros(1, 256).cuda()
    OPS.decode_top(logits.cuda(), scores, tokens)
    assert tokens[0, 0].item() == -2
