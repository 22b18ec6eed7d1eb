"""Whole runs on the CPU: what they leave behind, and that they go on exactly."""

import importlib
import importlib.util
import json
import signal
import sys
import time
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.python.training.runs import (
    SmallPool,
    config_of,
    document_of,
    losses_of,
    python,
    rows_of,
    small_pool,
)

from taesr import Encoder, InvalidArgument, TAESRConfig
from taesr.cli import main
from taesr.evaluation import evaluate_retrieval, load_beir
from taesr.nn import TAESRModel
from taesr.training import TrainConfig, Trainer, train
from taesr.training.distributed import World


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> SmallPool:
    return small_pool(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory, pool: SmallPool) -> Path:
    """The pool's own passages and queries as a retrieval set."""
    folder = tmp_path_factory.mktemp("beir") / "small"
    (folder / "qrels").mkdir(parents=True)
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for line, record in enumerate(pool.records, start=1):
        target = corpus if record["role"] == "passage" else queries
        target.append(json.dumps({"_id": f"t{line}", "text": record["text"]}))
        if record["parent"] is not None:
            qrels.append(f"t{line}\tt{record['parent']}\t1")
    (folder / "corpus.jsonl").write_text("\n".join(corpus))
    (folder / "queries.jsonl").write_text("\n".join(queries))
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels))
    return folder


def parameters_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in TAESRModel.from_pretrained(folder).named_parameters()}


def test_a_run_leaves_a_model_that_the_encoder_loads(tmp_path: Path, pool: SmallPool, beir: Path) -> None:
    said: list[str] = []
    evaluate = {"sets": [str(beir)], "every_steps": 4, "depth": ["hard", 1], "dims": [8]}
    config = config_of(pool, tmp_path, evaluate=evaluate, export__weights="float32")
    result = train(config, say=said.append)
    assert result.model == tmp_path / "model"
    assert result.progress.step == 6
    assert result.evaluation is not None

    encoder = Encoder.load(result.model, precision="float32")
    assert encoder.encode(["a text"]).shape == (1, 16)
    measured = evaluate_retrieval(load_beir(beir), encoder).metrics
    for name, value in result.evaluation.figures["mean"]["hard"]["16"].items():
        assert measured[name] == pytest.approx(value, abs=1e-6), name
    assert result.evaluation.score == measured["ndcg@10"]
    assert result.evaluation.figures["small"]["1"].keys() == {"16", "8"}

    start, end = rows_of(tmp_path, "start")[0], rows_of(tmp_path, "end")[0]
    assert TrainConfig.from_dict(start["config"]) == config
    assert start["torch"] == torch.__version__
    assert end["model"] == str(result.model)
    steps = rows_of(tmp_path)
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    for row in steps:
        assert row["loss"] == pytest.approx(row["cosine"] + row["kl"], rel=1e-5)
        assert row["tokens_per_second"] > 0
        assert np.isfinite(row["gradient_norm"])
    assert steps[-1]["tokens"] == result.progress.tokens
    assert [row["step"] for row in rows_of(tmp_path, "evaluation")] == [4, 6]
    assert json.loads((tmp_path / "training.json").read_text())["step"] == 6
    assert any("tokens/s" in line and "left" in line for line in said)


def test_losses_fall(tmp_path: Path, pool: SmallPool) -> None:
    train(config_of(pool, tmp_path, schedule__steps=25, depths=[{"depths": [1, 2]}], model__fit_head=2))
    losses = [row["loss"] for row in losses_of(tmp_path).values()]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])


def test_the_exported_model_is_the_average(tmp_path: Path, pool: SmallPool) -> None:
    result = train(config_of(pool, tmp_path, export__weights="float32"))
    exported = parameters_of(tmp_path / "model")
    from taesr._native import core

    average = core.load_weights(str(result.checkpoint / "ema.safetensors"))
    trained = core.load_weights(str(result.checkpoint / "model.safetensors"))
    assert all(torch.equal(exported[name], average[name]) for name in exported)
    assert not torch.equal(average["head.weight"], trained["head.weight"])


def test_a_killed_run_goes_on_with_the_same_losses(tmp_path: Path, pool: SmallPool) -> None:
    changes: dict[str, Any] = {
        "schedule__steps": 20,
        "checkpoints": {"every_steps": 5, "every_seconds": None},
        "optimizer__name": "muon",
    }
    script = (
        "import json, os, signal, sys, torch\n"
        "from taesr.training import TrainConfig, train\n"
        "torch.set_num_threads(1)\n"
        "def say(line):\n"
        "    if line.startswith('step ' + sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "train(TrainConfig.from_dict(json.loads(sys.argv[1])), say=say)\n"
    )
    for name, stop_at in (("whole", "never"), ("killed", "13 ")):
        document = json.dumps(document_of(pool, tmp_path / name, **changes))
        process = python("-c", script, document, stop_at)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == (0 if name == "whole" else -signal.SIGKILL), errors
    assert list((tmp_path / "killed").glob("model")) == []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config_of(pool, tmp_path / "killed", **changes))
    finally:
        torch.set_num_threads(threads)
    whole, resumed = losses_of(tmp_path / "whole"), losses_of(tmp_path / "killed")
    assert [row["step"] for row in rows_of(tmp_path / "killed")] == [*range(1, 14), *range(11, 21)]
    assert resumed == whole
    one, other = parameters_of(tmp_path / "whole" / "model"), parameters_of(tmp_path / "killed" / "model")
    assert all(torch.equal(one[name], other[name]) for name in one)
    kept = sorted(path.name for path in (tmp_path / "killed" / "checkpoints").iterdir())
    assert kept == ["step-00000015", "step-00000020"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path: Path, pool: SmallPool, number: int) -> None:
    (tmp_path / "train.json").write_text(
        json.dumps(document_of(pool, tmp_path / "out", schedule__steps=100_000, log__every=5))
    )
    process = python("-m", "taesr", "train", str(tmp_path / "train.json"))
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "log.jsonl").exists() or not rows_of(tmp_path / "out"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert output == ""
    assert "is kept, and the same command goes on from there" in errors
    assert "Traceback" not in errors
    end = rows_of(tmp_path / "out", "end")[0]
    assert end["signal"] == signal.Signals(number).name
    last = rows_of(tmp_path / "out")[-1]["step"]
    assert Path(end["checkpoint"]).name == f"step-{last:08}"
    assert not (tmp_path / "out" / "model").exists()


def test_a_finished_run_is_not_trained_further(tmp_path: Path, pool: SmallPool) -> None:
    config = config_of(pool, tmp_path)
    train(config)
    before = parameters_of(tmp_path / "model")
    result = train(config)
    assert result.progress.step == 6
    assert len(rows_of(tmp_path)) == 6
    after = parameters_of(tmp_path / "model")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_lower_limit_ends_a_stopped_run_with_a_measured_model(
    tmp_path: Path, pool: SmallPool, beir: Path
) -> None:
    train(config_of(pool, tmp_path))
    (tmp_path / "model").rename(tmp_path / "earlier")
    sets = {"sets": [str(beir)]}
    result = train(config_of(pool, tmp_path, schedule__steps=1, evaluate=sets))
    assert result.progress.step == 6
    assert result.evaluation is not None
    before, after = parameters_of(tmp_path / "earlier"), parameters_of(tmp_path / "model")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_longer_schedule_goes_on_where_the_shorter_one_ended(tmp_path: Path, pool: SmallPool) -> None:
    train(config_of(pool, tmp_path))
    assert train(config_of(pool, tmp_path, schedule__steps=8)).progress.step == 8
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_resume_off_refuses_a_folder_with_checkpoints(tmp_path: Path, pool: SmallPool) -> None:
    train(config_of(pool, tmp_path))
    with pytest.raises(InvalidArgument, match="has checkpoints up to step 6"):
        train(config_of(pool, tmp_path, checkpoints__resume="off"))


def test_the_run_ends_at_the_first_limit(tmp_path: Path, pool: SmallPool) -> None:
    result = train(config_of(pool, tmp_path / "tokens", schedule={"tokens": 1000, "warmup": 0}))
    assert 1000 <= result.progress.tokens < 1400 + 1
    result = train(config_of(pool, tmp_path / "time", schedule={"seconds": 0.3, "steps": 10**9}))
    assert 0.3 <= result.progress.seconds < 10


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_every_precision_trains_float32_parameters(tmp_path: Path, pool: SmallPool, precision: str) -> None:
    config = config_of(pool, tmp_path, precision=precision, checkpoint_layers=True)
    train(config)
    losses = losses_of(tmp_path)
    reference = config_of(pool, tmp_path / "reference")
    train(reference)
    for step, row in losses_of(tmp_path / "reference").items():
        assert losses[step]["loss"] == pytest.approx(row["loss"], rel=0.05 if precision == "bf16" else 1e-3)


def test_frozen_parts_stay_as_they_are(tmp_path: Path, pool: SmallPool) -> None:
    torch.manual_seed(0)
    start = TAESRModel(TAESRConfig(**config_of(pool, tmp_path).model.config))
    start.save_pretrained(tmp_path / "start")
    (tmp_path / "start" / "tokenizer.model").write_bytes(_tokenizer().read_bytes())
    config = config_of(
        pool,
        tmp_path / "out",
        model={"init": str(tmp_path / "start"), "config": {"late_size": 8}},
        freeze=["embeddings.", "entry."],
        export__weights="float32",
    )
    train(config)
    before, after = dict(start.named_parameters()), parameters_of(tmp_path / "out" / "model")
    assert set(after) - set(before) == {"late.weight"}
    for name, parameter in before.items():
        frozen = name.startswith(("embeddings.", "entry."))
        assert torch.allclose(parameter, after[name], atol=1e-6) == frozen, name


def test_freeze_refuses_names_that_nothing_has_and_everything(tmp_path: Path, pool: SmallPool) -> None:
    with pytest.raises(InvalidArgument, match=r"freeze has 'encoder\.', with which no parameter begins"):
        train(config_of(pool, tmp_path, freeze=["encoder."]))
    with pytest.raises(InvalidArgument, match="leaves nothing to train"):
        train(config_of(pool, tmp_path, freeze=[""]))


def test_an_init_of_another_shape_is_refused(tmp_path: Path, pool: SmallPool) -> None:
    TAESRModel(TAESRConfig(**config_of(pool, tmp_path).model.config)).save_pretrained(tmp_path / "start")
    (tmp_path / "start" / "tokenizer.model").write_bytes(_tokenizer().read_bytes())
    model = {"init": str(tmp_path / "start"), "config": {"intermediate_size": 48}}
    with pytest.raises(
        InvalidArgument, match=r"weight 'entry.*' is \[.*64.*\] in .* and \[.*48.*\] by model\.config"
    ):
        train(config_of(pool, tmp_path / "out", model=model))


def test_a_vocabulary_that_does_not_fit_the_tokenizer_is_refused(tmp_path: Path, pool: SmallPool) -> None:
    with pytest.raises(InvalidArgument, match="has 22000 pieces and the model a vocab_size of 100"):
        train(config_of(pool, tmp_path, model__config__vocab_size=100))


def test_four_batches_of_one_step_have_the_gradient_of_their_mean(tmp_path: Path, pool: SmallPool) -> None:
    gradients = []
    for accumulate in (1, 4):
        config = config_of(pool, tmp_path / str(accumulate), accumulate=accumulate, optimizer__clip=None)
        with World.join("cpu") as world, Trainer(config, world) as trainer:
            state, caught = trainer.state, {}

            def keep(share: float, skip: torch.Tensor, state: Any = state, caught: Any = caught) -> None:
                caught.update(
                    {n: p.grad.clone() for n, p in state.model.named_parameters() if p.grad is not None}
                )

            state.optimizers.step = keep  # type: ignore[method-assign]
            if accumulate == 4:
                trainer._step()
            else:
                depths = trainer._depths()
                loss = sum(
                    torch.stack(list(state.module(state.planner.next(), depths, 0.0).values())).sum()
                    for _ in range(4)
                )
                (loss / 4).backward()  # type: ignore[union-attr]
                keep(1.0, torch.zeros(()))
            gradients.append(caught)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-6)


def test_wandb_that_is_missing_is_named_before_anything_is_prepared(
    tmp_path: Path, pool: SmallPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = config_of(pool, tmp_path, log__wandb="offline", data__cache=str(tmp_path / "cache"))
    with pytest.raises(InvalidArgument, match=r"log\.wandb is offline, but wandb is not installed; pip"):
        train(config)
    assert not (tmp_path / "cache").exists()


def test_wandb_gets_the_configuration_and_the_figures(
    tmp_path: Path, pool: SmallPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []
    (tmp_path / "wandb.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    fake = importlib.import_module("wandb")
    run = types.SimpleNamespace(
        config=types.SimpleNamespace(update=lambda facts, **_: calls.append(("config", facts))),
        log=lambda figures, step: calls.append((f"log {step}", figures)),
        finish=lambda: calls.append(("finish", None)),
    )
    monkeypatch.setattr(fake, "init", lambda **options: calls.append(("init", options)) or run, raising=False)
    train(config_of(pool, tmp_path / "out", log={"wandb": "offline", "every": 3, "name": "n"}))
    monkeypatch.delitem(sys.modules, "wandb")
    names = [name for name, _ in calls]
    assert names == ["init", "config", "log 3", "log 6", "finish"]
    assert calls[0][1] == {
        "project": "taesr",
        "name": "n",
        "dir": str(tmp_path / "out"),
        "mode": "offline",
        "resume": "allow",
    }
    assert calls[1][1]["config"]["optimizer"]["lr"] == 2e-3
    assert calls[2][1]["step/loss"] == rows_of(tmp_path / "out")[0]["loss"]


def test_a_resumed_run_warns_of_settings_that_changed(tmp_path: Path, pool: SmallPool) -> None:
    train(config_of(pool, tmp_path))
    said: list[str] = []
    config = config_of(pool, tmp_path, schedule__steps=7, optimizer__lr=1e-3, log__every=2)
    train(config, say=said.append)
    (warning,) = rows_of(tmp_path, "warning")
    assert warning["changed"] == ["optimizer.lr", "schedule.steps"]
    assert "warning: other settings than before: optimizer.lr, schedule.steps" in said


def test_another_seed_is_not_resumed(tmp_path: Path, pool: SmallPool) -> None:
    train(config_of(pool, tmp_path))
    with pytest.raises(InvalidArgument, match="another pool, data section, seed or number of processes"):
        train(config_of(pool, tmp_path, seed=5, schedule__steps=7))


def test_a_fitted_head_solves_the_regression(tmp_path: Path, pool: SmallPool) -> None:
    config = config_of(pool, tmp_path, model__fit_head=2)
    with World.join("cpu") as world, Trainer(config, world) as trainer:
        state = trainer.state
        batches = [state.planner.next() for _ in range(2)]
        depths = sorted(config.weights_of_depths)
        rows, targets = [], []
        with torch.no_grad():
            for batch in batches:
                for output in state.model.packed(batch.packed, depths, outputs=("pooled",)).values():
                    rows.append(torch.cat([output.pooled, torch.ones(len(output.pooled), 1)], 1))
                    targets.append(batch.target)
        x, y = torch.cat(rows).double(), torch.cat(targets).double()
        ridge = 1e-3 * (x.T @ x).diagonal().mean().sqrt() ** 2
        augmented = torch.cat([x, ridge.sqrt() * torch.eye(x.shape[1], dtype=x.dtype)])
        goal = torch.cat([y, torch.zeros(x.shape[1], y.shape[1], dtype=y.dtype)])
        expected = torch.linalg.lstsq(augmented, goal).solution
        weight, bias = (state.model.get_parameter(f"head.{name}").detach() for name in ("weight", "bias"))
        torch.testing.assert_close(weight, expected[:-1].T.float(), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(bias, expected[-1].float(), rtol=1e-3, atol=1e-4)


def test_an_int8_table_and_a_half_precision_model_keep_the_vectors(tmp_path: Path, pool: SmallPool) -> None:
    config = config_of(pool, tmp_path / "a", schedule__steps=2, export__weights="float32")
    exact = Encoder.load(train(config).model, precision="float32").encode(["some words of a text"])
    small = {"weights": "float16", "token_table": "int8"}
    config = config_of(pool, tmp_path / "b", schedule__steps=2, export=small)
    model = train(config).model
    assert model is not None
    near = Encoder.load(model, precision="float32").encode(["some words of a text"]) @ exact.T
    assert near.item() > 0.99
    sizes = [(tmp_path / name / "model" / "model.safetensors").stat().st_size for name in ("a", "b")]
    assert sizes[1] < 0.35 * sizes[0]


def test_the_command_prints_the_model_and_takes_overrides(
    tmp_path: Path, pool: SmallPool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(document_of(pool, tmp_path / "unused")))
    arguments = ["train", str(path), "--set", f"output={tmp_path / 'out'}", "--set", "schedule.steps=2"]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"] == str(tmp_path / "out" / "model")
    assert printed["steps"] == 2
    assert main([*arguments, "--resume", "off"]) == 1
    assert "has checkpoints up to step 2" in capsys.readouterr().err
    assert main([*arguments, "--set", "schedule.stpes=2"]) == 1
    assert f"{path}: unknown field schedule.stpes; did you mean steps?" in capsys.readouterr().err
    assert main(["train", str(path), "--set", "nonsense"]) == 2
    assert main(["train", str(tmp_path / "none.json")]) == 1


def test_a_log_that_was_cut_off_is_continued_on_a_new_line(tmp_path: Path, pool: SmallPool) -> None:
    config = config_of(pool, tmp_path)
    train(replace(config, schedule=replace(config.schedule, steps=2)))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "st')
    train(config)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert lines.count('{"event": "st') == 1
    assert len([line for line in lines if line.startswith('{"event": "step"')]) == 6


def _tokenizer() -> Path:
    import taesr

    return Path(taesr.__file__).parent / "models" / "default" / "tokenizer.model"
