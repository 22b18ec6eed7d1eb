"""Decoders rounded by GPTQ: against a textbook loop, to the bit in the file, and what they say afterwards."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.python.training.tiny_decoder import small_conversations, small_texts, tiny_decoder, write_gguf

import taesr
from taesr import Decoder
from taesr._native import core
from taesr.cli import main
from taesr.nn import RecursiveDecoder
from taesr.training.decoder import QuantiseOptions, quantise_decoder
from taesr.training.decoder.block_rounding import KINDS, BlockKind, round_to_nearest
from taesr.training.decoder.calibration import HEAD, InputMoments, calibration_tokens
from taesr.training.decoder.gptq import relative_error, round_by_gptq

SIZES = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16}
FIELDS: list[dict[str, Any]] = [
    {},
    {"tied_embeddings": False, "sharing": "sequence", "recursions": 3},
    {"sharing": "middle_cycle", "recursions": 2, "routing": "expert_choice", "gate": "preserving"},
    {"sharing": "cycle", "recursions": 2, "routing": "token_choice"},
]
Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer, plain.gguf, and texts and conversations."""
    path = tmp_path_factory.mktemp("quantise")
    write_gguf(path / "plain.gguf", tiny_decoder(**SIZES))
    lines = [json.dumps({"text": text}) for text in small_texts().split("\n\n")]
    (path / "texts.jsonl").write_text("\n".join(lines) + "\n")
    (path / "chats.jsonl").write_text(small_conversations())
    return path


def drawn_decoder(**fields: Any) -> RecursiveDecoder:
    """Random weights, routers too."""
    decoder = tiny_decoder(**SIZES, **fields)
    if decoder.config.routing != "none":
        with torch.no_grad():
            decoder.get_parameter("model.router.weight").normal_()
    return decoder


def model_of(folder: Path, **fields: Any) -> tuple[Path, RecursiveDecoder]:
    decoder = drawn_decoder(**fields)
    decoder.save(folder)
    return folder, decoder


def moments_of(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Of inputs that depend on each other."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    inputs = inputs @ torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    return inputs.T @ inputs


def drawn_matrix(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


# --- the algorithm


def grids(kind: str, block: Array) -> list[tuple[float, float]]:
    shares = (1.0, 0.97, 0.94, 0.9, 0.86, 0.82, 0.78)
    if kind == "q4_0":
        farthest = block[np.abs(block).argmax()]
        return [(farthest * share / -8, 0.0) for share in (*shares, 8 / 7)]
    if kind == "q8_0":
        return [(np.abs(block).max() / 127, 0.0)]
    low, span = block.min(), block.max() - block.min()
    begins = [(1.0, 0.0)] + [(share, begin) for share in shares[1:] for begin in (0.25, 0.5, 0.75)]
    return [(span * share / 15, low + span * (1 - share) * begin) for share, begin in begins]


def textbook(kind: str, matrix: Array, hessian: Array, damping: float) -> tuple[Array, Array]:
    """GPTQ as its paper derives it: row by row, with the inverse of what is left after every column."""
    least, most = {"q4_0": (-8, 7), "q4_1": (0, 15), "q8_0": (-127, 127)}[kind]
    damped = hessian + damping * hessian.diagonal().mean() * np.eye(len(hessian))
    integers, values = np.zeros_like(matrix), np.zeros_like(matrix)
    for r in range(len(matrix)):
        row, inverse = matrix[r].copy(), np.linalg.inv(damped)
        cost = 1 / inverse.diagonal()
        for i in range(len(row)):
            if i % 32 == 0:
                block, best = row[i : i + 32], np.inf
                for scale, offset in grids(kind, block):
                    scale, offset = float(np.float16(scale)), float(np.float16(offset))
                    near = np.clip(np.round((block - offset) / scale), least, most) * scale + offset
                    error = float((cost[i : i + 32] * (near - block) ** 2).sum())
                    if error < best:
                        best, chosen = error, (scale, offset)
            scale, offset = chosen
            integers[r, i] = np.clip(np.round((row[i] - offset) / scale), least, most)
            values[r, i] = integers[r, i] * scale + offset
            row -= (row[i] - values[r, i]) / inverse[i, i] * inverse[i]
            inverse = inverse - np.outer(inverse[:, i], inverse[i]) / inverse[i, i]
            inverse[i] = inverse[:, i] = 0
    return integers, values


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_gptq_in_blocks_equals_the_textbook_column_by_column(kind: BlockKind) -> None:
    matrix, hessian = drawn_matrix(6, 96), moments_of(60, 96)  # fewer inputs than columns
    found = round_by_gptq(matrix, hessian, kind, damping=0.02)
    integers, values = textbook(kind.name, matrix.numpy(), hessian.numpy(), 0.02)
    np.testing.assert_array_equal(found.integers, integers)
    np.testing.assert_allclose(found.values(), values, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_products_change_less_than_by_rounding_to_nearest(kind: BlockKind) -> None:
    matrix, hessian = drawn_matrix(40, 128).float(), moments_of(500, 128).float()
    error = relative_error(matrix, round_by_gptq(matrix, hessian, kind), hessian)
    assert 0 < error < 0.6 * relative_error(matrix, round_to_nearest(matrix, kind), hessian)


def test_the_relative_error_is_that_of_the_products() -> None:
    inputs, matrix = torch.randn(50, 32), torch.randn(8, 32)
    rounded = round_to_nearest(matrix, KINDS["q4_0"])
    expected = (inputs @ (rounded.values() - matrix).T).square().sum() / (inputs @ matrix.T).square().sum()
    assert relative_error(matrix, rounded, inputs.T @ inputs) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_matrices_without_inputs_and_blocks_of_one_value_are_rounded_too(kind: BlockKind) -> None:
    matrix = drawn_matrix(5, 64).float()
    matrix[0] = 0
    matrix[1] = 0.25
    matrix[2, :32] = -3.0
    found = round_by_gptq(matrix, torch.zeros(64, 64), kind)
    values, nearest = found.values(), round_to_nearest(matrix, kind).values()
    assert (values[0] == 0).all()
    torch.testing.assert_close(values[:2], matrix[:2], rtol=1e-3, atol=0)
    assert (values - matrix).square().sum() <= (nearest - matrix).square().sum()
    assert relative_error(matrix, found, torch.zeros(64, 64)) == 0


# --- blocks in files


def read_blocks(kind: str, rows: npt.NDArray[np.uint8]) -> Array:
    """Values of [..., bytes a block], as ggml's documentation has them."""
    halves = np.ascontiguousarray(rows[..., :4]).view(np.float16).astype(np.float64)
    if kind == "q8_0":
        integers = np.ascontiguousarray(rows[..., 2:]).view(np.int8)
        return integers * halves[..., :1]
    packed = rows[..., 2:] if kind == "q4_0" else rows[..., 4:]
    integers = np.concatenate([packed & 15, packed >> 4], -1).astype(np.float64)
    scales = halves[..., :1]
    return (integers - 8) * scales if kind == "q4_0" else integers * scales + halves[..., 1:]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_bytes_are_ggmls_blocks(kind: BlockKind) -> None:
    rounded = round_by_gptq(drawn_matrix(7, 96).float(), moments_of(200, 96).float(), kind)
    found = read_blocks(kind.name, rounded.to_bytes()).reshape(7, 96)
    np.testing.assert_array_equal(found.astype(np.float32), rounded.values())


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("precision", KINDS)
def test_the_file_holds_what_gptq_found_to_the_bit(
    folder: Path, tmp_path: Path, precision: Any, fields: dict[str, Any]
) -> None:
    path, module = model_of(tmp_path / "model", **fields)
    options = QuantiseOptions(precision=precision, count=6)
    source = folder / "chats.jsonl"
    made = quantise_decoder(path, source, tmp_path / "m.gguf", options, tokenizer=folder / "plain.gguf")
    loaded = Decoder.load(made.path)
    weights = loaded.weights()

    texts = calibration_tokens(source, loaded, count=6, seed=0)
    moments = InputMoments(module)
    moments.add(texts)
    assert (made.texts, made.tokens) == (6, sum(map(len, texts)))
    expected = {}
    for name, parameter in module.state_dict().items():
        matrix = name.removesuffix(".weight")
        if matrix == "model.embed_tokens":
            expected[name] = parameter
            continue
        if parameter.dim() < 2 or "router" in name:
            np.testing.assert_array_equal(weights[name], parameter)
            continue
        first = matrix
        for others, one in {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}.items():
            first = first.replace(others, one)
        rounded = round_by_gptq(parameter, moments.sums[first], KINDS[precision])
        np.testing.assert_array_equal(weights[name], rounded.values(), err_msg=name)
    Decoder.load(path).save(tmp_path / "nearest.gguf", precision=precision, tokenizer=folder / "plain.gguf")
    nearest = Decoder.load(tmp_path / "nearest.gguf").weights()
    for name in expected:  # the table as Decoder.save rounds it
        np.testing.assert_array_equal(weights[name], nearest[name])
    assert loaded.generate([{"role": "user", "content": "Two"}], max_tokens=4).tokens


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("precision", ["q4_1", "q4_0"])
def test_scores_on_other_texts_change_less_than_by_rounding_to_nearest(
    folder: Path, tmp_path: Path, precision: Any, fields: dict[str, Any]
) -> None:
    path, _ = model_of(tmp_path / "model", **fields)
    tokenizer = folder / "plain.gguf"
    options = QuantiseOptions(precision=precision, count=40)
    made = quantise_decoder(path, folder / "texts.jsonl", tmp_path / "g.gguf", options, tokenizer=tokenizer)
    whole = Decoder.load(path)
    whole.save(tmp_path / "n.gguf", precision=precision, tokenizer=tokenizer)
    drawn = calibration_tokens(folder / "texts.jsonl", Decoder.load(tokenizer), count=40, seed=0)
    every = calibration_tokens(folder / "texts.jsonl", Decoder.load(tokenizer), count=80, seed=0)
    others = [text for text in every if text not in drawn]
    assert len(others) == 40

    def error(file: Path) -> float:
        decoder = Decoder.load(file, precision="float32")
        return sum(float(np.square(decoder.logits(text) - whole.logits(text)).sum()) for text in others)

    assert made.error < 0.7 * made.nearest_error
    assert error(made.path) < 0.8 * error(tmp_path / "n.gguf")


def test_equal_seeds_make_equal_files(folder: Path, tmp_path: Path) -> None:
    def file(name: str, seed: int) -> bytes:
        options = QuantiseOptions(count=5, seed=seed)
        quantise_decoder(folder / "plain.gguf", folder / "chats.jsonl", tmp_path / name, options)
        return (tmp_path / name).read_bytes()

    assert file("a.gguf", 3) == file("b.gguf", 3)
    assert file("a.gguf", 3) != file("c.gguf", 4)


def test_blocks_that_do_not_fit_are_refused_and_leave_no_file(folder: Path, tmp_path: Path) -> None:
    decoder = Decoder.load(folder / "plain.gguf")
    path = tmp_path / "m.gguf"
    name = "model.layers.0.self_attn.k_proj.weight"  # [32, 64]
    fits = np.zeros(32 * 2 * 20, np.uint8)

    def refused(blocks: dict[str, npt.NDArray[np.uint8]], match: str, precision: Any = "q4_1") -> None:
        with pytest.raises(taesr.InvalidArgument, match=match):
            decoder.save(path, precision=precision, blocks=blocks)
        assert not path.exists()

    refused({name: fits[:-1]}, r"k_proj.weight' have 1279 bytes; \[32, 64\] in Q4_1 takes 1280")
    refused({name: fits}, "Q8_0 takes 2176", "q8_0")
    absent = "model.layers.6.mlp.up_proj.weight"
    refused({name: fits, absent: fits}, r"layers.6.mlp.up_proj.weight' are of no")
    refused({"model.norm.weight": fits}, r"model.norm.weight' are of no matrix of this model")
    infinite = fits.copy()
    infinite[1] = 0x7C
    refused({name: infinite}, "k_proj.weight' hold a value that is not finite")
    with pytest.raises(TypeError):
        decoder.save(path, precision="q4_1", blocks={name: fits.astype(np.float32)})  # type: ignore[dict-item]
    decoder.save(path, precision="q4_1", blocks={name: fits})
    weights = Decoder.load(path).weights()
    assert not weights[name].any()
    assert weights[name.replace("k_proj", "q_proj")].any()


# --- calibration


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_moments_are_of_all_recursions_of_the_tokens_that_pass(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "cpu_multiplies_bfloat16", lambda: False)  # exact
    module = drawn_decoder(**fields)
    config = module.config
    tokens = torch.randint(3, 259, (1, 50), generator=torch.Generator().manual_seed(1))
    seen: list[tuple[int, torch.Tensor]] = []

    def note(layer: int) -> Callable[..., None]:
        return lambda _, arguments: seen.append((layer, arguments[0][0]))

    hooks = [
        layer.get_submodule("mlp.down_proj").register_forward_pre_hook(note(number))
        for number, layer in enumerate(module.model.layers)
    ]
    with torch.no_grad():
        output = module(tokens)
    for hook in hooks:
        hook.remove()
    expected = [torch.zeros(96, 96) for _ in range(config.unique_layers)]
    times = [0] * config.unique_layers
    for layer, inputs in seen:
        inside = config.end_layers <= layer < config.unique_layers - config.end_layers
        if output.routing and inside:
            inputs = inputs[output.routing[times[layer]].selected[0]]
        times[layer] += 1
        expected[layer] += inputs.T @ inputs
    if output.routing:
        assert not output.routing[1].selected.all()

    moments = InputMoments(module)
    moments.add(tokens.tolist())
    for layer, found in enumerate(expected):
        name = f"model.layers.{layer}.mlp.down_proj"
        torch.testing.assert_close(moments.sums[name], found, rtol=1e-4, atol=1e-3)
    hidden = output.hidden[0]
    torch.testing.assert_close(moments.sums[HEAD], hidden.T @ hidden, rtol=1e-4, atol=1e-3)


def test_texts_are_drawn_once_each_and_cut_where_they_are_long(folder: Path, tmp_path: Path) -> None:
    tokenizer = Decoder.load(folder / "plain.gguf")
    path = tmp_path / "numbers.jsonl"
    path.write_text("".join(json.dumps({"text": f"{i:04}"}) + "\n" for i in range(200)))
    drawn = [tokenizer.decode(text) for text in calibration_tokens(path, tokenizer, count=50, seed=1)]
    assert len(set(drawn)) == 50
    assert sum(int(text) for text in drawn) == pytest.approx(50 * 99.5, rel=0.2)
    assert len(calibration_tokens(path, tokenizer, count=1000, seed=1)) == 200
    path.write_text(json.dumps({"text": "long " * 100}))
    assert [len(text) for text in calibration_tokens(path, tokenizer, count=5, seed=0)] == [128]


def test_conversations_are_read_to_the_end_of_the_answer(folder: Path) -> None:
    tokenizer = Decoder.load(folder / "plain.gguf")
    lines = [json.loads(line)["messages"] for line in small_conversations().splitlines()]
    texts = calibration_tokens(folder / "chats.jsonl", tokenizer, count=60, seed=0)
    expected = [tokenizer.encode_chat([one]) + tokenizer.encode(other["content"]) for one, other in lines]
    assert texts == expected


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        ("", taesr.FormatError, r'no documents; write lines such as \{"text"'),
        ('{"text": "a"}\n{"text": 3}\n', taesr.FormatError, r'c.jsonl:2: "text" must be a string'),
        ('{"messages": []}\n', taesr.FormatError, r"c.jsonl:1: .*at least one message"),
        ('{"messages": [{"role": "user", "content": "a"}]}\n', taesr.FormatError, r"c.jsonl:1: .*no answer"),
        ('{"text": "a"', taesr.FormatError, r"c.jsonl:1: not JSON"),
        (None, taesr.IoError, r"c.jsonl"),
    ],
)
def test_calibration_that_cannot_be_read_is_named(
    folder: Path, tmp_path: Path, content: str | None, error: type[Exception], match: str
) -> None:
    path, output = tmp_path / "c.jsonl", tmp_path / "m.gguf"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=match):
        quantise_decoder(folder / "plain.gguf", path, output)
    assert not output.exists()


def test_what_cannot_be_done_is_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    model, chats = folder / "plain.gguf", folder / "chats.jsonl"
    with pytest.raises(taesr.InvalidArgument, match=r"precision is 'q5_k'; allowed: q4_0, q4_1, q8_0"):
        QuantiseOptions(precision="q5_k")  # type: ignore[arg-type]
    with pytest.raises(taesr.InvalidArgument, match="count is 0; allowed: at least 1"):
        QuantiseOptions(count=0)
    with pytest.raises(taesr.InvalidArgument, match="damping is 0; allowed"):
        QuantiseOptions(damping=0)
    with pytest.raises(taesr.IoError, match=r"cannot write .*m.gguf: no such folder"):
        quantise_decoder(model, chats, tmp_path / "absent" / "m.gguf")
    with pytest.raises(taesr.IoError, match=r"cannot write .*: it is a folder"):
        quantise_decoder(model, chats, tmp_path)
    path, _ = model_of(tmp_path / "model")
    with pytest.raises(taesr.InvalidArgument, match="has no tokenizer; name a GGUF file"):
        quantise_decoder(path, chats, tmp_path / "m.gguf")
    other, _ = model_of(tmp_path / "other", vocab_size=300)
    with pytest.raises(taesr.InvalidArgument, match=r"plain\.gguf has 259 tokens; .*other has 300"):
        quantise_decoder(other, chats, tmp_path / "m.gguf", tokenizer=model)
    write_gguf(tmp_path / "narrow.gguf", tiny_decoder())
    with pytest.raises(taesr.InvalidArgument, match="intermediate_size is 48; blocks need a multiple of 32"):
        quantise_decoder(tmp_path / "narrow.gguf", chats, tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_states_that_are_not_finite_are_an_error(folder: Path, tmp_path: Path) -> None:
    decoder = tiny_decoder(**SIZES)
    with torch.no_grad():
        decoder.get_parameter("model.layers.2.post_attention_layernorm.weight").fill_(1e25)
    write_gguf(tmp_path / "large.gguf", decoder)
    with pytest.raises(taesr.Error, match="calibration texts are not finite"):
        quantise_decoder(tmp_path / "large.gguf", folder / "chats.jsonl", tmp_path / "m.gguf")


# --- the command


def test_the_command_writes_the_file_and_says_how_near_it_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = model_of(tmp_path / "model", sharing="middle_cycle", recursions=2)
    arguments = ["quantise-decoder", str(path), "--calibration", str(folder / "chats.jsonl")]
    output = tmp_path / "m.gguf"
    arguments += ["--output", str(output), "--tokenizer", str(folder / "plain.gguf"), "--count", "4"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "on 4 texts" in shown.out
    assert f"wrote {output}" in shown.err
    assert main([*arguments, "--precision", "q4_0", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(output)
    assert facts["error"] < facts["nearest_error"]
    assert main([*arguments, "--precision", "q2"]) == 2
    assert main([*arguments[:-4], "--count", "4"]) == 1
    assert "has no tokenizer" in capsys.readouterr().err


def test_progress_is_shown_of_texts_and_matrices(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    quantise_decoder(
        folder / "plain.gguf",
        folder / "chats.jsonl",
        tmp_path / "m.gguf",
        QuantiseOptions(count=3),
        report=lambda *what: seen.append(what),
    )
    labels = list(dict.fromkeys(label for label, _, _ in seen))
    assert labels == ["read documents", "calibrated on texts", "rounded inputs' matrices"]
    for label in labels[1:]:
        done = [(count, total) for name, count, total in seen if name == label]
        assert [count for count, _ in done] == sorted(count for count, _ in done)
        assert done[-1][0] == done[-1][1]
