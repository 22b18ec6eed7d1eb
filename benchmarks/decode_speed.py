"""Speed of reading prompts and of decoding token by token, beside llama-cpp-python on the same GGUF files.

    python benchmarks/decode_speed.py MODEL.gguf... --peer-python VENV/bin/python --threads 2

The engines are processes of their own that take turns, round after round, so that a change in the machine's
speed hits all of them; figures are medians of the rounds, after one that does not count. Every turn reads a
prompt and then decodes greedily, token by token. llama-cpp-python is driven in two ways: "bare" calls
llama_decode and takes the largest logit with NumPy; "generate" is its own loop with sampler. VENV holds
llama-cpp-python (and needs nothing else); without it only our figures are printed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXT = "The history of the lighthouse begins with fires that were lit on hilltops to guide ships. "
Turn = Callable[[list[int], int], tuple[float, float, list[int]]]


def our_turn(model: Path, threads: int) -> Turn:
    """Our engine: seconds for the prompt, for the other tokens, and the tokens."""
    import torch

    from taesr import Decoder
    from taesr.decoder import to_native_options

    torch.set_num_threads(threads)
    decoder = Decoder.load(model)

    def turn(prompt: list[int], tokens: int) -> tuple[float, float, list[int]]:
        stream = decoder.native.stream(prompt, to_native_options({"max_tokens": tokens}))
        start = time.perf_counter()
        while not stream.result().tokens:
            stream.next()
        read = time.perf_counter()
        while stream.next() is not None:
            pass
        return read - start, time.perf_counter() - read, stream.result().tokens

    return turn


def load_peer(model: Path, threads: int) -> Any:
    from llama_cpp import Llama

    return Llama(
        str(model), n_ctx=2048, n_threads=threads, n_threads_batch=threads, n_batch=512, verbose=False
    )


def bare_turn(model: Path, threads: int) -> Turn:
    """llama.cpp's own calls."""
    import llama_cpp
    import numpy as np

    llama = load_peer(model, threads)
    context, vocabulary = llama.ctx, llama.n_vocab()

    def decode(tokens: list[int]) -> int:
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens))) != 0:
            sys.exit("llama_decode failed")
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        return int(np.argmax(np.ctypeslib.as_array(logits, shape=(vocabulary,))))

    def turn(prompt: list[int], tokens: int) -> tuple[float, float, list[int]]:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        start = time.perf_counter()
        made = [decode(prompt)]
        read = time.perf_counter()
        while len(made) < tokens and made[-1] != llama.token_eos():
            made.append(decode(made[-1:]))
        return read - start, time.perf_counter() - read, made

    return turn


def generate_turn(model: Path, threads: int) -> Turn:
    """llama-cpp-python's loop, as its users have it."""
    llama = load_peer(model, threads)

    def turn(prompt: list[int], tokens: int) -> tuple[float, float, list[int]]:
        llama.reset()
        start = time.perf_counter()
        loop = llama.generate(prompt, top_k=1, temp=0.0, repeat_penalty=1.0)
        made = [next(loop)]
        read = time.perf_counter()
        while len(made) < tokens and made[-1] != llama.token_eos():
            made.append(next(loop))
        return read - start, time.perf_counter() - read, made

    return turn


ENGINES = {"taesr": our_turn, "llama.cpp bare": bare_turn, "llama.cpp generate": generate_turn}


def serve(engine: str, model: Path, threads: int) -> None:
    """Answer turns: a line of JSON in, a line of JSON out."""
    turn = ENGINES[engine](model, threads)
    for line in sys.stdin:
        print(json.dumps(turn(*json.loads(line))), flush=True)


class Worker:
    """An engine in its own process."""

    def __init__(self, engine: str, python: str, model: Path, threads: int) -> None:
        command = [python, __file__, str(model), "--serve", engine, "--threads", str(threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.rates: list[tuple[float, float]] = []  # tokens/s of reading and decoding
        self.tokens: list[int] = []

    def turn(self, prompt: list[int], tokens: int) -> tuple[float, float]:
        """Take a turn; returns tokens/s of reading and of decoding."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([prompt, tokens]), file=self.process.stdin, flush=True)
        read, decoded, self.tokens = json.loads(self.process.stdout.readline() or "null")
        return len(prompt) / read, (len(self.tokens) - 1) / decoded

    def medians(self) -> dict[str, float]:
        """Medians of all rounds that count."""
        read, decoded = zip(*self.rates, strict=True)
        return {"prefill": statistics.median(read), "decode": statistics.median(decoded)}


def measure(model: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All engines on one file."""
    from taesr import Decoder

    decoder = Decoder.load(model)
    tokens = decoder.encode(TEXT)
    prompt = (tokens * (arguments.prompt // len(tokens) + 1))[: arguments.prompt]
    del decoder
    names = list(ENGINES) if arguments.peer_python else ["taesr"]
    pythons = [sys.executable] + [arguments.peer_python] * (len(names) - 1)
    workers = [
        Worker(name, python, model, arguments.threads) for name, python in zip(names, pythons, strict=True)
    ]
    for i in range(arguments.rounds + 1):
        for worker in workers:
            rates = worker.turn(prompt, arguments.tokens)
            if i > 0:
                worker.rates.append(rates)
    figures = {name: worker.medians() for name, worker in zip(names, workers, strict=True)}
    for worker in workers:
        worker.process.terminate()
        worker.process.wait()
    same = [sum(a == b for a, b in zip(workers[0].tokens, worker.tokens, strict=False)) for worker in workers]
    return {"model": model.name, "figures": figures, "equal_tokens": dict(zip(names, same, strict=True))}


def show(result: dict[str, Any]) -> None:
    """Print one file's figures and ratios."""
    ours = result["figures"]["taesr"]
    print(f"\n{result['model']}")
    for name, figures in result["figures"].items():
        ratios = " and ".join(f"{ours[kind] / figures[kind]:.2f}" for kind in ("prefill", "decode"))
        print(
            f"  {name:19} prefill {figures['prefill']:7.1f} tokens/s decode {figures['decode']:6.1f} tokens/s"
            f"  ours to it: {ratios}  tokens as ours: {result['equal_tokens'][name]}"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--peer-python", help="an interpreter that has llama-cpp-python")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=256, help="tokens")
    parser.add_argument("--tokens", type=int, default=128, help="to decode")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", choices=tuple(ENGINES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.models[0], arguments.threads)
        return 0
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.machine()}, {arguments.threads} threads of {os.cpu_count()}, load {load}")
    results = []
    for model in arguments.models:
        results.append(measure(model, arguments))
        show(results[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps({"threads": arguments.threads, "results": results}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
