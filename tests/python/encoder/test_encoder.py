import threading

import numpy as np
import pytest

import taesr
from taesr import Encoder
from tests.python.reference_encoder import ReferenceEncoder

TEXTS = [
    "how do I reset my password",
    "",
    "Error 0x80070005: access denied while installing the update",
    "naïve café — “quoted” 日本語 🙂",
    "To change the printer's default tray, open the control panel. " * 8,
    "word " * 240,
]


@pytest.fixture(scope="module")
def reference(encoder: Encoder) -> ReferenceEncoder:
    return ReferenceEncoder(encoder.source)


@pytest.mark.parametrize("role", ["query", "passage"])
@pytest.mark.parametrize("depth", [1, 3, 6])
def test_float32_matches_plain_pytorch(
    encoder: Encoder, reference: ReferenceEncoder, role: str, depth: int
) -> None:
    vectors = encoder.encode(TEXTS, role=role, depth=depth)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert vector @ reference.embed(text, role=role, recursions=depth).numpy() >= 0.99999, text


def test_bfloat16_matches_plain_pytorch(reference: ReferenceEncoder) -> None:
    encoder = Encoder.load(precision="bfloat16")
    assert encoder.precision == "bfloat16"
    for depth in (1, 6):
        for text, vector in zip(TEXTS, encoder.encode(TEXTS, depth=depth), strict=True):
            assert vector @ reference.embed(text, role="passage", recursions=depth).numpy() >= 0.999, text


def test_tokenizer_matches_the_reference_implementation(
    encoder: Encoder, reference: ReferenceEncoder
) -> None:
    for text in TEXTS:
        assert encoder.count_tokens(text) == len(reference.tokenizer.encode(text))


def test_depth_names_are_the_configured_recursions(encoder: Encoder) -> None:
    for name, recursions in encoder.config.recursion_steps.items():
        named = encoder.encode_detailed(["reset password"], depth=name)
        assert named.depths == [recursions]
        assert np.array_equal(named.embeddings, encoder.encode(["reset password"], depth=recursions))


def test_slices_are_renormalised_prefixes(encoder: Encoder) -> None:
    full = encoder.encode(TEXTS)
    for dim in encoder.config.matryoshka_dimensions:
        prefix = full[:, :dim] / np.linalg.norm(full[:, :dim], axis=1, keepdims=True)
        np.testing.assert_allclose(encoder.encode(TEXTS, dim=dim), prefix, atol=1e-6)


def test_a_text_has_one_embedding_whatever_its_company(encoder: Encoder) -> None:
    texts = [f"article {i} " + "about printers " * (i % 40) for i in range(64)]
    order = np.random.default_rng(0).permutation(64)
    batch = encoder.encode(texts)
    shuffled = encoder.encode([texts[i] for i in order])
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert (batch * alone).sum(1).min() >= 1 - 1e-6
    assert (shuffled * batch[order]).sum(1).min() >= 1 - 1e-6


def test_result_is_a_float32_array_that_outlives_the_encoder() -> None:
    vectors = Encoder.load().encode(["a", "b"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (2, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_one_string_is_one_text_and_no_texts_are_no_rows(encoder: Encoder) -> None:
    assert encoder.encode("one text").shape == (1, 384)
    assert encoder.encode([]).shape == (0, 384)
    assert encoder.encode(iter(["a", "b"]), dim=64).shape == (2, 64)


def test_long_texts_are_chunked_truncated_or_refused_as_asked(encoder: Encoder) -> None:
    text = "The weather is mild in the mountains. " * 200
    detailed = encoder.encode_detailed([text, "short"])
    assert detailed.windows[0] > 1
    assert detailed.windows[1] == 1
    assert detailed.token_counts[0] > encoder.max_tokens
    assert encoder.encode_detailed([text], on_overflow="truncate").truncated == 1
    with pytest.raises(taesr.InvalidArgument, match=r"text 0 has \d+ tokens; at most 830"):
        encoder.encode([text], on_overflow="error")


def test_a_pass_reads_as_many_tokens_as_asked(encoder: Encoder) -> None:
    text = "The weather is mild in the mountains. " * 20
    detailed = encoder.encode_detailed([text, "short"], on_overflow="truncate", max_tokens=16)
    assert detailed.truncated == 1
    beginning = "The weather is mild in the mountains. The weather is mild in the mountains. "
    assert encoder.count_tokens(beginning) == 16
    np.testing.assert_allclose(detailed.embeddings[0], encoder.encode(beginning)[0], atol=2e-2)
    assert encoder.encode_detailed([text], max_tokens=16).windows[0] > 10
    for bad in (0, 15, encoder.max_tokens + 1):
        with pytest.raises(taesr.InvalidArgument, match=f"max_tokens is {bad}; allowed: 16 to 830"):
            encoder.encode([text], max_tokens=bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim is 0; allowed: 1 to 384"),
        ({"dim": 385}, "dim is 385"),
        ({"depth": 0}, "depth is '0'"),
        ({"depth": "deep"}, "depth is 'deep'"),
        ({"role": "title"}, "role is 'title'; allowed: query, passage"),
        ({"on_overflow": "wrap"}, "on_overflow is 'wrap'"),
    ],
)
def test_bad_options_are_named_with_what_is_allowed(encoder: Encoder, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder.encode(["a"], **options)


def test_texts_that_are_not_strings_are_named(encoder: Encoder) -> None:
    with pytest.raises(taesr.InvalidArgument, match=r"texts\[1\] is a NoneType"):
        encoder.encode(["a", None])


def test_lone_surrogates_and_nuls_are_harmless(encoder: Encoder) -> None:
    vectors = encoder.encode(["a\ud800b", "a\0b", "\u200b" * 1000])
    assert np.isfinite(vectors).all()


def test_encoding_releases_the_interpreter(encoder: Encoder) -> None:
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = counted
    encoder.encode(["a passage of some length " * 20] * 32, depth="hard")
    during = counted - before
    done.set()
    thread.join()
    assert during > 1000


def test_missing_and_damaged_models_are_named(tmp_path) -> None:
    with pytest.raises(taesr.IoError, match="not a model folder"):
        Encoder.load(tmp_path / "nowhere")
    with pytest.raises(taesr.IoError, match=r"config\.json"):
        Encoder.load(tmp_path)
    (tmp_path / "config.json").write_text('{"layer_norm_eps": NaN}')
    with pytest.raises(taesr.InvalidArgument, match="layer_norm_eps"):
        Encoder.load(tmp_path)


def test_environment_names_the_default_model(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TAESR_MODEL", str(tmp_path / "mine"))
    with pytest.raises(taesr.IoError, match="mine"):
        Encoder.load()
