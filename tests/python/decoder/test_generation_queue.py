"""Many texts at once."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import taesr
from taesr import Decoder, GenerationQueue
from taesr.decoder import GenerateOptions
from tests.python.decoder.small_gguf import save_gguf, small_weights


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recursions, and a router that sends some tokens through one only."""
    router = 2 * torch.randn(2, 24, generator=torch.Generator().manual_seed(3))
    weights = small_weights(4) | {"model.router.weight": router}
    fields: dict[str, Any] = {"sharing": "middle_cycle", "recursions": 2, "routing": "expert_choice"}
    return save_gguf(tmp_path_factory.mktemp("m") / "m", weights, **fields, gate="preserving")


@pytest.fixture(scope="module")
def decoder(model_path: Path) -> Decoder:
    return Decoder.load(model_path)


def options(i: int) -> GenerateOptions:
    return {"max_tokens": 10 + i, "temperature": 1.5 if i % 2 else 0.0, "seed": i, "stop": ["qq"]}


@pytest.mark.parametrize("refill", [True, False])
def test_texts_are_those_of_each_request_alone(decoder: Decoder, refill: bool) -> None:
    prompts = [f"request number {i}, " * (1 + i % 5) for i in range(20)]
    recursions = [decoder.trace(decoder.encode(prompt)).recursions for prompt in prompts]
    assert {1, 2} == {passed for text in recursions for passed in text}
    with GenerationQueue(decoder, max_active=6, batch_tokens=24, refill=refill) as queue:
        texts = [queue.submit(prompt, **options(i)) for i, prompt in enumerate(prompts)]
        for i, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
            pieces = list(text)
            alone = decoder.generate(prompt, **options(i))
            assert "".join(pieces) == text.result.text == alone.text
            assert (text.result.tokens, text.result.finish) == (alone.tokens, alone.finish)
            assert text.result.kv_bytes == alone.kv_bytes
        status = queue.status
    assert (status.active, status.waiting, status.kv_bytes) == (0, 0, 0)
    assert status.rows >= sum(len(text.result.tokens) for text in texts)


def test_a_bias_forces_and_bans_tokens_alone_and_in_a_queue(decoder: Decoder) -> None:
    (first,) = decoder.generate("hello", max_tokens=1).tokens
    with GenerationQueue(decoder) as queue:
        for temperature in (0.0, 1.0):
            biased: GenerateOptions = {"max_tokens": 6, "temperature": temperature, "logit_bias": {100: 1000}}
            banned: GenerateOptions = biased | {"logit_bias": {first: -1000}}
            assert decoder.generate("hello", **biased).tokens == [100] * 6
            assert first not in decoder.generate("hello", **banned).tokens
            for options in (biased, banned):
                queued = queue.submit("hello", **options).wait()
                assert queued.tokens == decoder.generate("hello", **options).tokens
        for bias, message in (
            ({-1: 1.0}, "token -1"),
            ({2**31: 1.0}, "token 2147483648"),
            ({decoder.config.vocab_size: 1.0}, r"logit_bias has token \d+; allowed: 0 to"),
            ({3: float("inf")}, "logit_bias of token 3 is inf"),
        ):
            with pytest.raises(taesr.InvalidArgument, match=message):
                decoder.generate("hello", logit_bias=bias)
            with pytest.raises(taesr.InvalidArgument, match=message):
                queue.submit("hello", logit_bias=bias)


def test_conversations_are_taken_too(decoder: Decoder) -> None:
    messages = [{"role": "user", "content": "hello"}]
    with GenerationQueue(decoder) as queue:
        assert (
            queue.submit(messages, max_tokens=5).wait().text == decoder.generate(messages, max_tokens=5).text
        )


def test_full_queue_refuses_and_says_what_to_do(decoder: Decoder) -> None:
    with GenerationQueue(decoder, max_active=1, max_waiting=1, batch_tokens=2) as queue:
        texts: list[taesr.QueuedText] = []

        def submit_many() -> None:
            for _ in range(100_000):
                texts.append(queue.submit("a", max_tokens=100))

        with pytest.raises(taesr.Overloaded, match=r"is full: .* try again later, or .* larger max_waiting"):
            submit_many()
        for text in texts:
            text.cancel()
        assert queue.submit("b", max_tokens=2).wait().prompt_tokens == 1
    with pytest.raises(taesr.Overloaded, match="closed"):
        queue.submit("c")


def test_requests_and_options_out_of_range_are_named(decoder: Decoder) -> None:
    with pytest.raises(taesr.InvalidArgument, match="batch_tokens is 8; allowed: 9 to"):
        GenerationQueue(decoder, max_active=8, batch_tokens=8)
    with pytest.raises(taesr.InvalidArgument, match="max_active is -1"):
        GenerationQueue(decoder, max_active=-1)
    with GenerationQueue(decoder) as queue:
        with pytest.raises(taesr.InvalidArgument, match="the prompt has no tokens"):
            queue.submit("")
        with pytest.raises(taesr.InvalidArgument, match="seed is -1"):
            queue.submit("a", seed=-1)
        with pytest.raises(taesr.InvalidArgument, match="stop is one text"):
            queue.submit("a", stop="end")


def test_texts_that_nobody_holds_are_cancelled_and_hold_their_queue(decoder: Decoder) -> None:
    queue = GenerationQueue(decoder, max_active=1)
    kept = queue.submit("a", max_tokens=5)
    for _ in range(50):
        queue.submit("b", max_tokens=100)  # dropped at once
    del queue
    gc.collect()
    assert kept.wait().text == decoder.generate("a", max_tokens=5).text


def test_threads_may_submit_read_and_cancel_at_once(decoder: Decoder) -> None:
    expected = [decoder.generate(f"text {i}", **options(i)).text for i in range(8)]
    wrong: list[Any] = []

    def work(queue: GenerationQueue, shift: int) -> None:
        for k in range(24):
            i = (k + shift) % 8
            text = queue.submit(f"text {i}", **options(i))
            if k % 5 == 4:
                text.cancel()
            elif "".join(text) != expected[i]:
                wrong.append((shift, i))

    with GenerationQueue(decoder, max_active=3) as queue:
        threads = [threading.Thread(target=work, args=(queue, shift)) for shift in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_ctrl_c_ends_a_program_that_waits_for_a_text(model_path: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = (
        "import sys, pathlib, taesr\n"
        "decoder = taesr.Decoder.load(sys.argv[1])\n"
        "queue = taesr.GenerationQueue(decoder, max_active=1, batch_tokens=2)\n"
        "texts = [queue.submit('a', max_tokens=100, temperature=2.0, seed=i) for i in range(1000)]\n"
        "pathlib.Path(sys.argv[2]).touch()\n"
        "while True:\n"
        "    texts[-1].wait()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(model_path), str(started)],
        stderr=subprocess.PIPE,
        env=os.environ,
        text=True,
    )
    while not started.exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in messages
    assert process.returncode in (1, -signal.SIGINT)
