from pathlib import Path

import numpy as np
import pytest
import torch

import taesr
from taesr import Decoder
from taesr.decoder import KvCaching
from tests.python.decoder.reference_decoder import LAYERS, logits, random_weights, save

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 49, 0]


@pytest.mark.parametrize("sharing", LAYERS)
@pytest.mark.parametrize("kv_caching", ["full", "shared"])
def test_logits_equal_a_plain_implementation_for_every_sharing_scheme(
    tmp_path: Path, sharing: str, kv_caching: KvCaching
) -> None:
    layers = LAYERS[sharing]
    weights = random_weights(max(layers) + 1)
    folder = save(weights, tmp_path / "m", sharing=sharing, recursions=1 if sharing == "none" else 2)
    decoder = Decoder.load(folder, kv_caching=kv_caching)
    expected = logits(weights, layers, TOKENS, shared_keys=kv_caching == "shared")
    assert decoder.config.unique_layers == max(layers) + 1
    np.testing.assert_allclose(decoder.logits(TOKENS), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_read_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = {name: value.to(dtype) for name, value in random_weights(6).items()}
    decoder = Decoder.load(save(weights, tmp_path / "m"))
    np.testing.assert_allclose(
        decoder.logits(TOKENS), logits(weights, LAYERS["none"], TOKENS).numpy(), atol=1e-4
    )


def test_shared_layers_are_stored_once(tmp_path: Path) -> None:
    table = 64 * 24 * 4  # of 50 rows, up to whole panels
    sizes = {}
    for sharing in ("none", "middle_cycle", "cycle"):
        unique = max(LAYERS[sharing]) + 1
        recursions = 1 if sharing == "none" else 2
        folder = save(random_weights(unique), tmp_path / sharing, sharing=sharing, recursions=recursions)
        sizes[unique] = Decoder.load(folder).weight_bytes - table
    assert sizes[6] * 4 == sizes[4] * 6
    assert sizes[6] == sizes[3] * 2


def test_model_without_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    decoder = Decoder.load(save(random_weights(6), tmp_path / "m"))
    with pytest.raises(taesr.InvalidArgument, match="no tokenizer; load it from a GGUF file"):
        decoder.generate("hello")
    with pytest.raises(taesr.InvalidArgument, match="exactly role and content"):
        decoder.generate([{"role": "user"}])
    with pytest.raises(taesr.InvalidArgument, match="token 1 is 50; allowed: 0 to 49"):
        decoder.logits([0, 50])
    assert decoder.logits([]).shape == (0, 50)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF\3\0\0\0")
    with pytest.raises(taesr.FormatError, match=r"m\.gguf.*number of tensors"):
        Decoder.load(tmp_path / "m.gguf")
    with pytest.raises(taesr.IoError, match=r"absent\.gguf"):
        Decoder.load(tmp_path / "absent.gguf")
    with pytest.raises(taesr.InvalidArgument, match="kv_caching is 'none'; allowed: full, shared"):
        Decoder.load(tmp_path, kv_caching="none")  # type: ignore[arg-type]


def test_options_out_of_range_are_named(tmp_path: Path) -> None:
    decoder = Decoder.load(save(random_weights(6), tmp_path / "m"))
    with pytest.raises(taesr.InvalidArgument, match="seed is -1"):
        decoder.stream("x", seed=-1)
    with pytest.raises(taesr.InvalidArgument, match="stop is one text"):
        decoder.stream("x", stop="end")
