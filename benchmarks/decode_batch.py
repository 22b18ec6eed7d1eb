"""Many requests at once: a Mixture-of-Recursions decoder against the same depth without recursion.

    python benchmarks/decode_batch.py SmolLM2-135M.gguf --depths 0.5 0.5 --requests 1 8 32 64

The plain model is the file's; the recursive one is made from it (middle cycle, as many layers for a token
that passes all recursions). It is not trained: routers have random weights and biases by which the stated
shares of the tokens that the model itself generates stop after each recursion, so that speeds are those of a
trained model with these shares, and texts mean nothing. `--depths` may be given several times, for a model
each. `--mor MODEL` takes a trained one instead.
With `--device cuda` both compute in bfloat16 on the GPU, and a turn before the first is not counted.

N clients send requests one after the other through a GenerationQueue of N active ones. The engines take
turns, round after round; figures are medians. "layers" is the mean number that a token passes.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import machine
import torch

from taesr import Decoder, GenerationQueue
from taesr.decoder import SavedPrecision
from taesr.nn import DecoderConfig, RecursiveDecoder, shared_weights

CALIBRATION_TEXTS = 16
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "layers",
    "heads",
    "kv_heads",
    "head_dim",
    "max_positions",
    "rope_theta",
    "norm_eps",
)


@dataclass(frozen=True)
class Request:
    """What a client asks for."""

    prompt: list[int]
    max_tokens: int
    seed: int


@dataclass
class Figures:
    """One turn of one engine."""

    tokens_per_second: float  # generated ones
    tokens_per_cpu_second: float  # with one thread a measure on a busy machine; others wait actively
    first_token_ms: list[float]
    token_ms: list[float]  # mean of each request, after the first
    kv_bytes_per_token: float
    peak_kv_megabytes: float
    mean_batch: float


def draw_requests(count: int, vocabulary: int, seed: int) -> list[Request]:
    """Prompts of 64 to 256 tokens, answers of 64 to 192."""
    draw = random.Random(seed)
    return [
        Request(
            [draw.randrange(20, vocabulary) for _ in range(draw.randint(64, 256))], draw.randint(64, 192), i
        )
        for i in range(count)
    ]


def measure(decoder: Decoder, requests: list[Request], clients: int, *, refill: bool) -> Figures:
    """Send all requests, `clients` at once."""
    waiting = list(reversed(requests))
    results: list[Any] = []
    peak = [0]
    with GenerationQueue(
        decoder, max_active=clients, batch_tokens=max(128, 2 * clients), refill=refill
    ) as queue:

        def client() -> None:
            while True:
                try:
                    request = waiting.pop()
                except IndexError:
                    return
                # Drawn from few tokens: greedy texts of an untrained model repeat one token.
                results.append(
                    queue.submit_tokens(
                        request.prompt,
                        max_tokens=request.max_tokens,
                        temperature=1.0,
                        top_k=40,
                        seed=request.seed,
                    ).wait()
                )
                peak[0] = max(peak[0], queue.status.kv_bytes)

        threads = [threading.Thread(target=client) for _ in range(clients)]
        start, started = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds, worked = time.perf_counter() - start, time.process_time() - started
        status = queue.status
    for result in results:
        if result.finish != "length":
            sys.exit(f"a text ended by {result.finish!r}: the engines would not do the same work")
    made = sum(len(result.tokens) for result in results)
    passed = sum(result.prompt_tokens + len(result.tokens) - 1 for result in results)
    return Figures(
        tokens_per_second=made / seconds,
        tokens_per_cpu_second=made / worked,
        first_token_ms=[1e3 * result.prefill_seconds for result in results],
        token_ms=[1e3 * result.decode_seconds / (len(result.tokens) - 1) for result in results],
        kv_bytes_per_token=sum(result.kv_bytes for result in results) / passed,
        peak_kv_megabytes=peak[0] / 1e6,
        mean_batch=status.rows / status.steps,
    )


def plain_weights(decoder: Decoder) -> dict[str, torch.Tensor]:
    """The file's weights, but no text ends by itself: all engines then generate as many tokens."""
    weights = {name: torch.from_numpy(value) for name, value in decoder.weights().items()}
    end = decoder.encode("<|im_end|>", parse_special=True)
    table = weights["model.embed_tokens.weight"].clone()
    table[end] = 0
    table[:20] = 0  # special tokens
    return weights | {"model.embed_tokens.weight": table}


def config_of(decoder: Decoder, **fields: Any) -> DecoderConfig:
    """The file's sizes, and what `fields` change."""
    return DecoderConfig(**{name: getattr(decoder.config, name) for name in SIZES} | fields)


@dataclass(frozen=True)
class Files:
    """How the models are kept and loaded."""

    tokenizer: Path
    precision: SavedPrecision
    device: str

    def save(self, model: RecursiveDecoder, path: Path) -> Decoder:
        """Through a folder to a GGUF file."""
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder, torch.float16)
            Decoder.load(folder).save(path, precision=self.precision, tokenizer=self.tokenizer)
        return Decoder.load(path, device=self.device)


def fit_biases(choices: torch.Tensor, depths: list[float]) -> torch.Tensor:
    """Biases by which these shares of the tokens stop after each recursion. choices [tokens, recursions]."""
    probability = choices.softmax(-1)
    target = torch.tensor(depths)
    bias = torch.zeros(len(depths))
    scale = (probability - probability.mean(0)).std().item()
    for i in range(4000):
        stopped = torch.bincount((probability + bias).argmax(-1), minlength=len(depths)) / len(probability)
        bias += scale * (target - stopped) * (1 - i / 4000)
    return bias


def make_recursive(start: Decoder, weights: dict[str, torch.Tensor], depths: list[float]) -> RecursiveDecoder:
    """The plain model's layers in a middle cycle, with random routers."""
    config = config_of(
        start, sharing="middle_cycle", recursions=len(depths), routing="token_choice", gate="preserving"
    )
    model = RecursiveDecoder(config)
    state = shared_weights(weights, config)
    generator = torch.Generator().manual_seed(1)
    state["model.router.weight"] = 1e-3 * torch.randn(len(depths), config.hidden_size, generator=generator)
    model.load_state_dict(state)
    return model


@torch.no_grad()
def calibrate(model: RecursiveDecoder, depths: list[float], path: Path, files: Files) -> Decoder:
    """Fit the routers' biases to the texts that the model generates with them."""
    decoder = files.save(model, path)
    for _ in range(2):
        choices = []
        requests = draw_requests(CALIBRATION_TEXTS, model.config.vocab_size, seed=99)
        with GenerationQueue(decoder) as queue:
            texts = [
                queue.submit_tokens(r.prompt, max_tokens=r.max_tokens, temperature=1.0, top_k=40, seed=r.seed)
                for r in requests
            ]
            made = [text.wait().tokens for text in texts]
        for request, tokens in zip(requests, made, strict=True):
            output = model(torch.tensor([request.prompt + tokens]))
            step = output.routing[0]
            assert step.choices is not None
            choices.append(step.choices[0])
        model.state_dict()["model.router.bias"].copy_(fit_biases(torch.cat(choices), depths))
        decoder = files.save(model, path)
    return decoder


def mean_layers(decoder: Decoder, requests: list[Request]) -> tuple[float, list[float]]:
    """Layers that a token of the model's own texts passes, and the shares of tokens by recursions."""
    counts = [0] * (decoder.config.recursions + 1)
    for request in requests[:8]:
        with GenerationQueue(decoder) as queue:
            text = queue.submit_tokens(
                request.prompt, max_tokens=request.max_tokens, temperature=1.0, top_k=40, seed=request.seed
            )
            tokens = request.prompt + text.wait().tokens
        for passed in decoder.trace(tokens).recursions:
            counts[passed] += 1
    shares = [count / sum(counts) for count in counts[1:]]
    mean = sum((i + 1) * share for i, share in enumerate(shares))
    return 2 * decoder.config.end_layers + mean * decoder.config.block_layers, shares


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def summarise(turns: list[Figures]) -> dict[str, float]:
    """Medians over the rounds; quantiles over the requests of all rounds."""
    first = [value for turn in turns for value in turn.first_token_ms]
    each = [value for turn in turns for value in turn.token_ms]
    return {
        "tokens_per_second": statistics.median(turn.tokens_per_second for turn in turns),
        "tokens_per_cpu_second": statistics.median(turn.tokens_per_cpu_second for turn in turns),
        "first_token_ms_p50": quantile(first, 0.5),
        "first_token_ms_p95": quantile(first, 0.95),
        "token_ms_p50": quantile(each, 0.5),
        "token_ms_p95": quantile(each, 0.95),
        "kv_bytes_per_token": turns[0].kv_bytes_per_token,
        "peak_kv_megabytes": max(turn.peak_kv_megabytes for turn in turns),
        "mean_batch": statistics.median(turn.mean_batch for turn in turns),
    }


def compare(
    engines: dict[str, tuple[Decoder, bool]], clients: int, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """All engines with one number of clients."""
    vocabulary = next(iter(engines.values()))[0].config.vocab_size
    requests = draw_requests(max(2, arguments.per_client * clients), vocabulary, seed=clients)
    turns: dict[str, list[Figures]] = {name: [] for name in engines}
    if arguments.device != "cpu":  # its batches are recorded when they come the second time
        for decoder, refill in engines.values():
            measure(decoder, requests[: 2 * clients], clients, refill=refill)
    for _ in range(arguments.rounds):
        for name, (decoder, refill) in engines.items():
            turns[name].append(measure(decoder, requests, clients, refill=refill))
    figures = {name: summarise(made) for name, made in turns.items()}
    # Of the same round, as the machine's speed changes from round to round.
    for name, made in turns.items():
        figures[name]["to_plain"] = statistics.median(
            turn.tokens_per_second / plain.tokens_per_second
            for turn, plain in zip(made, turns["plain"], strict=True)
        )
    print(f"\n{clients} clients, {len(requests)} requests")
    for name, row in figures.items():
        print(
            f"  {name:30} {row['tokens_per_second']:7.1f} tokens/s  {row['to_plain']:.2f} x plain  "
            f"{row['tokens_per_cpu_second']:.0f} a CPU second  "
            f"first token {row['first_token_ms_p50']:.0f} / {row['first_token_ms_p95']:.0f} ms  "
            f"others {row['token_ms_p50']:.1f} / {row['token_ms_p95']:.1f} ms (p50 / p95)  "
            f"KV {row['kv_bytes_per_token'] / 1024:.1f} KiB a token, peak {row['peak_kv_megabytes']:.0f} MB  "
            f"batch {row['mean_batch']:.1f}",
            flush=True,
        )
    return figures


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL.gguf", help="a plain model")
    parser.add_argument("--mor", type=Path, help="a trained recursive model of the same depth")
    parser.add_argument(
        "--depths",
        type=float,
        nargs="+",
        action="append",
        help="shares of tokens by recursions (0.5 0.5)",
    )
    parser.add_argument("--refill-only", action="store_true", help="leave out MoR without refill")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision",
        help="of both models' matrices in their files (q8_0; on a GPU bfloat16, as it computes)",
    )
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 8, 32, 64], help="clients at once")
    parser.add_argument("--per-client", type=int, default=2, help="requests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    described = machine.describe(arguments.threads)
    print(machine.headline(described))
    if arguments.device != "cpu":
        described["gpu"] = torch.cuda.get_device_name(arguments.device)
        print(f"{arguments.device}: {described['gpu']}")
    start = Decoder.load(arguments.model, precision="float32")
    precision = arguments.precision or ("q8_0" if arguments.device == "cpu" else "bfloat16")
    files = Files(arguments.model, cast(SavedPrecision, precision), arguments.device)
    with tempfile.TemporaryDirectory() as folder:
        weights = plain_weights(start)
        plain_model = RecursiveDecoder(config_of(start))
        plain_model.load_state_dict(weights)
        plain = files.save(plain_model, Path(folder) / "plain.gguf")
        if arguments.mor:
            recursive = [Decoder.load(arguments.mor, device=arguments.device)]
        else:
            recursive = [
                calibrate(
                    make_recursive(start, weights, depths), depths, Path(folder) / f"mor{i}.gguf", files
                )
                for i, depths in enumerate(arguments.depths or [[0.5, 0.5]])
            ]
        del start, weights, plain_model
        print(f"{plain}, {plain.weight_bytes / 1e6:.0f} MB, {plain.config.layers} layers a token")
        engines = {"plain": (plain, True)}
        layers = []
        for decoder in recursive:
            mean, shares = mean_layers(decoder, draw_requests(8, plain.config.vocab_size, seed=5))
            layers.append({"layers": mean, "shares": shares})
            print(f"{decoder}, {decoder.weight_bytes / 1e6:.0f} MB, {mean:.1f} layers a token")
            print("  tokens by recursions: " + ", ".join(f"{i + 1}: {x:.0%}" for i, x in enumerate(shares)))
            name = "MoR" if len(recursive) == 1 else f"MoR, {mean:.1f} layers,"
            if not arguments.refill_only:
                engines[f"{name} without refill"] = (decoder, False)
            engines[f"{name} with refill"] = (decoder, True)
        results = {clients: compare(engines, clients, arguments) for clients in arguments.requests}
    if arguments.json:
        report = {"machine": described, "recursive": layers, "results": results}
        arguments.json.write_text(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
