"""Up-training on the CPU: what rows hold, what losses are, that runs go on exactly; and what comes out."""

import gzip
import json
import lzma
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.python.training.runs import python, rows_of
from tests.python.training.tiny_decoder import (
    decoder_config,
    decoder_document,
    small_conversations,
    small_texts,
    tiny_config,
    tiny_decoder,
    write_gguf,
)
from torch.nn import functional

import taesr
from taesr import Decoder
from taesr.cli import main
from taesr.nn import RecursiveDecoder
from taesr.nn.token_routing import keep_best
from taesr.training.decoder import DecoderTrainConfig, DecoderTrainer, train_decoder
from taesr.training.decoder.config import (
    DecoderDataOptions,
    DecoderModelOptions,
    DecoderRoutingOptions,
    DecoderShapeOptions,
)
from taesr.training.decoder.head_loss import HeadLossOptions, cross_entropies, head_loss
from taesr.training.decoder.held_out import HeldOutLoss
from taesr.training.decoder.rows import BatchPlanner, RowReader
from taesr.training.decoder.rows import rows_of as rows_from
from taesr.training.decoder.start import start_model
from taesr.training.decoder.step import capacity_now
from taesr.training.decoder.tokens import TokenCache, conversation_tokens, prepare_tokens
from taesr.training.distributed import World

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "start.gguf"
    write_gguf(path, tiny_decoder())
    return path


def cache_of(folder: Path, gguf: Path, text: str, name: str = "texts.txt", **options: Any) -> TokenCache:
    (folder / name).write_text(text)
    fields = {"cache": str(folder / "cache"), "sources": [str(folder / name)], **options}
    return prepare_tokens(DecoderDataOptions(**fields), str(gguf))


def losses_by_step(folder: Path) -> dict[int, dict[str, float]]:
    names = ("loss", "cross_entropy", "divergence", "auxiliary", "gradient_norm")
    return {row["step"]: {name: row[name] for name in names} for row in rows_of(folder)}


# --- losses


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("chunk", [5, 100])
def test_head_loss_and_its_gradients_equal_those_of_all_scores_at_once(
    temperature: float, chunk: int
) -> None:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    hidden, table = draw(17, 6).requires_grad_(), draw(23, 6).requires_grad_()
    theirs, their_table = draw(17, 9), draw(23, 9)
    targets = torch.randint(23, (17,), generator=generator)
    options = HeadLossOptions(cross_entropy=0.7, teacher=1.3, temperature=temperature, chunk_tokens=chunk)
    found = head_loss(hidden, table, targets, options, (theirs, their_table))
    gradients = torch.autograd.grad(2 * found.total, [hidden, table])

    scores = hidden @ table.T
    entropy = functional.cross_entropy(scores, targets)
    divergence = functional.kl_div(
        (scores / temperature).log_softmax(-1),
        (theirs @ their_table.T / temperature).softmax(-1),
        reduction="batchmean",
    )
    total = 0.7 * entropy + 1.3 * temperature**2 * divergence
    torch.testing.assert_close(found.total, total)
    torch.testing.assert_close(found.cross_entropy, entropy)
    torch.testing.assert_close(found.divergence, divergence)
    torch.testing.assert_close(gradients, torch.autograd.grad(2 * total, [hidden, table]))
    each = cross_entropies((hidden, table), targets, chunk)
    torch.testing.assert_close(each, functional.cross_entropy(scores, targets, reduction="none").detach())


def test_head_loss_without_a_teacher_is_the_cross_entropy() -> None:
    torch.manual_seed(0)
    hidden, table = torch.randn(4, 6, requires_grad=True), torch.randn(9, 6, requires_grad=True)
    targets = torch.tensor([0, 8, 3, 3])
    found = head_loss(hidden, table, targets, HeadLossOptions())
    expected = functional.cross_entropy(hidden @ table.T, targets)
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.total, [hidden, table]), torch.autograd.grad(expected, [hidden, table])
    )
    assert found.divergence == 0


# --- texts, rows and batches


def test_rows_hold_every_token_once_in_the_order_of_the_documents(tmp_path: Path, gguf: Path) -> None:
    options = DecoderDataOptions(cache="x", sequence_length=32)
    cache = cache_of(tmp_path, gguf, small_texts(), held_out=0.0)
    tokens = cache.splits["train"]
    order = np.random.default_rng(3).permutation(len(tokens.lengths))
    stream = np.concatenate([tokens.tokens[tokens.starts[i] : tokens.starts[i + 1]] for i in order])
    rows = rows_from(tokens, order, options)
    assert len(rows) == (len(stream) - 1) // 32
    batch = RowReader(tokens, cache, options).read([rows[i] for i in range(len(rows))], CPU)
    assert batch.places is None
    assert batch.documents is None
    np.testing.assert_array_equal(batch.inputs.flatten(), stream[: len(rows) * 32])
    np.testing.assert_array_equal(batch.targets, stream[1 : len(rows) * 32 + 1])


def test_texts_end_with_their_separator_whatever_the_file_is_like(tmp_path: Path, gguf: Path) -> None:
    texts = ["first paragraph\nsecond", "another text: naïve ☃"]
    plain = "\n\n".join(texts)
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "c.txt.xz").write_bytes(lzma.compress(("\n\n\n" + plain + "\n\n").encode()))
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(plain.replace("\n", "\r\n").encode()))
    expected = [token for text in texts for token in [*Decoder.load(gguf).encode(text), 0]]
    for name in ("a.txt", "b.jsonl", "c.txt.xz", "d.txt.gz"):
        if name == "a.txt":
            (tmp_path / name).write_text(plain)
        options = DecoderDataOptions(
            cache=str(tmp_path / name[0]), sources=[str(tmp_path / name)], held_out=0.0
        )
        cache = prepare_tokens(options, str(gguf))
        assert cache.splits["train"].tokens.tolist() == expected, name


def test_held_out_documents_are_trained_on_by_nobody_and_stay_the_same(tmp_path: Path, gguf: Path) -> None:
    def documents(cache: TokenCache, split: str) -> set[tuple[int, ...]]:
        tokens = cache.splits[split]
        return {
            tuple(tokens.tokens[a:b].tolist())
            for a, b in zip(tokens.starts[:-1], tokens.starts[1:], strict=True)
        }

    text = small_texts()
    (tmp_path / "twice").mkdir()
    one = cache_of(tmp_path, gguf, text, held_out=0.3)
    two = cache_of(tmp_path / "twice", gguf, small_texts(8) + "\nmore\n\n" + text + "\n" + text, held_out=0.3)
    assert documents(one, "train").isdisjoint(documents(one, "held"))
    assert 0.1 < len(documents(one, "held")) / 80 < 0.5
    assert documents(two, "train").isdisjoint(documents(two, "held"))
    assert documents(one, "held") <= documents(two, "held")  # copies and new neighbours change nothing
    (tmp_path / "apart.txt").write_text("only measured\n")
    more = {"held_out_sources": [str(tmp_path / "apart.txt")], "held_out": 0.0}
    three = cache_of(tmp_path, gguf, text, **more)
    assert len(documents(three, "train")) == 80
    assert documents(three, "held") == {(*Decoder.load(gguf).encode("only measured"), 0)}


def test_a_document_name_keeps_its_records_on_one_side(tmp_path: Path, gguf: Path) -> None:
    lines = [json.dumps({"text": f"part {i} of {i // 5}", "document": f"d{i // 5}"}) for i in range(100)]
    cache = cache_of(tmp_path, gguf, "\n".join(lines), "t.jsonl", held_out=0.4)
    sizes = {split: len(tokens.lengths) for split, tokens in cache.splits.items()}
    assert sizes["train"] + sizes["held"] == 100
    assert sizes["held"] % 5 == 0
    assert sizes["held"] > 0


def test_conversations_learn_answers_and_nothing_else(gguf: Path) -> None:
    decoder = Decoder.load(gguf)
    talk = [("user", "Hi"), ("assistant", " Hello."), ("user", "More?"), ("assistant", "No.")]
    tokens, trained = conversation_tokens(decoder, talk, 2)
    assert len(tokens) == len(trained)
    learnt = [token for token, flag in zip(tokens, trained, strict=True) if flag]
    assert learnt == [*decoder.encode(" Hello."), 2, *decoder.encode("No."), 2]
    messages = [{"role": role, "content": content} for role, content in talk]
    prompt = decoder.encode_chat(messages[:3])
    assert tokens == [*prompt, *decoder.encode("No."), 2]
    first = decoder.encode_chat(messages[:1])
    assert tokens[: len(first)] == first


def test_conversations_are_packed_whole_and_see_themselves_only(tmp_path: Path, gguf: Path) -> None:
    options = DecoderDataOptions(
        kind="chat", cache=str(tmp_path / "c"), sources=[str(tmp_path / "t.jsonl")], sequence_length=119,
        held_out=0.0,
    )  # fmt: skip
    (tmp_path / "t.jsonl").write_text(small_conversations(20))
    cache = prepare_tokens(options, str(gguf))
    tokens = cache.splits["train"]
    rows = rows_from(tokens, np.arange(20), options)
    assert sorted(span for row in rows for span in row) == list(
        zip(tokens.starts[:-1].tolist(), tokens.starts[1:].tolist(), strict=True)
    )
    assert all(sum(stop - begin for begin, stop in row) <= 120 for row in rows)
    batch = RowReader(tokens, cache, options).read([rows[0]], CPU)
    assert batch.documents is not None
    assert batch.places is not None
    flags = np.concatenate([tokens.trained[a:b] for a, b in rows[0]])  # type: ignore[index]
    assert len(batch.targets) == flags.sum()
    at = batch.places.tolist()
    assert [batch.inputs[0, place + 1].item() for place in at[:-1]] == batch.targets.tolist()[:-1]

    decoder = tiny_decoder(sharing="middle_cycle", recursions=2, routing="expert_choice")
    with torch.no_grad():
        torch.nn.init.normal_(decoder.model.router.weight)  # type: ignore[arg-type,union-attr]
    together = decoder(batch.inputs, documents=batch.documents)
    begin = 0
    for a, b in rows[0]:
        alone = decoder(torch.tensor(tokens.tokens[a:b].astype(np.int64))[None])
        end = min(begin + b - a, 119)
        torch.testing.assert_close(together.hidden[0, begin:end], alone.hidden[0, : end - begin])
        begin = end
    half = [1.0, 0.5]
    mixed = decoder(batch.inputs, documents=batch.documents, capacity=half).hidden
    changed = batch.inputs.clone()
    changed[0, : rows[0][0][1] - rows[0][0][0]] = 7  # another first text, the same choices after the first
    assert mixed.shape == decoder(changed, documents=batch.documents, capacity=half).hidden.shape


def test_batches_come_in_the_same_order_again_and_processes_share_them(tmp_path: Path, gguf: Path) -> None:
    cache = cache_of(tmp_path, gguf, small_texts(), held_out=0.0)
    options = DecoderDataOptions(cache="x", sequence_length=32, batch_sequences=4)

    def planner(rank: int, world: int, size: int = 4) -> BatchPlanner:
        chosen = DecoderDataOptions(cache="x", sequence_length=32, batch_sequences=size)
        return BatchPlanner(cache, chosen, seed=5, rank=rank, world=world, device=CPU)

    one = planner(0, 1, 8)
    halves = [planner(rank, 2) for rank in (0, 1)]
    for _ in range(3):
        both = torch.cat([half.next().inputs for half in halves])
        assert torch.equal(one.next().inputs, both)
    state = halves[0].state_dict()
    expected = [halves[0].next().inputs for _ in range(40)]
    assert halves[0].epoch >= 1
    again = planner(0, 2)
    again.load_state_dict(json.loads(json.dumps(state)))
    assert all(torch.equal(again.next().inputs, inputs) for inputs in expected)
    with pytest.raises(taesr.InvalidArgument, match="another data section"):
        one.load_state_dict(state)
    with pytest.raises(taesr.InvalidArgument, match=r"rows of data\.sequence_length 32; allowed: at least"):
        planner(0, 1000)
    for each in (one, again, *halves):
        each.close()
    assert options.apart is False


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("text", '{"text": 3}', '"text" must be a string'),
        ("text", "not json", "not JSON"),
        ("text", "[1]", "not a JSON object"),
        ("text", "", "blank line"),
        ("text", '{"text": "x", "document": 4}', '"document" is 4'),
        ("text", '{"text": "\\ud800"}', "surrogate"),
        ("chat", '{"messages": []}', "at least one message"),
        ("chat", '{"messages": [{"role": "user", "content": "x"}]}', "has no answer"),
        ("chat", '{"messages": [{"role": "robot", "content": "x"}]}', "message 0 has \"role\" 'robot'"),
        ("chat", '{"messages": [{"role": "user"}]}', "message 0 must be an object of exactly"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, gguf: Path, kind: Any, line: str, message: str) -> None:
    good = json.dumps({"text": "good"}) if kind == "text" else small_conversations(1).strip()
    with pytest.raises(taesr.FormatError, match=message) as caught:
        cache_of(tmp_path, gguf, f"{good}\n{line}\n{good}\n", "t.jsonl", kind=kind)
    assert "t.jsonl:2: " in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_bad_files_are_named(tmp_path: Path, gguf: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"fine\nbad \xff byte\n")
    options = {"cache": str(tmp_path / "c"), "sources": [str(tmp_path / "x.txt")]}
    with pytest.raises(taesr.FormatError, match=r"x\.txt:2: not valid UTF-8 at byte 4"):
        prepare_tokens(DecoderDataOptions(**options), str(gguf))
    (tmp_path / "x.txt").write_text("\n\n")
    with pytest.raises(taesr.FormatError, match="no documents"):
        prepare_tokens(DecoderDataOptions(**options), str(gguf))
    (tmp_path / "x.txt.xz").write_bytes(lzma.compress(b"text" * 1000)[:-20])
    with pytest.raises(taesr.FormatError, match="damaged or cut short"):
        prepare_tokens(DecoderDataOptions(**options | {"sources": [str(tmp_path / "x.txt.xz")]}), str(gguf))
    with pytest.raises(taesr.IoError, match=r"absent\.txt"):
        prepare_tokens(DecoderDataOptions(**options | {"sources": [str(tmp_path / "absent.txt")]}), str(gguf))


def test_cache_is_made_once_and_again_when_its_sources_change(tmp_path: Path, gguf: Path) -> None:
    made: list[int] = []

    def prepare(**options: Any) -> TokenCache:
        fields = {"cache": str(tmp_path / "c"), "sources": [str(tmp_path / "t.txt")], **options}
        return prepare_tokens(
            DecoderDataOptions(**fields), str(gguf), report=lambda what, done, of: made.append(done)
        )

    (tmp_path / "t.txt").write_text("one\n\ntwo\n")
    prepare()
    prepare()
    assert made == [2]
    (tmp_path / "t.txt").write_text("one\n\ntwo\n\nthree\n")
    prepare()
    assert made == [2, 3]
    prepare(held_out=0.4)
    assert made == [2, 3, 3]
    as_it_is = prepare(sources=[], held_out=0.0)
    assert sum(len(tokens.lengths) for tokens in as_it_is.splits.values()) == 3
    with pytest.raises(taesr.InvalidArgument, match=r"is of kind text; data\.kind is chat"):
        prepare(sources=[], kind="chat")
    with pytest.raises(taesr.InvalidArgument, match=r"data\.sources is empty and .* is no cache"):
        prepare(sources=[], cache=str(tmp_path / "nowhere"))
    with open(tmp_path / "c" / "train.tokens", "r+b") as file:
        file.write(b"\xff")
    with pytest.raises(taesr.ChecksumError, match=r"train\.tokens: changed since"):
        prepare(held_out=0.4)
    with pytest.raises(taesr.InvalidArgument, match="is not empty and no cache of tokens"):
        prepare(cache=str(tmp_path))
    with pytest.raises(taesr.InvalidArgument, match=r"data\.tokenizer is missing"):
        prepare_tokens(DecoderDataOptions(cache="x", sources=["t.txt"]), None)


# --- the start


@pytest.mark.parametrize("initialisation", ["stepwise", "average", "lower", "upper"])
@pytest.mark.parametrize("routing", ["expert_choice", "token_choice"])
def test_new_routers_leave_the_recursive_model_as_it_is(
    gguf: Path, routing: Any, initialisation: Any
) -> None:
    options = {"init": str(gguf), "sharing": "middle_cycle", "initialisation": initialisation}
    plain = start_model(DecoderModelOptions(**options))
    routed = start_model(DecoderModelOptions(**options, routing=routing))
    texts = torch.randint(3, 259, (3, 20), generator=torch.Generator().manual_seed(5))
    expected = plain(texts).hidden
    torch.testing.assert_close(routed(texts).hidden, expected)
    if routing == "expert_choice":
        torch.testing.assert_close(routed(texts, capacity=[1.0, 1.0]).hidden, expected)
    storages = {p.untyped_storage().data_ptr() for p in routed.model.layers.parameters()}
    assert len(storages) == 9 * routed.config.unique_layers == 9 * 4


def test_a_shape_that_does_not_go_with_the_start_is_refused(tmp_path: Path, gguf: Path) -> None:
    shared = tiny_decoder(sharing="middle_cycle", recursions=2, routing="expert_choice")
    shared.save(tmp_path / "shared")
    uneven = tiny_decoder(sharing="sequence", recursions=3)
    uneven.save(tmp_path / "sequence")
    for options, message in (
        ({"init": str(tmp_path / "shared"), "sharing": "cycle"}, "shares its layers already"),
        ({"init": str(tmp_path / "shared"), "routing": "token_choice"}, "has routers already"),
        ({"init": str(tmp_path / "sequence"), "routing": "expert_choice"}, "cycle and middle_cycle"),
        ({"init": str(gguf), "sharing": "middle_cycle", "layers": 5}, r"model\.layers is 5; allowed: 2 more"),
        ({"init": str(gguf), "sharing": "cycle", "recursions": 7}, r"model\.layers is 0"),
    ):
        with pytest.raises(taesr.InvalidArgument, match=message):
            start_model(DecoderModelOptions(**options))  # type: ignore[arg-type]
    again = start_model(DecoderModelOptions(init=str(tmp_path / "shared"), sharing="middle_cycle"))
    torch.testing.assert_close(again.state_dict(), shared.state_dict())
    three = start_model(DecoderModelOptions(init=str(gguf), sharing="middle_cycle", recursions=3))
    assert (three.config.layers, three.config.unique_layers) == (5, 3)


SCRATCH = {"hidden_size": 32, "layers": 6, "heads": 4, "kv_heads": 2, "max_positions": 128}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sharing": "sequence", "recursions": 3},
        {"sharing": "middle_cycle", "routing": "expert_choice", "gate": "scaled"},
        {"sharing": "cycle", "routing": "token_choice"},
    ],
)
def test_a_model_from_scratch_learns_and_the_engine_loads_it(tmp_path: Path, options: dict[str, Any]) -> None:
    changes = {"model": {"shape": SCRATCH, **options}, "losses": {}, "optimizer__name": "muon"}
    tokenizer = {"data__tokenizer": str(tmp_path / "start.gguf")}
    config = decoder_config(tmp_path, schedule__steps=40, unshared_lr=1.0, **changes, **tokenizer)
    result = train_decoder(config)
    losses = [row["cross_entropy"] for row in rows_of(tmp_path / "run")]
    assert losses[0] == pytest.approx(np.log(259), abs=0.2)  # it knows nothing yet
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert result.model is not None
    shape = Decoder.load(result.model).config
    assert (shape.vocab_size, shape.layers, shape.head_dim, shape.intermediate_size) == (259, 6, 8, 128)
    assert (shape.sharing, shape.routing) == (options.get("sharing", "none"), options.get("routing", "none"))


def test_random_weights_are_the_seeds(tmp_path: Path) -> None:
    def first_weights(seed: int, **shape: Any) -> torch.Tensor:
        sizes = {**SCRATCH, "vocab_size": 259, **shape}
        changes = {"model": {"shape": sizes}, "losses": {}, "seed": seed}
        with (
            World.join("cpu") as world,
            DecoderTrainer(
                decoder_config(tmp_path, **changes, data__tokenizer=str(tmp_path / "start.gguf")), world
            ) as trainer,
        ):
            return trainer.model.state_dict()["model.layers.5.self_attn.q_proj.weight"].clone()

    assert torch.equal(first_weights(3), first_weights(3))
    assert not torch.equal(first_weights(3), first_weights(4))
    assert first_weights(3, head_dim=16).shape == (64, 32)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, r"model\.init is missing; name a GGUF file or a model folder, or give shape"),
        ({"init": "x", "shape": SCRATCH}, r"model: init and shape are both set|model\.init and shape"),
        ({"layers": 4, "shape": SCRATCH}, r"model\.layers is for init; set shape\.layers"),
        ({"shape": {"hidden_size": 32, "layers": 6}}, r"field model\.shape\.heads is missing"),
        (
            {"shape": SCRATCH | {"heads": 5}},
            r"model\.shape\.heads is 5; allowed: divisors of hidden_size, 32",
        ),
        ({"shape": SCRATCH | {"kv_heads": 3}}, r"model\.shape\.kv_heads is 3; allowed: divisors of heads, 4"),
        ({"shape": SCRATCH | {"layers": 0}}, r"model\.shape\.layers is 0; allowed: at least 1"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(tmp_path: Path, model: dict[str, Any], message: str) -> None:
    with pytest.raises(taesr.InvalidArgument, match=message):
        decoder_config(tmp_path, model=model)


def test_a_shape_that_cannot_be_shared_or_has_no_vocabulary_is_refused() -> None:
    shape = DecoderShapeOptions(**SCRATCH, vocab_size=99)  # type: ignore[arg-type]
    for options, message in (
        ({"sharing": "middle_cycle", "recursions": 3}, r"model\.shape: .*recursions is 3"),
        (
            {"routing": "expert_choice"},
            r"model\.routing is expert_choice and the layers are shared as 'none'",
        ),
        ({"sharing": "sequence", "routing": "token_choice"}, "cycle and middle_cycle"),
    ):
        with pytest.raises(taesr.InvalidArgument, match=message):
            start_model(DecoderModelOptions(shape=shape, **options))  # type: ignore[arg-type]
    with pytest.raises(taesr.InvalidArgument, match=r"model\.shape\.vocab_size is missing"):
        start_model(DecoderModelOptions(shape=DecoderShapeOptions(**SCRATCH)))  # type: ignore[arg-type]


# --- capacities


def test_capacities_fall_in_steps_and_choose_as_many_tokens() -> None:
    options = DecoderRoutingOptions(warmup=0.5, step_tokens=8)
    counts = [int(capacity_now(options, 2, 60, done)[1] * 60) for done in np.linspace(0, 1, 21)]
    assert counts[0] == 60
    assert counts[10:] == [32] * 11
    assert counts == sorted(counts, reverse=True)
    assert all(count % 8 == 0 for count in counts[1:] if count < 60)
    scores = torch.tensor([[0.3, -1.0, 2.0, 0.1], [0.0, 1.0, 5.0, 3.0]])
    step = keep_best(scores, torch.tensor([[True, True, False, True], [True] * 4]), 2)
    assert step.places is not None
    assert step.places.tolist() == [[0, 3], [2, 3]]
    assert step.selected.nonzero()[:, 1].view(2, 2).tolist() == [[0, 3], [2, 3]]


# --- runs


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer__name": "muon", "optimizer__lr": 1e-2, "model__recursions": 4},
        {"model__routing": "none", "losses__teacher": None},
        {"model__routing": "token_choice", "routing__balancing": 0.05, "routing__bias_rate": 0.001},
        {"model__sharing": None, "model__routing": None},
        {"precision": "bf16", "accumulate": 2},
    ],
)
def test_losses_fall(tmp_path: Path, changes: dict[str, Any]) -> None:
    result = train_decoder(decoder_config(tmp_path, schedule__steps=40, **changes))
    losses = [row["cross_entropy"] for row in rows_of(tmp_path / "run")]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
    assert isinstance(result.evaluation, HeldOutLoss)
    assert result.evaluation.loss < losses[0]


@pytest.mark.parametrize("routing", ["none", "expert_choice", "token_choice"])
def test_engine_runs_what_was_trained_and_measures_the_same_loss(tmp_path: Path, routing: str) -> None:
    config = decoder_config(tmp_path, model__routing=routing, schedule__steps=25, export__weights="float32")
    result = train_decoder(config)
    assert result.model == tmp_path / "run" / "model"
    assert isinstance(result.evaluation, HeldOutLoss)
    engine, module = Decoder.load(result.model), RecursiveDecoder.load(result.model)
    teacher = Decoder.load(tmp_path / "start.gguf", precision="float32")
    cache = prepare_tokens(config.data, config.model.init)
    held = cache.splits["held"]
    stream = held.tokens.astype(np.int64)
    sums, count, passed = np.zeros(2), 0, 0
    for begin in range(0, len(stream) - 32, 32):
        row, targets = stream[begin : begin + 32], torch.tensor(stream[begin + 1 : begin + 33])
        scores = engine.logits(row.tolist())
        np.testing.assert_allclose(
            scores, module.head(module(torch.tensor(row)[None]).hidden[0]).detach(), atol=2e-4
        )
        for i, logits in enumerate((scores, teacher.logits(row.tolist()))):
            sums[i] += functional.cross_entropy(torch.tensor(logits), targets, reduction="sum").item()
        passed += sum(depth == 2 for depth in engine.trace(row.tolist()).recursions)
        count += 32
    assert result.evaluation.tokens == count
    assert result.evaluation.loss == pytest.approx(sums[0] / count, abs=1e-4)
    assert result.evaluation.teacher == pytest.approx(sums[1] / count, abs=1e-4)
    if routing != "none":
        assert result.evaluation.passing == [1.0, pytest.approx(passed / count)]
    facts = rows_of(tmp_path / "run", "evaluation")[-1]["figures"]
    assert facts["gap"] == pytest.approx((sums[0] - sums[1]) / count, abs=2e-4)


def test_layers_alone_learn_what_the_teachers_layers_give(tmp_path: Path) -> None:
    """A copy has nothing to learn; a shared model comes nearer to the teacher than it was."""
    copy = decoder_config(tmp_path, model__sharing=None, model__routing=None, losses__layers_until=1.0)
    train_decoder(copy)
    assert rows_of(tmp_path / "run")[0]["layers"] < 1e-9

    def distance(model: RecursiveDecoder) -> float:
        texts = torch.tensor(Decoder.load(tmp_path / "start.gguf").encode(small_texts(1)))[None, :100]
        own, theirs = (m.head(m(texts).hidden).log_softmax(-1) for m in (model, tiny_decoder()))
        return functional.kl_div(own[0], theirs[0], log_target=True, reduction="batchmean").item()

    alone = decoder_config(
        tmp_path,
        output=str(tmp_path / "alone"),
        model__routing=None,
        losses__layers_until=1.0,
        schedule__steps=150,
        optimizer__name="muon",
    )
    result = train_decoder(alone)
    losses = [row["layers"] for row in rows_of(tmp_path / "alone")]
    assert losses[-1] < 0.7 * losses[0]
    assert result.model is not None
    assert distance(RecursiveDecoder.load(result.model)) < 0.7 * distance(start_model(alone.model))


def test_routers_learn_to_tell_by_their_sign_who_is_chosen(tmp_path: Path) -> None:
    result = train_decoder(decoder_config(tmp_path, schedule__steps=150, optimizer__lr=2e-3))
    assert isinstance(result.evaluation, HeldOutLoss)
    assert result.evaluation.passing[1] == pytest.approx(0.5, abs=0.15)


def test_a_killed_run_goes_on_with_the_same_losses(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "schedule__steps": 16,
        "checkpoints": {"every_steps": 4, "every_seconds": None},
        "optimizer__name": "muon",
    }
    script = (
        "import json, os, signal, sys, torch\n"
        "from taesr.training.decoder import DecoderTrainConfig, train_decoder\n"
        "torch.set_num_threads(1)\n"
        "def say(line):\n"
        "    if line.startswith('step ' + sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "train_decoder(DecoderTrainConfig.from_dict(json.loads(sys.argv[1])), say=say)\n"
    )
    for name, stop_at in (("whole", "never"), ("killed", "10 ")):
        document = decoder_document(tmp_path, output=str(tmp_path / name), **changes)
        process = python("-c", script, json.dumps(document), stop_at)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == (0 if name == "whole" else -signal.SIGKILL), errors
    assert not (tmp_path / "killed" / "model").exists()
    train_decoder(decoder_config(tmp_path, output=str(tmp_path / "killed"), **changes))
    assert [row["step"] for row in rows_of(tmp_path / "killed")] == [*range(1, 11), *range(9, 17)]
    assert losses_by_step(tmp_path / "killed") == losses_by_step(tmp_path / "whole")
    one, other = (RecursiveDecoder.load(tmp_path / name / "model") for name in ("whole", "killed"))
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_two_processes_train_the_same_model_as_one(tmp_path: Path) -> None:
    for name, processes, rows in (("one", 1, 8), ("two", 2, 4)):
        document = decoder_document(
            tmp_path,
            output=str(tmp_path / name),
            data__batch_sequences=rows,
            schedule__steps=4,
            model__routing="token_choice",
            routing__bias_rate=0.01,
            export__weights="float32",
        )
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
        process = python(
            "-m", "taesr", "train-decoder", str(tmp_path / f"{name}.json"), "--json", processes=processes
        )
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        assert json.loads(output)["steps"] == 4
    one, two = ([row["loss"] for row in rows_of(tmp_path / name)] for name in ("one", "two"))
    np.testing.assert_allclose(two, one, rtol=1e-4)
    figures = [rows_of(tmp_path / name, "evaluation")[-1]["figures"] for name in ("one", "two")]
    assert figures[1]["held_out_loss"] == pytest.approx(figures[0]["held_out_loss"], rel=1e-3)
    assert figures[1]["tokens"] == figures[0]["tokens"]


def test_conversations_are_fine_tuned_from_an_up_trained_model(tmp_path: Path) -> None:
    first = train_decoder(decoder_config(tmp_path, schedule__steps=5))
    (tmp_path / "talk.jsonl").write_text(small_conversations(150))
    changes: dict[str, Any] = {
        "output": str(tmp_path / "tuned"),
        "model": {"init": str(first.model)},
        "data": {
            "kind": "chat",
            "cache": str(tmp_path / "talk"),
            "sources": [str(tmp_path / "talk.jsonl")],
            "tokenizer": str(tmp_path / "start.gguf"),
            "sequence_length": 120,
            "batch_sequences": 4,
            "held_out": 0.1,
        },
        "losses": {},
        "routing": {"warmup": 0.0},
        "freeze": ["model.router"],
    }
    result = train_decoder(decoder_config(tmp_path, schedule__steps=60, **changes))
    losses = [row["cross_entropy"] for row in rows_of(tmp_path / "tuned")]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])
    assert isinstance(result.evaluation, HeldOutLoss)
    assert result.evaluation.teacher is None
    assert result.model is not None
    before, after = (RecursiveDecoder.load(path) for path in (first.model, result.model) if path)
    assert torch.equal(before.state_dict()["model.router.weight"], after.state_dict()["model.router.weight"])
    assert rows_of(tmp_path / "tuned", "start")[0]["trained_parameters"] == (
        rows_of(tmp_path / "tuned", "start")[0]["parameters"] - 64
    )


def test_what_is_passed_once_takes_smaller_steps(tmp_path: Path) -> None:
    config = decoder_config(tmp_path, optimizer__name="muon", unshared_lr=0.25)
    with World.join("cpu") as world, DecoderTrainer(config, world) as trainer:
        names = {id(p): name for name, p in trainer.model.named_parameters()}
        rates = {
            names[id(p)]: group["lr"]
            for optimizer in trainer.state.optimizers
            for group in optimizer.param_groups
            for p in group["params"]
        }
    assert rates["model.layers.1.mlp.up_proj.weight"] == rates["model.router.weight"] == 3e-3
    for name in ("model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight", "model.norm.weight"):
        assert rates[name] == pytest.approx(0.25 * 3e-3)
    assert set(rates) == {name for name, _ in trainer.model.named_parameters()}


# --- configurations and the command


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.recursions", 1, r"model\.recursions is 1; allowed: 2 to 64"),
        ("model.sharing", "all", r'model\.sharing is "all"; allowed'),
        ("model.initialisation", "best", r'model\.initialisation is "best"; allowed: "stepwise"'),
        ("model.init", "", r"model\.init is missing"),
        ("data.sequence_length", 1, r"data\.sequence_length is 1; allowed: at least 2"),
        ("data.sequence_lenght", 8, r"unknown field data\.sequence_lenght; did you mean sequence_length"),
        ("data.held_out", 0.9, r"data\.held_out is 0\.9; allowed: 0 to 0\.5"),
        ("losses.teacher.temperature", 0, r"losses\.teacher\.temperature is 0; allowed: 0\.1 to 100"),
        ("losses", {"cross_entropy": 0}, r"losses: cross_entropy is 0|losses\.cross_entropy is 0"),
        ("routing.capacity", [1, 2], r"routing\.capacity\.1 is 2; allowed"),
        ("export.weights", "int8", r'export\.weights is "int8"; allowed'),
        ("schedule", {}, "no limit is set"),
        ("unshared_lr", -1, "unshared_lr is -1"),
    ],
)
def test_bad_fields_are_named_by_their_path(tmp_path: Path, field: str, value: Any, message: str) -> None:
    document = decoder_document(tmp_path, **{field.replace(".", "__"): value})
    with pytest.raises(taesr.InvalidArgument, match=message):
        DecoderTrainConfig.from_dict(document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"routing__capacity": [1.0]}, r"routing\.capacity has 1 values"),
        ({"routing__balancing": 0.1}, r"routing\.balancing and routing\.bias_rate are for token_choice"),
        ({"data__sequence_length": 500}, r"data\.sequence_length is 500; allowed: 2 to 128"),
        ({"losses__teacher__path": "other"}, r"losses\.teacher\.path has 50 tokens, the model 259"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    if "losses__teacher__path" in changes:
        RecursiveDecoder(tiny_config(vocab_size=50)).save(tmp_path / "other")
        changes = {"losses__teacher__path": str(tmp_path / "other")}
    with pytest.raises(taesr.InvalidArgument, match=message):
        train_decoder(decoder_config(tmp_path, **changes))


def test_command_trains_overrides_fields_and_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(decoder_document(tmp_path)))
    assert main(["train-decoder", str(path), "--set", "schedule.steps=2", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["steps"] == 2
    assert found["evaluation"]["held_out_loss"] > 0
    assert os.path.isdir(found["model"])
    assert "tokens/s" in printed.err
    assert "teacher" in printed.err
    assert main(["train-decoder", str(path), "--set", "model.recursions=0"]) == 1
    assert "c.json: model.recursions is 0; allowed: 2 to 64" in capsys.readouterr().err
    assert main(["train-decoder", str(path), "--resume", "off"]) == 1
    assert "has checkpoints up to step 2" in capsys.readouterr().err


def test_shipped_configurations_are_read() -> None:
    for name in ("decoder.json", "decoder-answers.json"):
        config = DecoderTrainConfig.from_file(Path(__file__).parents[3] / "configs" / name)
        assert DecoderTrainConfig.from_dict(config.to_dict()) == config
