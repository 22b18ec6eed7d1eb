"""Speed of the encoder on a GPU, against what the GPU can do and against a padded PyTorch model.

    python benchmarks/cuda_encode.py --json cuda_encode.json

Token ids in, dense embeddings on the device out, batches of 256k tokens of mixed lengths in bfloat16:

- fixed depth hard, as a share of the rate of a large square product of random numbers on the same GPU;
- the same model of plain PyTorch modules with SDPA on the same texts, padded to the longest in the batch, and
  padded in batches of similar lengths;
- the same texts at a mix of depths that are known only after the entry layers, as a router's are;
- single kernels, and texts through `taesr.Encoder`, recorded graphs included.

What is compared takes turns, round after round; figures are medians.
"""

import argparse
import dataclasses
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import taesr
from taesr import TAESRConfig
from taesr._native import core
from taesr.evaluation.flops import text_flops

DEPTHS = {1: 0.52, 3: 0.30, 6: 0.18}  # easy, medium, hard; the mean is 2.5
HARD = 6


def main() -> int:
    """Measure, print, and write JSON if asked to."""
    arguments = read_arguments()
    if not torch.cuda.is_available():
        print("cuda_encode.py: PyTorch sees no GPU", file=sys.stderr)
        return 1
    torch.manual_seed(0)
    report: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    report["command"] = " ".join(["python", *sys.argv])
    report["gemm_flops_per_s"] = gemm_rate()
    report["copy_bytes_per_s"] = copy_rate()
    print(
        f"{report['gpu']}, torch {report['torch']}: {report['gemm_flops_per_s'] / 1e12:.0f} TFLOP/s bfloat16 "
        f"(8192 x 8192 x 8192, random), copies {report['copy_bytes_per_s'] / 1e12:.2f} TB/s"
    )
    folder = Path(arguments.model) if arguments.model else core.default_model_path()
    config = TAESRConfig.from_file(folder / "config.json")
    config, weights = with_router(config, core.load_weights(str(folder / "model.safetensors")))
    lengths = mixed_lengths(config, arguments.tokens)
    batch = Batch(config, lengths)
    engine = core.DeviceEngine(config.native, weights, "bfloat16", "cuda")
    report["model"] = {"folder": str(folder), "applications": applications(config, HARD)}
    report["batch"] = {"tokens": sum(lengths), "texts": len(lengths), "longest": max(lengths)}
    print(f"{report['batch']}, {report['model']['applications']} layer applications at depth {HARD}")
    report["encode"] = compare(config, weights, engine, batch, arguments.rounds, report["gemm_flops_per_s"])
    report["kernels"] = kernels(config, batch)
    report["encoder"] = through_encoder(folder)
    if arguments.profile:
        profile(engine, batch)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", default="", help="model folder (the bundled one)")
    parser.add_argument("--tokens", type=int, default=262144, help="in a batch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="that count (%(default)s)")
    parser.add_argument("--profile", action="store_true", help="print the kernels that take longest")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser.parse_args()


def seconds(work: Callable[[], object], repetitions: int = 1) -> float:
    """Seconds of one of `repetitions` of some work, one behind the other."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(repetitions):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / repetitions


def median_seconds(work: Callable[[], object], rounds: int = 5, repetitions: int = 10) -> float:
    """Median of some rounds, after one that does not count."""
    seconds(work)
    return statistics.median(seconds(work, repetitions) for _ in range(rounds))


def gemm_rate() -> float:
    """Operations a second of a large square product."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / median_seconds(lambda: a @ b)


def copy_rate() -> float:
    """Bytes a second, read and written, of a copy on the device."""
    x = torch.randn(1 << 30, device="cuda")
    y = torch.empty_like(x)
    return 2 * 4 * (1 << 30) / median_seconds(lambda: y.copy_(x), repetitions=3)


def with_router(
    config: TAESRConfig, weights: dict[str, torch.Tensor]
) -> tuple[TAESRConfig, dict[str, torch.Tensor]]:
    """A router at random for a model without one: depths are drawn here, but to ask takes its time."""
    if config.router_size > 0:
        return config, weights
    size = 128
    shapes = {"hidden.weight": (size, config.hidden_size + 1), "hidden.bias": (size,)}
    shapes |= {"out.weight": (3, size), "out.bias": (3,)}
    drawn = {f"router.{name}": 0.02 * torch.randn(shape) for name, shape in shapes.items()}
    return dataclasses.replace(config, router_size=size), weights | drawn


def mixed_lengths(config: TAESRConfig, tokens: int) -> list[int]:
    """Lengths from 8 tokens to a full pass, short texts as frequent as long ones; in no order."""
    draw = random.Random(0)
    longest = min(256, config.max_position_embeddings)
    lengths: list[int] = []
    while True:
        length = round(8 * (longest / 8) ** draw.random())
        if sum(lengths) + length > tokens:
            return lengths
        lengths.append(length)


def applications(config: TAESRConfig, depth: int) -> int:
    """Layers that a text passes."""
    refined = config.refinement_layers if depth > 1 else 0
    return config.entry_layers + config.shared_layers * depth + refined + config.exit_layers


class Batch:
    """Random texts of some lengths, the longest first as the engine batches them."""

    def __init__(self, config: TAESRConfig, lengths: list[int]) -> None:
        self.arrived = lengths
        self.lengths = sorted(lengths, reverse=True)
        self.offsets = [0, *itertools.accumulate(self.lengths)]
        self.tokens = torch.randint(4, config.vocab_size, (self.offsets[-1],))
        self.roles = torch.zeros(len(lengths), dtype=torch.int64)
        draw = random.Random(1)
        self.depths = draw.choices(list(DEPTHS), list(DEPTHS.values()), k=len(lengths))

    def embed(self, engine: core.DeviceEngine, depths: list[int], *, routed: bool) -> torch.Tensor:
        return engine.embed(self.tokens, self.offsets, self.roles, depths, routed)


class PaddedModel(nn.Module):
    """The same model of PyTorch's modules, for padded batches."""

    def __init__(self, config: TAESRConfig, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.config = config
        self.values = {k: v.to("cuda", torch.bfloat16) for k, v in weights.items() if v.is_floating_point()}

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.values[f"{name}.weight"], self.values[f"{name}.bias"])

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.values[f"{name}.weight"], self.values[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.config.layer_norm_eps)

    def layer(self, x: torch.Tensor, mask: torch.Tensor, products: str, norms: str) -> torch.Tensor:
        rows, length, _ = x.shape
        qkv = self.linear(x, f"{products}.attention.qkv")
        query, key, value = qkv.view(rows, length, 3, self.config.num_attention_heads, -1).permute(
            2, 0, 3, 1, 4
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended = attended.transpose(1, 2).reshape(x.shape)
        x = self.norm(x + self.linear(attended, f"{products}.attention.out"), f"{norms}.attention_norm")
        wide = F.gelu(self.linear(x, f"{products}.mlp.up"))
        return self.norm(x + self.linear(wide, f"{products}.mlp.down"), f"{norms}.mlp_norm")

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Unit rows for passages ids [B, T] with mask [B, T], at depth hard."""
        table = self.values
        x = F.embedding(ids, table["embeddings.token.weight"])
        x = x + table["embeddings.position.weight"][: ids.shape[1]] + table["embeddings.role.weight"][0]
        x = self.norm(x, "embeddings.norm")
        attend = mask[:, None, None, :]
        for i in range(self.config.entry_layers):
            x = self.layer(x, attend, f"entry.{i}", f"entry.{i}")
        entry = x
        for r in range(HARD):
            if r:
                x = x + table["reinject.weight"][r] * entry
            for k in range(self.config.shared_layers):
                x = self.layer(x, attend, f"shared.{k}", f"shared.{k}.recursion.{r}")
        for i in range(self.config.refinement_layers):
            x = self.layer(x, attend, f"refinement.{i}", f"refinement.{i}")
        for i in range(self.config.exit_layers):
            x = self.layer(x, attend, f"exit.{i}", f"exit.{i}")
        pooled = (x.float() * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        dense = F.linear(pooled, table["head.weight"].float(), table["head.bias"].float())
        return F.normalize(dense, dim=1)


def padded(batch: Batch, texts: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of some texts, padded to the longest of them."""
    rows = [batch.tokens[batch.offsets[i] : batch.offsets[i + 1]] for i in texts]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1).cuda()
    lengths = torch.tensor([len(row) for row in rows], device="cuda")
    return ids, torch.arange(ids.shape[1], device="cuda") < lengths[:, None]


def in_parts(batch: Batch, *, by_length: bool, padded_tokens: int = 262144) -> list[list[int]]:
    """Texts in batches of at most so many tokens with their padding."""
    order = list(range(len(batch.lengths)))
    if not by_length:
        random.Random(2).shuffle(order)
    parts: list[list[int]] = [[]]
    longest = 0
    for text in order:
        longest = max(longest, batch.lengths[text])
        if parts[-1] and longest * (len(parts[-1]) + 1) > padded_tokens:
            parts.append([])
            longest = batch.lengths[text]
        parts[-1].append(text)
    return parts


@torch.inference_mode()
def compare(
    config: TAESRConfig,
    weights: dict[str, torch.Tensor],
    engine: core.DeviceEngine,
    batch: Batch,
    rounds: int,
    roofline: float,
) -> dict[str, Any]:
    """Tokens a second of all ways, taking turns."""
    hard = [HARD] * len(batch.lengths)
    model = PaddedModel(config, weights)
    mixed, similar = (
        [padded(batch, part) for part in in_parts(batch, by_length=by_length)] for by_length in (False, True)
    )
    small = [padded(batch, part) for part in in_parts(batch, by_length=True, padded_tokens=32768)]
    first_part = in_parts(batch, by_length=True)[0]
    cosine = (model(*similar[0]) * batch.embed(engine, hard, routed=False)[first_part]).sum(1).min()
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "fixed depth 6": (5, lambda: batch.embed(engine, hard, routed=False)),
        "routed, mean depth 2.5": (5, lambda: batch.embed(engine, batch.depths, routed=True)),
        "depths known before": (5, lambda: batch.embed(engine, batch.depths, routed=False)),
        "padded PyTorch": (1, lambda: [model(*part) for part in mixed]),
        "padded PyTorch, by length": (1, lambda: [model(*part) for part in similar]),
        "the same, 32k tokens a batch": (1, lambda: [model(*part) for part in small]),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (repetitions, work) in ways.items():
            taken = seconds(work, repetitions)
            if number:  # the first one warms up
                times[name].append(taken)
    flops = text_flops(config, [n - 2 for n in batch.lengths], hard).sum()
    median = {name: statistics.median(found) for name, found in times.items()}
    tokens = batch.offsets[-1]
    result = {
        "seconds": times,
        "tokens_per_s": {name: tokens / taken for name, taken in median.items()},
        "flops": float(flops),
        "share_of_gemm": float(flops) / median["fixed depth 6"] / roofline,
        "to_padded": median["padded PyTorch"] / median["fixed depth 6"],
        "to_padded_by_length": median["padded PyTorch, by length"] / median["fixed depth 6"],
        "to_padded_by_length_32k": median["the same, 32k tokens a batch"] / median["fixed depth 6"],
        "routed_to_fixed": median["fixed depth 6"] / median["routed, mean depth 2.5"],
        "padding": [sum(ids.numel() for ids, _ in parts) / tokens for parts in (mixed, similar, small)],
        "least_cosine_with_padded": float(cosine),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }
    for name, taken in median.items():
        print(f"{name:28} {1000 * taken:8.2f} ms {tokens / taken / 1e6:7.2f}M tokens/s")
    print(
        f"share of the GEMM rate {result['share_of_gemm']:.1%} (target 40%); to padded PyTorch "
        f"{result['to_padded']:.2f}x (target 3x; by length {result['to_padded_by_length']:.2f}x, "
        f"{result['to_padded_by_length_32k']:.2f}x in batches of 32k tokens); routed to "
        f"fixed {result['routed_to_fixed']:.2f}x (target 1.8x); least cosine with it {float(cosine):.5f}"
    )
    return result


def attention_kernels(config: TAESRConfig, batch: Batch) -> dict[str, Callable[[], object]]:
    """Attention of the batch by our kernel and by FlashAttention."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    qkv = torch.randn(batch.offsets[-1], 3 * hidden, device="cuda", dtype=torch.bfloat16)
    query, key, value = qkv.split(hidden, dim=1)
    offsets = torch.tensor(batch.offsets, dtype=torch.int32, device="cuda")
    tiles = {}
    for rows, of_class in ((16, range(1, 17)), (64, range(17, 100000))):
        found = [(i, s) for i, n in enumerate(batch.lengths) if n in of_class for s in range(0, n, rows)]
        tiles[rows] = torch.tensor(found, dtype=torch.int32, device="cuda").view(-1, 2)
    out = torch.empty(query.shape, device="cuda", dtype=torch.bfloat16)

    def ours() -> None:
        for rows, of_class in tiles.items():
            arguments = (query, key, value, offsets, offsets, of_class, rows, heads, out)
            torch.ops.taesr.tile_attention(*arguments)

    def flash() -> None:
        parts = [part.unflatten(1, (heads, -1)) for part in (query, key, value)]
        longest = batch.lengths[0]
        torch.ops.aten._flash_attention_forward(*parts, offsets, offsets, longest, longest, 0.0, False, False)

    return {"attention, ours": ours, "attention, FlashAttention": flash}


@torch.inference_mode()
def kernels(config: TAESRConfig, batch: Batch) -> dict[str, float]:
    """Milliseconds of single steps of a layer, and of the heads' kernels."""
    tokens, hidden, wide = batch.offsets[-1], config.hidden_size, config.intermediate_size
    make = lambda *shape: torch.randn(*shape, device="cuda", dtype=torch.bfloat16)  # noqa: E731
    x, y, inner = make(tokens, hidden), make(tokens, hidden), make(tokens, wide)
    joint, up, down, out = (
        make(3 * hidden, hidden),
        make(wide, hidden),
        make(hidden, wide),
        make(hidden, hidden),
    )
    joint_bias, up_bias = make(3 * hidden), make(wide)
    bias, gain = torch.randn(hidden, device="cuda"), torch.rand(hidden, device="cuda")
    rows = torch.randperm(tokens, device="cuda")
    offsets = torch.tensor(batch.offsets, device="cuda")
    short = offsets[: 1 + next(i for i, end in enumerate(batch.offsets) if end >= 32768)]
    table = make(config.vocab_size, hidden)
    late, query = make(tokens, 96), make(32, 96)
    steps: dict[str, Callable[[], object]] = {
        "qkv product": lambda: torch.addmm(joint_bias, x, joint.t()),
        **attention_kernels(config, batch),
        "out product": lambda: x @ out.t(),
        "add and norm": lambda: torch.ops.taesr.add_norm_(x, y, bias, gain, bias, 1e-12, None, None, 0),
        "up product with gelu": lambda: torch._addmm_activation(up_bias, x, up.t(), use_gelu=True),
        "down product": lambda: inner @ down.t(),
        "gather rows": lambda: torch.ops.taesr.gather_rows(x, rows),
        "mean": lambda: torch.ops.taesr.segment_mean(x, offsets.int()),
        "sparse max, 32k tokens": lambda: torch.ops.taesr.sparse_max(
            x[: int(short[-1])], table, table[:, 0].float(), short.tolist()
        ),
        "maxsim, one query of 32": lambda: torch.ops.taesr.maxsim(
            query, torch.tensor([0, 32], device="cuda"), late, offsets
        ),
    }
    found = {name: 1000 * median_seconds(step) for name, step in steps.items()}
    for name, taken in found.items():
        print(f"{name:28} {taken:8.3f} ms")
    return found


def through_encoder(folder: Path) -> dict[str, float]:
    """Text to vector: one query, and many passages."""
    encoder = taesr.Encoder.load(folder, device="cuda")
    queries = [
        "how do I reset my password now",
        "where are snapshots of a collection kept",
        "what is an index",
    ]
    for query in queries * 3:
        encoder.encode([query], role="query", depth="easy")
    times = []
    for query in queries * 100:
        begin = time.perf_counter()
        encoder.encode([query], role="query", depth="easy")
        times.append(time.perf_counter() - begin)
    texts = [f"{i} " + queries[i % 3] * (1 + i % 12) for i in range(20000)]
    tokens = sum(encoder.encode_detailed(texts, depth="easy").token_counts)
    taken = statistics.median(seconds(lambda: encoder.encode(texts, depth="easy")) for _ in range(3))
    found = {"query_p50_ms": 1000 * statistics.median(times), "text_tokens_per_s": tokens / taken}
    print(
        f"one query, easy: {found['query_p50_ms']:.3f} ms; 20,000 texts with their tokenisation: "
        f"{found['text_tokens_per_s'] / 1e6:.2f}M tokens/s"
    )
    return found


def profile(engine: core.DeviceEngine, batch: Batch) -> None:
    """Kernels of one pass at depth hard."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorded

    hard = [HARD] * len(batch.lengths)
    with recorded(activities=[ProfilerActivity.CUDA]) as found:
        batch.embed(engine, hard, routed=False)
        torch.cuda.synchronize()
    print(found.key_averages().table(sort_by="cuda_time_total", row_limit=16, max_name_column_width=80))


if __name__ == "__main__":
    sys.exit(main())
