"""The runner of decoder experiments on tiny models: what it counts, trains, skips, survives and reports."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.python.training.tiny_decoder import decoder_document, tiny_config, tiny_decoder
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import taesr
from taesr import Decoder
from taesr.training.decoder import DecoderTrainConfig
from taesr.training.decoder.head_loss import HeadLossOptions, head_loss
from taesr.training.fields import with_value

ROOT = Path(__file__).parents[3]
RUNNER = ROOT / "benchmarks" / "decoder_experiments.py"


def module(name: str) -> Any:
    folder = str(ROOT / "benchmarks")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


flops = module("decoder_flops")
experiments = module("decoder_experiments")
reports = module("decoder_experiments_report")


def family(folder: Path, runs: dict[str, Any], **changes: Any) -> Path:
    """A file of a family over tiny_decoder.py's texts."""
    base = decoder_document(folder, **{"schedule__tokens": 1024, "schedule__steps": None} | changes)
    path = folder / "small.json"
    path.write_text(json.dumps({"title": "Small ones", "base": base, "runs": runs}))
    return path


def run(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(RUNNER), *map(str, arguments)],
        capture_output=True, text=True, env=environment(), timeout=240, **options,
    )  # fmt: skip


def environment() -> dict[str, str]:
    paths = [str(Path(taesr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


# --- counts


@pytest.mark.parametrize(
    ("fields", "capacity", "shared_keys"),
    [
        ({}, None, False),
        ({"kv_heads": 4, "head_dim": 16}, None, False),
        ({"sharing": "middle_cycle", "recursions": 4}, None, False),
        ({"sharing": "sequence", "recursions": 2}, None, True),
        ({"sharing": "middle_cycle", "recursions": 2, "routing": "expert_choice"}, [1.0, 0.5], False),
        ({"sharing": "middle_cycle", "recursions": 2, "routing": "expert_choice"}, [1.0, 0.5], True),
        ({"sharing": "cycle", "recursions": 3, "routing": "expert_choice"}, [1.0, 0.75, 0.25], False),
    ],
)
def test_training_flops_are_those_that_pytorch_counts(
    fields: dict[str, Any], capacity: list[float] | None, shared_keys: bool
) -> None:
    model = tiny_decoder(**fields)
    texts = torch.randint(0, 259, (3, 64))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        hidden = model(texts, capacity=capacity, shared_keys=shared_keys).hidden.flatten(0, 1)
        forward = counter.get_total_flops()
        head_loss(hidden, model.head_weight, texts.flatten(), HeadLossOptions()).total.backward()
    expected = 3 * flops.forward_flops(model.config, 64, capacity or (), shared_keys=shared_keys)
    assert forward == pytest.approx(expected - 3 * 2 * 64 * 32 * 259, rel=1e-6)  # 3 texts without scores
    assert counter.get_total_flops() == pytest.approx(3 * expected, rel=1e-6)


def test_training_flops_follow_capacities_and_count_the_teacher(tmp_path: Path) -> None:
    document = decoder_document(tmp_path, losses={}, routing={"step_tokens": 1, "warmup": 0.5})
    shape = tiny_config(sharing="middle_cycle", recursions=2, routing="expert_choice")

    def per_token(**changes: Any) -> float:
        changed = document
        for name, value in changes.items():
            changed = with_value(changed, name.replace("__", "."), value)
        config = DecoderTrainConfig.from_dict(changed)
        return float(flops.training_flops_per_token(config, shape, shape if "teacher" in changes else None))

    low, high = (3 * flops.forward_flops(shape, 32, passing) / 32 for passing in ([1, 0.5], [1, 1]))
    assert per_token(routing__warmup=0.0) == pytest.approx(low)
    assert low < per_token() < high
    assert per_token() == pytest.approx(low + (high - low) / 4, rel=0.01)  # cosine: half of a half
    assert per_token(routing__capacity=[1.0, 1.0]) == pytest.approx(high)


@pytest.mark.parametrize("routing", ["none", "expert_choice", "token_choice"])
@pytest.mark.parametrize("shared_keys", [False, True])
def test_parameters_and_keys_are_as_many_as_in_the_engine(
    tmp_path: Path, routing: str, shared_keys: bool
) -> None:
    model = tiny_decoder(sharing="middle_cycle", recursions=2, routing=routing)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "router" in name:
                torch.nn.init.normal_(parameter)
    model.save(tmp_path)
    stored = sum(p.numel() for p in model.parameters()) - model.head_weight.numel()
    assert flops.layer_parameters(model.config) == stored
    decoder = Decoder.load(tmp_path, kv_caching="shared" if shared_keys else "full")
    trace = decoder.trace(list(range(3, 103)))
    depths = np.array(trace.recursions)
    passing = [1.0, float((depths > 1).mean())]
    assert routing == "none" or 0 < passing[1] < 1
    expected = 100 * flops.kv_bytes_per_token(model.config, passing, shared_keys=shared_keys)
    assert trace.kv_bytes == pytest.approx(expected)


# --- families


def test_shipped_families_are_valid_and_equal_in_tokens_or_flops() -> None:
    for name in ("scratch", "uptrain"):
        runs = experiments.read_family(ROOT / "configs" / "experiments" / f"{name}.json", {})
        assert len({run.slug for run in runs}) == len(runs)
        for one in runs:
            config = DecoderTrainConfig.from_dict(one.document)
            assert config.schedule.tokens == DecoderTrainConfig.from_dict(runs[0].document).schedule.tokens
            assert config.model.sharing or one.name.startswith("vanilla")
    scratch = experiments.read_family(ROOT / "configs" / "experiments" / "scratch.json", {})
    first, one = scratch[0], next(run for run in scratch if run.name == "MoR 2, FLOPs of vanilla")
    config, each = experiments.settled(one, first, Path("x"))
    other, reference = experiments.settled(first, None, Path("x"))
    assert config.schedule.tokens > 1.05 * other.schedule.tokens
    assert config.schedule.tokens * each == pytest.approx(other.schedule.tokens * reference, rel=0.002)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"a": {"model.recursions": 2}, "b": {"flops_of": "c"}}, "b: flops_of is 'c', which is no run"),
        ({}, "title, base and runs; the last two are required"),
        ({"a": {"model..x": 2}}, "model"),
    ],
)
def test_bad_families_are_refused(tmp_path: Path, runs: dict[str, Any], message: str) -> None:
    process = run("run", family(tmp_path, runs), "--output", tmp_path / "out")
    assert process.returncode == 1
    assert message in process.stderr + process.stdout
    assert "Traceback" not in process.stderr


# --- runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/small, of which one failed."""
    folder = tmp_path_factory.mktemp("trained")
    runs = {
        "plain": {"model.routing": None},
        "broken": {"data.sequence_length": 100000},
        "MoR": {},
        "MoR, FLOPs of plain": {"flops_of": "plain"},
        "keys of the first": {"model.shared_keys": True},
    }
    process = run("run", family(folder, runs), "--output", folder / "out")
    assert process.returncode == 1, process.stderr
    assert "broken: failed: taesr: data.sequence_length is 100000" in process.stdout
    assert process.stdout.count("held-out loss") == 4
    assert "failed: broken" in process.stdout.splitlines()[-1]
    return folder


def test_finished_runs_are_skipped_and_failed_ones_tried_again(trained: Path) -> None:
    process = run("run", trained / "small.json", "--output", trained / "out", "--set", "log.every=2")
    assert process.returncode == 1
    assert process.stdout.count("finished before") == 4
    assert not list((trained / "out").glob("*/*/checkpoints"))
    process = run(
        "run", trained / "small.json", "--output", trained / "out", "--only", "plain", "--set", "seed=3"
    )
    assert process.returncode == 1
    assert "has a run with other seed; delete it, or name another --output" in process.stdout
    process = run("run", trained / "small.json", "--output", trained / "out", "--only", "nobody")
    assert process.returncode == 1
    assert "no run is named nobody" in process.stderr


def test_report_needs_logs_only_and_its_figures_are_the_logs(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "out", tmp_path / "out", ignore=shutil.ignore_patterns("model", "train.out"))
    process = run("report", tmp_path / "out", "--no-plots")
    assert process.returncode == 0, process.stderr
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    runs = {one["name"]: one for one in document["runs"]}
    assert list(runs) == ["plain", "MoR", "MoR, FLOPs of plain", "keys of the first"]
    assert document["without_a_result"] == ["small: broken (no step)"]
    for name, one in runs.items():
        folder = tmp_path / "out" / "small" / experiments.Experiment("", "", name, 0, {}, None).slug
        training = json.loads((folder / "training.json").read_text())
        assert one["held_out_loss"] == training["evaluation"]["held_out_loss"]
        assert one["tokens"] == training["tokens"]
        assert one["mean_recursions"] == pytest.approx(sum(one["passing"]) or 2)
        assert one["curve"][-1][0] == one["tokens"]
    assert runs["plain"]["tokens"] == runs["MoR"]["tokens"] == 1024
    assert runs["MoR"]["training_flops"] < runs["plain"]["training_flops"]
    assert runs["MoR, FLOPs of plain"]["training_flops"] == pytest.approx(
        runs["plain"]["training_flops"], rel=0.06
    )  # a batch is an eighth of the tokens
    assert runs["keys of the first"]["kv_bytes"] == pytest.approx(4 / 6 * runs["plain"]["kv_bytes"])
    text = (tmp_path / "out" / "report.md").read_text()
    assert text == process.stdout
    assert "Small ones" in text
    assert "Without a result: small: broken (no step)" in text
    for one in runs.values():
        assert f"| {one['name']} |" in text
        assert f"{one['held_out_loss']:.4f}" in text


def test_report_measures_keys_where_weights_are_there_and_draws(trained: Path) -> None:
    process = run("report", trained / "out", "--measure-kv", 3, "--no-plots")
    assert process.returncode == 0, process.stderr
    for one in json.loads((trained / "out" / "report.json").read_text())["runs"]:
        assert one["kv_measured"] == pytest.approx(one["kv_expected"], rel=1e-6)
    assert "measured (theory)" in process.stdout
    pytest.importorskip("matplotlib")
    assert run("report", trained / "out").returncode == 0
    for name in ("training", "forward", "curves"):
        image = (trained / "out" / f"small-{name}.png").read_bytes()
        assert image.startswith(b"\x89PNG")
        assert len(image) > 5000


def test_report_of_a_folder_without_runs_says_so(tmp_path: Path) -> None:
    process = run("report", tmp_path, "--no-plots")
    assert process.returncode == 1
    assert "has no runs; name the --output of `run`" in process.stderr


def test_time_limit_stops_a_run_and_it_goes_on_later(tmp_path: Path) -> None:
    path = family(tmp_path, {"long": {}, "never begun": {}}, schedule__tokens=10**9)
    begin = time.monotonic()
    process = run("run", path, "--output", tmp_path / "out", "--seconds", 12)
    assert time.monotonic() - begin < 60
    assert process.returncode == 3, process.stdout + process.stderr
    assert "long: stopped, time is up" in process.stdout
    assert "time is up; not done: long, never begun" in process.stdout
    assert not (tmp_path / "out" / "small" / "never-begun").exists()
    assert list((tmp_path / "out" / "small" / "long" / "checkpoints").glob("step-*"))
    text = run("report", tmp_path / "out", "--no-plots").stdout
    assert "small: long (stopped at step" in text


def test_a_stopped_runner_stops_its_training(tmp_path: Path) -> None:
    path = family(tmp_path, {"long": {}}, schedule__tokens=10**9)
    log = tmp_path / "out" / "small" / "long" / "log.jsonl"
    command = [sys.executable, str(RUNNER), "run", str(path), "--output", str(tmp_path / "out")]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):
            if log.is_file() and '"step"' in log.read_text():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped" in errors
    assert json.loads(log.read_text().splitlines()[-1])["event"] == "end"
