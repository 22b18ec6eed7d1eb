"""`Decoder.load(path, device="cuda")` does what the decoder on the CPU does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taesr import Decoder, GenerationQueue, InvalidArgument
from tests.python.decoder.small_gguf import save_gguf, small_weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")

ROUTED: dict[str, Any] = {"sharing": "middle_cycle", "recursions": 2, "gate": "preserving"}


@pytest.fixture(scope="module", params=["plain", "expert_choice", "token_choice"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    if request.param == "plain":
        return save_gguf(folder, small_weights(6))
    router = 2 * torch.randn(2, 24, generator=torch.Generator().manual_seed(3))
    weights = small_weights(4) | {"model.router.weight": router}
    if request.param == "token_choice":
        weights["model.router.bias"] = torch.zeros(2)
    return save_gguf(folder, weights, **ROUTED, routing=request.param)


@pytest.mark.parametrize("kv_caching", ["full", "shared"])
def test_logits_and_traces_are_the_cpus(path: Path, kv_caching: Any) -> None:
    cpu = Decoder.load(path, kv_caching=kv_caching, precision="float32")
    gpu = Decoder.load(path, kv_caching=kv_caching, precision="float32", device="cuda")
    tokens = cpu.encode("What is the capital of France? Paris, of course.")
    np.testing.assert_allclose(gpu.logits(tokens), cpu.logits(tokens), atol=1e-3)
    assert gpu.trace(tokens) == cpu.trace(tokens)
    assert all(np.array_equal(value, gpu.weights()[name]) for name, value in cpu.weights().items())


def test_texts_are_the_cpus_alone_and_in_a_queue(path: Path) -> None:
    cpu = Decoder.load(path, precision="float32")
    gpu = Decoder.load(path, precision="float32", device="cuda:0")
    prompts = [f"request number {i}, " * (1 + i % 4) for i in range(20)]
    options: list[dict[str, Any]] = [
        {"max_tokens": 8 + i, "temperature": 1.5 if i % 2 else 0, "top_k": 20 if i % 4 == 1 else 0, "seed": i}
        for i in range(20)
    ]
    options += [option | {"logit_bias": {101: 2.0}} for option in options[:4]]
    prompts += prompts[:4]
    wanted = list(zip(prompts, options, strict=True))
    expected = [cpu.generate(prompt, **option).tokens for prompt, option in wanted]
    for refill in (True, False):
        with GenerationQueue(gpu, max_active=8, refill=refill) as queue:
            texts = [queue.submit(prompt, **option) for prompt, option in wanted]
            assert [text.wait().tokens for text in texts] == expected
    assert [gpu.generate(prompt, **option).tokens for prompt, option in wanted] == expected


def test_bfloat16_is_near_and_takes_half_the_memory(path: Path) -> None:
    exact = Decoder.load(path, precision="float32", device="cuda")
    half = Decoder.load(path, device="cuda")
    assert 2 * half.weight_bytes == exact.weight_bytes
    tokens = exact.encode("the quick brown fox")
    assert 2 * half.trace(tokens).kv_bytes == exact.trace(tokens).kv_bytes or exact.config.routing != "none"
    if exact.config.routing == "none":  # rounding may send a token another way
        expected = exact.logits(tokens)
        np.testing.assert_allclose(half.logits(tokens), expected, atol=0.05 * np.abs(expected).max())


def test_other_precisions_and_devices_are_refused(path: Path) -> None:
    with pytest.raises(InvalidArgument, match="on a GPU allowed: auto, bfloat16, float32"):
        Decoder.load(path, precision="stored", device="cuda")
    with pytest.raises(InvalidArgument, match="cuda:99"):
        Decoder.load(path, device="cuda:99")
