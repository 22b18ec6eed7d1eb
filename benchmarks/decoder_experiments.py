"""Trainings of decoders compared: vanilla, recursive and Mixture-of-Recursions at equal tokens and FLOPs.

    python benchmarks/decoder_experiments.py run configs/experiments/scratch.json --output runs/experiments
    python benchmarks/decoder_experiments.py report runs/experiments

A family is a file with a "base", a configuration of `taesr train-decoder`, and "runs" by name: the fields of
the base that each changes. "flops_of": NAME trains a run on as many tokens as take that run's training FLOPs,
which benchmarks/decoder_flops.py counts. Every run is a `taesr train-decoder` of its own, in the folder
OUTPUT/FAMILY/RUN, one after the other. What is finished is skipped, a run that fails is reported and the next
one begins. `report` needs log.jsonl, training.json, config.json, experiment.json and shape.json of each run,
not its weights; it writes report.md, report.json and, with matplotlib, plots.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from decoder_experiments_report import write_report
from decoder_flops import training_flops_per_token

from taesr.errors import Error, InvalidArgument
from taesr.training.config import parsed
from taesr.training.decoder import DecoderTrainConfig
from taesr.training.decoder.start import read_model, start_model
from taesr.training.fields import differences, read_json, with_value
from taesr.training.reporting import HARMLESS

GRACE = 30.0  # seconds that a run which is told to stop has for its checkpoint


@dataclass(frozen=True)
class Experiment:
    """One run of a family."""

    family: str
    title: str
    name: str
    order: int
    document: dict[str, Any]
    flops_of: str | None

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.name.lower()).split())


def main() -> int:
    options = parse()
    if options.command == "report":
        print(write_report(Path(options.folder), measure_rows=options.measure_kv, plots=not options.no_plots))
        return 0
    signal.signal(signal.SIGTERM, stop)
    families = [read_family(Path(path), dict(options.set)) for path in options.configs]
    everything = [run for family in families for run in family]
    unknown = set(options.only) - {run.name for run in everything}
    if unknown:
        raise InvalidArgument(f"no run is named {', '.join(sorted(unknown))}")
    wanted = [run for run in everything if not options.only or run.name in options.only]
    references = {(run.family, run.name): run for run in everything}
    return run_all(wanted, references, Path(options.output), options.seconds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train what is not finished yet")
    run.add_argument("configs", nargs="+", metavar="FAMILY.json", help="as in configs/experiments")
    run.add_argument("--output", required=True, help="folder for all runs")
    run.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="run this one; may be repeated"
    )
    run.add_argument(
        "--seconds", type=float, help="stop after so long; a run that would not end is not begun"
    )
    run.add_argument(
        "--set", action="append", type=assignment, default=[], metavar="KEY=VALUE",
        help="replace a field of the base, as in --set schedule.tokens=1000000; may be repeated",
    )  # fmt: skip
    report = commands.add_parser("report", help="tables and plots of the runs in a folder")
    report.add_argument("folder", help="the --output of run")
    report.add_argument(
        "--measure-kv", type=int, default=0, metavar="ROWS",
        help="measure keys and values on so many held-out rows, where weights and texts are there",
    )  # fmt: skip
    report.add_argument("--no-plots", action="store_true", help="do without matplotlib")
    return parser.parse_args()


def assignment(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def read_family(path: Path, overrides: dict[str, str]) -> list[Experiment]:
    """Runs of one file; raises Error that names the file and the run."""
    document = read_json(path)
    unknown = set(document) - {"title", "base", "runs"}
    if unknown or "base" not in document or not document.get("runs"):
        raise InvalidArgument(f"{path}: allowed: title, base and runs; the last two are required")
    base = document["base"]
    for key, text in overrides.items():
        base = with_value(base, key, parsed(text))
    found = []
    for order, (name, fields) in enumerate(document["runs"].items()):
        changes = dict(fields)
        flops_of = changes.pop("flops_of", None)
        if flops_of is not None and flops_of not in document["runs"]:
            raise InvalidArgument(f"{path}: {name}: flops_of is {flops_of!r}, which is no run of this file")
        changed = base
        for key, value in changes.items():
            changed = with_value(changed, key, value)
        found.append(Experiment(path.stem, document.get("title", path.stem), name, order, changed, flops_of))
    return found


def run_all(
    experiments: list[Experiment],
    references: dict[tuple[str, str], Experiment],
    output: Path,
    seconds: float | None,
) -> int:
    """Train one after the other; return 1 where a run failed, 3 where time ran out, else 0."""
    end = None if seconds is None else time.monotonic() + seconds
    failed, left_out = [], []
    pace = 0.0  # seconds a FLOP, of the run before
    for run in experiments:
        folder = output / run.family / run.slug
        try:
            reference = references.get((run.family, run.flops_of or ""))
            config, each = settled(run, reference, folder)
            if finished(config, folder):
                print(f"{run.family}: {run.name}: finished before", flush=True)
                continue
        except (Error, OSError) as error:
            print(f"{run.family}: {run.name}: failed: {error}", flush=True)
            failed.append(run.name)
            continue
        flops = each * (config.schedule.tokens or 0)
        left = None if end is None else end - time.monotonic()
        if left is not None and left < max(1.0, pace * flops):
            left_out.append(run.name)
            continue
        begin = time.monotonic()
        outcome = train(run, config, each, folder, left)
        took = time.monotonic() - begin
        print(f"{run.family}: {run.name}: {outcome} ({took:.0f} s)", flush=True)
        if not (folder / "training.json").is_file():
            (left_out if outcome.startswith("stopped") else failed).append(run.name)
        else:
            pace = took / flops
    if left_out:
        print(f"time is up; not done: {', '.join(left_out)}", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 3 if left_out else 0


def settled(run: Experiment, reference: Experiment | None, folder: Path) -> tuple[DecoderTrainConfig, float]:
    """The run's configuration with its number of tokens, and the training FLOPs of each."""
    config = DecoderTrainConfig.from_dict(with_value(run.document, "output", str(folder)))
    each = flops_per_token(config)
    if config.schedule.tokens is None:
        raise InvalidArgument("schedule.tokens is missing; runs are compared at equal tokens")
    if reference is not None:
        other = DecoderTrainConfig.from_dict(with_value(reference.document, "output", str(folder)))
        batch = config.data.batch_sequences * config.data.sequence_length * config.accumulate
        tokens = (other.schedule.tokens or 0) * flops_per_token(other) / each
        config = config.override("schedule.tokens", str(max(1, round(tokens / batch)) * batch))
    return config, each


def flops_per_token(config: DecoderTrainConfig) -> float:
    teacher = config.losses.teacher
    shape = start_model(config.model, config.data.tokenizer).config
    return training_flops_per_token(config, shape, None if teacher is None else read_model(teacher.path)[0])


def finished(config: DecoderTrainConfig, folder: Path) -> bool:
    """Whether the run has ended; raises InvalidArgument where it was another one."""
    path = folder / "training.json"
    if not path.is_file():
        return False
    changed = differences(read_json(path)["config"], config.to_dict())
    changed = [name for name in changed if name.split(".")[0] not in HARMLESS]
    if changed:
        raise InvalidArgument(
            f"{folder} has a run with other {', '.join(changed)}; delete it, or name another --output"
        )
    return True


def train(
    run: Experiment, config: DecoderTrainConfig, flops: float, folder: Path, seconds: float | None
) -> str:
    """Train in a process of its own; say in a few words what came of it."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"family": run.family, "title": run.title, "name": run.name, "order": run.order}
    facts |= {"flops_of": run.flops_of, "training_flops_per_token": flops}
    write_json(folder / "experiment.json", facts)
    write_json(folder / "config.json", config.to_dict())
    command = [sys.executable, "-m", "taesr", "train-decoder", str(folder / "config.json")]
    with (folder / "train.out").open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            end(process)
            return "stopped, time is up; the same command goes on from its checkpoint"
        except BaseException:
            end(process)
            raise
    shape = folder / "model" / "config.json"
    if process.returncode or not shape.is_file():
        lines = (folder / "train.out").read_text(errors="replace").strip().splitlines()
        return f"failed: {lines[-1][:300] if lines else f'exit status {process.returncode}'}"
    shutil.copyfile(shape, folder / "shape.json")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # several times as large as the model
    evaluation = read_json(folder / "training.json")["evaluation"]
    return "no held-out texts" if evaluation is None else f"held-out loss {evaluation['held_out_loss']:.4f}"


def end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Error as error:
        sys.exit(f"decoder_experiments: {error}")
    except KeyboardInterrupt:
        sys.exit("decoder_experiments: stopped")
