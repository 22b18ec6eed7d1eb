"""Subspaces: their data, what each loss teaches, and the model that is written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from tests.python.small_models import write_release
from tests.python.training.pools import WORDS

from taesr import Encoder, FormatError, InvalidArgument, IoError
from taesr._native import core
from taesr.cli import main
from taesr.training.subspace_data import SubspaceData, load_subspace_data
from taesr.training.subspace_probes import compare_probes
from taesr.training.subspaces import (
    SubspaceOptions,
    contextual_loss,
    fit_subspace,
    probes_won,
    train_subspaces,
)

QUICK = SubspaceOptions(
    sizes={"temporal": 4, "semantic": 8, "procedural": 4, "contextual": 6}, steps=20, batch=32
)


def write_data(folder: Path, count: int = 40) -> Path:
    """Small files of all kinds, with fields that nobody knows."""
    folder.mkdir()
    for split, seed in (("train", 0), ("heldout", 1)):
        rng = np.random.default_rng(seed)

        def text(generator: np.random.Generator = rng) -> str:
            return " ".join(generator.choice(WORDS, 6)) + f" {generator.integers(10**6)}"

        years = rng.integers(1500, 2020, (count, 3)).tolist()
        files = {
            "temporal-pairs": [
                {"text_a": f"in {a} {text()}", "year_a": a, "text_b": f"in {b} {text()}", "year_b": b}
                for a, b, _ in years
            ],
            "temporal-events": [
                {
                    "query": f"in {a} {text()}",
                    "year": a,
                    "title": "T",
                    "same_decade": f"in {a} {text()}",
                    "year_same": a,
                    "other": f"in {b} {text()}",
                    "year_other": b,
                }
                for a, b, _ in years
            ],
            "procedural": [
                {
                    "text": f"{'turn the' if i % 2 else 'the'} {text()}",
                    "label": ("factual", "procedural")[i % 2],
                }
                for i in range(count)
            ],
            "contextual": [
                {"anchor": text(), "neighbour": text(), "distant": text(), "random": text(), "title": "T"}
                for _ in range(count)
            ],
        }
        for name, records in files.items():
            (folder / f"{name}.{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


def features(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 24, generator=torch.Generator().manual_seed(seed))


def embed(head: tuple[torch.Tensor, torch.Tensor], states: torch.Tensor) -> torch.Tensor:
    return core.dense_embedding(states, *head)


def test_data_are_read_by_kind_and_each_text_is_there_once(tmp_path: Path) -> None:
    data = load_subspace_data(write_data(tmp_path / "data"), "train", limit=1000)
    assert len(data.texts) == len(set(data.texts))
    assert (len(data.events), len(data.labels), len(data.contexts)) == (40, 40, 40)
    assert all(data.years[a] != data.years[b] for a, b in data.orders)
    for place, year in data.years.items():
        assert data.texts[place].startswith(f"in {year} ")
    assert len(load_subspace_data(tmp_path / "data", "train", limit=7).contexts) == 7


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("temporal", '{"text_a": "a", "text_b": "b", "year_a": 1900, "year_b": "x"}', "'year_b' is 'x'"),
        ("temporal", '{"text_a": " ", "text_b": "b", "year_a": 1, "year_b": 2}', "'text_a' must be a text"),
        ("temporal", '{"query": "a", "year": true}', "'year' is True"),
        ("procedural", '{"text": "a", "label": "poem"}', "'label' is 'poem'; allowed: factual, procedural"),
        ("contextual", '{"anchor": "a", "neighbour": "b", "distant": "c"}', "'random' must be a text"),
        ("contextual", "[1]", "one JSON object"),
        ("contextual", "{", "not valid JSON"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, name: str, line: str, message: str) -> None:
    (tmp_path / f"{name}.train.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(FormatError, match=rf"{name}\.train\.jsonl:2: .*{message}"):
        load_subspace_data(tmp_path, "train", limit=10)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IoError, match=r"no file like temporal\.train\.jsonl"):
        load_subspace_data(tmp_path, "train", limit=10)


def test_temporal_reads_the_years_off_its_first_dimension() -> None:
    states = features(900)
    years = (1900 + 20 * states[:, 5] + 0.5 * torch.randn(900)).round().int().tolist()
    data = SubspaceData(texts=[str(i) for i in range(900)], years=dict(enumerate(years[:600])))
    options = SubspaceOptions(steps=200, batch=128)
    head, (first, last) = fit_subspace("temporal", 4, states, states, data, options)
    assert last < first
    held = embed(head, states[600:])
    a, b = torch.arange(0, 300, 2), torch.arange(1, 300, 2)
    truth = torch.tensor(years[600:])
    apart = truth[a] != truth[b]
    right = ((held[a, 0] < held[b, 0]) == (truth[a] < truth[b]))[apart]
    assert float(right.float().mean()) > 0.9


def test_procedural_tells_classes_apart_on_held_out_states() -> None:
    states = features(800)
    labels = (states[:, 3] + states[:, 7] > 0).int().tolist()
    data = SubspaceData(texts=[str(i) for i in range(800)], labels=dict(enumerate(labels[:600])))
    head, _ = fit_subspace("procedural", 4, states, states, data, SubspaceOptions(steps=150, batch=128))
    held, truth = embed(head, states[600:]), torch.tensor(labels[600:])
    similar = held @ held.T - 2 * torch.eye(200)
    assert float((truth[similar.argmax(1)] == truth).float().mean()) > 0.85


def test_contextual_finds_neighbours_where_the_states_hide_them() -> None:
    """Three of 24 values are those of the neighbourhood; the others are the document's, and louder."""
    generator = torch.Generator().manual_seed(0)
    items = 500
    document = 3 * torch.randn(items, 21, generator=generator)
    place, far, stranger = (torch.randn(items, 3, generator=generator) for _ in range(3))
    parts = [
        torch.cat([document, place], 1),
        torch.cat([document, place + 0.1 * torch.randn(items, 3, generator=generator)], 1),
        torch.cat([document, far], 1),
        torch.cat([document.roll(1, 0), stranger], 1),
    ]
    states = torch.cat([part + 0.3 * torch.randn(part.shape, generator=generator) for part in parts])
    contexts = [(i, i + items, i + 2 * items, i + 3 * items) for i in range(items)]
    data = SubspaceData(texts=[str(i) for i in range(4 * items)], contexts=contexts[:400])
    head, _ = fit_subspace("contextual", 6, states, states, data, SubspaceOptions(steps=200, batch=128))
    rows = embed(head, states)
    anchor, near, distant = (rows[torch.tensor([c[k] for c in contexts[400:]])] for k in range(3))
    found = float(((anchor * near).sum(1) > (anchor * distant).sum(1)).float().mean())
    raw = F.normalize(states, dim=1)
    anchor, near, distant = (raw[torch.tensor([c[k] for c in contexts[400:]])] for k in range(3))
    assert found > float(((anchor * near).sum(1) > (anchor * distant).sum(1)).float().mean())
    assert found > 0.8


def test_semantic_keeps_neighbours_better_than_a_slice_does() -> None:
    states = features(700)
    dense = F.normalize(states @ features(24, seed=1)[:, :16], dim=1)
    data = SubspaceData(texts=[str(i) for i in range(500)])
    head, _ = fit_subspace(
        "semantic", 8, states[:500], dense[:500], data, SubspaceOptions(steps=300, batch=128)
    )
    held = SubspaceData(texts=[str(i) for i in range(200)])
    probes = compare_probes(held, {"semantic": embed(head, states[500:]).numpy()}, dense[500:].numpy())
    assert [probe.subspace for probe in probes] == ["semantic"]
    assert probes[0].score > probes[0].dense > probes[0].chance
    assert probes_won(probes) == {"semantic": True}


def test_contextual_loss_is_least_where_each_neighbour_is_its_anchor() -> None:
    anchor, far = torch.eye(8), torch.eye(8).roll(1, 0)
    good = contextual_loss(torch.stack([anchor, anchor, -anchor, -far]), 0.05)
    assert float(good) < 1e-3
    assert float(contextual_loss(torch.stack([anchor, anchor, anchor, -far]), 0.05)) > 1
    assert float(contextual_loss(torch.stack([anchor, far, -anchor, -far]), 0.05)) > 1


def test_training_leaves_the_dense_embedding_as_it_was_to_the_bit(tmp_path: Path) -> None:
    model, data = write_release(tmp_path / "model"), write_data(tmp_path / "data")
    found = train_subspaces(model, data, tmp_path / "out", QUICK, device="cpu")
    assert set(found.losses) == set(QUICK.sizes)
    assert {probe.subspace for probe in found.probes} == set(QUICK.sizes)
    assert all(
        0 <= value <= 1 for probe in found.probes for value in (probe.score, probe.dense, probe.chance)
    )
    before, after = (
        Encoder.load(model, precision="float32"),
        Encoder.load(tmp_path / "out", precision="float32"),
    )
    texts = ["river stone in 1987", "", "copper lamp " * 30]
    for depth in ("easy", "medium", "hard", "auto"):
        np.testing.assert_array_equal(after.encode(texts, depth=depth), before.encode(texts, depth=depth))
    assert after.config.subspaces == QUICK.sizes
    rows = after.encode_full(texts, outputs=[f"subspace:{name}" for name in QUICK.sizes]).subspaces
    assert {name: matrix.shape for name, matrix in rows.items()} == {
        n: (3, size) for n, size in QUICK.sizes.items()
    }
    old, new = (core.load_weights(str(folder / "model.safetensors")) for folder in (model, tmp_path / "out"))
    assert all(torch.equal(new[name], old[name]) for name in old)


def test_retraining_replaces_the_subspaces_that_were_there(tmp_path: Path) -> None:
    model, data = write_release(tmp_path / "model"), write_data(tmp_path / "data")
    train_subspaces(model, data, tmp_path / "four", QUICK, device="cpu")
    only = SubspaceOptions(sizes={"temporal": 3}, steps=5, batch=16)
    train_subspaces(tmp_path / "four", data, tmp_path / "one", only, device="cpu")
    assert Encoder.load(tmp_path / "one").config.subspaces == {"temporal": 3}


def test_errors_say_what_is_missing(tmp_path: Path) -> None:
    model = write_release(tmp_path / "model")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "procedural.train.jsonl").write_text(
        '{"text": "a", "label": "factual"}\n{"text": "b", "label": "procedural"}\n'
    )
    with pytest.raises(
        InvalidArgument, match=r"too little for the subspace 'temporal'; add temporal\.train\.jsonl"
    ):
        train_subspaces(model, tmp_path / "data", tmp_path / "out", SubspaceOptions(sizes={"temporal": 4}))
    with pytest.raises(InvalidArgument, match="sizes names 'spatial'"):
        SubspaceOptions(sizes={"spatial": 4})
    with pytest.raises(InvalidArgument, match="temperature"):
        SubspaceOptions(temperature=0)
    only = SubspaceOptions(sizes={"procedural": 4}, steps=2)
    assert train_subspaces(model, tmp_path / "data", tmp_path / "out", only, device="cpu").probes == []


def test_the_command_trains_and_prints_the_probes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = write_release(tmp_path / "model"), write_data(tmp_path / "data")
    command = ["train-subspaces", str(model), "--data", str(data), "--output", str(tmp_path / "out")]
    sizes = ["--size", "temporal=4", "contextual=3", "--steps", "5", "--device", "cpu"]
    assert main([*command, *sizes]) == 0
    printed = capsys.readouterr()
    assert "| temporal | which of two comes earlier, by a linear reader |" in printed.out
    assert "wrote" in printed.err
    assert main([*command, "--size", "temporal"]) == 2
