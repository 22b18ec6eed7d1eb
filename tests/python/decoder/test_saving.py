"""GGUF files that Decoder.save writes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import taesr
from taesr import Decoder
from tests.python.decoder.reference_decoder import save
from tests.python.decoder.small_gguf import VOCABULARY, save_gguf, small_weights

TOKENS = list(b"the sea is blue")


def routers(recursions: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {
        "model.router.weight": torch.randn(recursions, 24, generator=generator),
        "model.router.bias": torch.randn(recursions, generator=generator) * 0.3,
    }


@pytest.mark.parametrize(
    ("unique", "fields", "routed"),
    [
        (6, {}, False),
        (3, {"sharing": "sequence", "recursions": 2}, False),
        (4, {"sharing": "middle_cycle", "recursions": 2}, False),
        (
            4,
            {"sharing": "middle_cycle", "recursions": 2, "routing": "token_choice", "gate": "preserving"},
            True,
        ),
        (3, {"sharing": "cycle", "recursions": 2, "routing": "token_choice", "gate_scale": 0.3}, True),
    ],
)
def test_saved_file_is_the_same_model(
    tmp_path: Path, unique: int, fields: dict[str, Any], routed: bool
) -> None:
    tensors = small_weights(unique) | (routers(2) if routed else {})
    decoder = Decoder.load(save_gguf(tmp_path / "m", tensors, **fields))
    folder = Decoder.load(tmp_path / "m")
    np.testing.assert_array_equal(decoder.logits(TOKENS), folder.logits(TOKENS))
    assert decoder.trace(TOKENS).recursions == folder.trace(TOKENS).recursions
    for name in (
        "sharing",
        "recursions",
        "routing",
        "gate",
        "gate_scale",
        "head_dim",
        "rope_theta",
        "layers",
    ):
        assert getattr(decoder.config, name) == pytest.approx(getattr(folder.config, name)), name
    assert decoder.encode("Ünï<|im_end|>") == list("Ünï<|im_end|>".encode())
    assert decoder.encode_chat([{"role": "user", "content": "a"}])[:3] == [256, *b"us"]


def test_a_file_saved_again_is_the_same_file(tmp_path: Path) -> None:
    first = save_gguf(tmp_path / "m", small_weights(6))
    Decoder.load(first).save(tmp_path / "again.gguf", precision="float32")
    assert first.read_bytes() == (tmp_path / "again.gguf").read_bytes()


# Of the largest value of a block of 32; half precision of its scale is a part of it.
@pytest.mark.parametrize(
    ("precision", "error"),
    [("float16", 2**-11), ("bfloat16", 2**-8), ("q8_0", 0.57 / 127), ("q4_1", 2.1 / 30), ("q4_0", 1.01 / 8)],
)
def test_rounded_weights_are_the_nearest_ones(tmp_path: Path, precision: Any, error: float) -> None:
    fields = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for name, value in small_weights(6).items():
        shape = [{24: 32, 40: 64, 8: 16}.get(size, size) for size in value.shape]
        weights[name] = (
            torch.randn(shape, generator=generator)
            * 10 ** torch.randn(shape[0], generator=generator)[(...,) + (None,) * (len(shape) - 1)]
        )
    path = save_gguf(tmp_path / "m", weights, precision=precision, **fields)
    for name, found in Decoder.load(path).weights().items():
        expected = weights[name].numpy()
        if expected.ndim == 1:
            np.testing.assert_array_equal(found, expected)
            continue
        blocks = expected.reshape(-1, 32)
        allowed = error * np.abs(blocks).max(1, keepdims=True) * 1.01 + 5e-6
        assert (np.abs(found.reshape(-1, 32) - blocks) <= allowed).all(), name


def test_what_cannot_be_saved_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    path = save_gguf(tmp_path / "m", small_weights(6))
    decoder = Decoder.load(path)
    target = tmp_path / "new.gguf"
    with pytest.raises(taesr.InvalidArgument, match=r"rows of 24 values; Q8_0 needs a multiple of 32"):
        decoder.save(target)
    with pytest.raises(taesr.InvalidArgument, match=r"precision is 'q3'; allowed: float32, .*, q4_0"):
        decoder.save(target, precision="q3")  # type: ignore[arg-type]
    with pytest.raises(taesr.IoError, match="absent"):
        decoder.save(target, precision="float32", tokenizer=tmp_path / "absent.gguf")
    with pytest.raises(taesr.IoError):
        decoder.save(tmp_path / "no folder" / "m.gguf", precision="float32")
    small = Decoder.load(
        save(small_weights(6) | {"model.embed_tokens.weight": torch.ones(50, 24)}, tmp_path / "s")
    )
    with pytest.raises(taesr.InvalidArgument, match=f"has {VOCABULARY} tokens; the model has 50"):
        small.save(target, precision="float32", tokenizer=path)
    small.save(tmp_path / "s.gguf", precision="float32")
    with pytest.raises(taesr.InvalidArgument, match="no tokenizer"):
        Decoder.load(tmp_path / "s.gguf").encode("a")
    assert not target.exists()
