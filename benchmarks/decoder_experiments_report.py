"""Tables and plots of the runs that decoder_experiments.py left, from their logs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from decoder_flops import (
    forward_flops,
    kv_bytes_per_token,
    layer_parameters,
)

from taesr import Decoder
from taesr.errors import InvalidArgument
from taesr.evaluation.plots import require_matplotlib
from taesr.nn import DecoderConfig
from taesr.training.decoder import DecoderTrainConfig
from taesr.training.decoder.rows import rows_of
from taesr.training.decoder.tokens import prepare_tokens
from taesr.training.fields import read_json

CLEAR = 0.01  # nats below which two runs are called equal


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one run came to; losses in nats a token, `passing` the share of held-out tokens by recursion."""

    family: str
    title: str
    name: str
    order: int
    flops_of: str | None
    sharing: str
    routing: str
    recursions: int
    layers: int
    unique_layers: int
    shared_keys: bool
    parameters: int  # outside the table
    table_parameters: int
    tokens: int
    steps: int
    seconds: float
    tokens_per_second: float
    training_flops: float
    held_out_loss: float | None
    held_out_tokens: int
    teacher_loss: float | None
    passing: list[float]
    mean_recursions: float
    layers_per_token: float
    forward_flops_per_token: float
    kv_bytes: float
    kv_bytes_full: float  # with entries at all layers that a token may pass
    hardware: str
    curve: list[tuple[int, float]]  # tokens, cross-entropy of the batches since the point before
    kv_measured: float | None = None
    kv_expected: float | None = None  # for the tokens it was measured on


def write_report(folder: Path, *, measure_rows: int = 0, plots: bool = True) -> str:
    """Read all runs of a folder; write report.md, report.json and plots there; return the Markdown."""
    if plots:
        require_matplotlib()
    results, missing = read_results(folder)
    if not results and not missing:
        raise InvalidArgument(f"{folder} has no runs; name the --output of `run`")
    if measure_rows:
        results = [with_measured_keys(result, folder, measure_rows) for result in results]
    parts = []
    for family in dict.fromkeys(result.family for result in results):
        same = [result for result in results if result.family == family]
        parts.append(section(same))
        if plots:
            draw(folder, family, same)
    if missing:
        parts.append("Without a result: " + "; ".join(missing) + ".")
    text = "\n\n".join(parts)
    (folder / "report.md").write_text(text + "\n")
    facts = {"runs": [asdict(result) for result in results], "without_a_result": missing}
    (folder / "report.json").write_text(json.dumps(facts, indent=2) + "\n")
    return text


def read_results(folder: Path) -> tuple[list[Result], list[str]]:
    """Results of the finished runs in the order of their files; and what the others came to, in words."""
    results, missing = [], []
    for path in folder.glob("*/*/experiment.json"):
        run = path.parent
        about = read_json(path)
        if (run / "training.json").is_file() and (run / "shape.json").is_file():
            results.append(read_result(run, about))
        else:
            steps = [row for row in log_rows(run) if row["event"] == "step"]
            last = f"stopped at step {steps[-1]['step']}" if steps else "no step"
            missing.append(f"{about['family']}: {about['name']} ({last})")
    return sorted(results, key=lambda result: (result.family, result.order)), sorted(missing)


def read_result(run: Path, about: dict[str, Any]) -> Result:
    """Result of one finished run."""
    training = read_json(run / "training.json")
    config = DecoderTrainConfig.from_dict(training["config"])
    shape = DecoderConfig.read(run / "shape.json")
    rows = log_rows(run)
    steps = [row for row in rows if row["event"] == "step"]
    evaluation = training["evaluation"] or {}
    passing = evaluation.get("passing", [])
    keys = config.model.shared_keys
    length = config.data.sequence_length
    mean = sum(passing) or float(shape.recursions)
    flops = about.pop("training_flops_per_token")
    return Result(
        **about,
        sharing=shape.sharing,
        routing=shape.routing,
        recursions=shape.recursions,
        layers=shape.layers,
        unique_layers=shape.unique_layers,
        shared_keys=keys,
        parameters=layer_parameters(shape),
        table_parameters=shape.vocab_size * shape.hidden_size * (1 if shape.tied_embeddings else 2),
        tokens=training["tokens"],
        steps=training["step"],
        seconds=training["seconds"],
        tokens_per_second=usual_speed(steps),
        training_flops=training["tokens"] * flops,
        held_out_loss=evaluation.get("held_out_loss"),
        held_out_tokens=evaluation.get("tokens", 0),
        teacher_loss=evaluation.get("teacher_loss"),
        passing=passing,
        mean_recursions=mean,
        layers_per_token=2 * shape.end_layers + shape.block_layers * mean,
        forward_flops_per_token=forward_flops(shape, length, passing, shared_keys=keys) / length,
        kv_bytes=kv_bytes_per_token(shape, passing, shared_keys=keys),
        kv_bytes_full=kv_bytes_per_token(shape),
        hardware=training["hardware"],
        curve=[(row["tokens"], row["cross_entropy"]) for row in steps if "cross_entropy" in row],
    )


def log_rows(run: Path) -> list[dict[str, Any]]:
    path = run / "log.jsonl"
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # a killed run's last line may be cut off
    return rows


def usual_speed(steps: Sequence[dict[str, Any]]) -> float:
    """Median tokens a second: the first steps compile and fill caches."""
    return float(np.median([row["tokens_per_second"] for row in steps])) if steps else 0.0


def with_measured_keys(result: Result, folder: Path, rows: int) -> Result:
    """Add the engine's memory of keys and values on held-out texts; unchanged where files are missing."""
    run = next(
        path.parent
        for path in folder.glob(f"{result.family}/*/experiment.json")
        if read_json(path)["name"] == result.name
    )
    config = DecoderTrainConfig.from_dict(read_json(run / "config.json"))
    if not (run / "model").is_dir() or not (Path(config.data.cache) / "cache.json").is_file():
        return result
    held = prepare_tokens(replace(config.data, sources=[], held_out_sources=[]), None).splits["held"]
    texts = rows_of(held, np.arange(len(held.lengths)), config.data)
    decoder = Decoder.load(run / "model", kv_caching="shared" if result.shared_keys else "full")
    found = expected = tokens = 0.0
    for row in range(min(rows, len(texts))):
        ids = [int(token) for begin, end in texts[row] for token in held.tokens[begin:end]]
        trace = decoder.trace(ids[: config.data.sequence_length])
        depths = np.array(trace.recursions)
        passing = [float((depths > r).mean()) for r in range(result.recursions)]
        found += trace.kv_bytes
        expected += len(depths) * kv_bytes_per_token(decoder.config, passing, shared_keys=result.shared_keys)
        tokens += len(depths)
    return replace(result, kv_measured=found / tokens, kv_expected=expected / tokens) if tokens else result


def section(results: Sequence[Result]) -> str:
    """Table of one family, and each run against the first one."""
    return "\n\n".join([f"## {results[0].title}", conditions(results), table(results), *against(results)])


def conditions(results: Sequence[Result]) -> str:
    first = results[0]
    held = f"{first.held_out_tokens / 1e3:.0f}k held-out tokens"
    teacher = (
        "" if first.teacher_loss is None else f"; the teacher's loss on them is {first.teacher_loss:.3f}"
    )
    return (
        f"{first.hardware}; {held}{teacher}. Parameters without the token table "
        f"({first.table_parameters / 1e6:.1f}M). Losses in nats a token, models routed as when they generate."
    )


def table(results: Sequence[Result]) -> str:
    """Markdown, a line a run."""
    measured = any(result.kv_measured is not None for result in results)
    titles = ["run", "layers stored / passed", "parameters", "tokens", "training PFLOP", "held-out loss"]
    if any(result.teacher_loss is not None for result in results):
        titles.append("gap to the teacher")
    titles += ["passing by recursion", "recursions a token", "forward MFLOP a token", "KV bytes a token"]
    titles += ["of full caching"] + (["measured (theory)"] if measured else []) + ["tokens/s"]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for result in results:
        loss = result.held_out_loss
        cells = [
            result.name,
            f"{result.unique_layers} / {result.layers_per_token:.1f}",
            f"{result.parameters / 1e6:.2f}M",
            f"{result.tokens / 1e6:.1f}M",
            f"{result.training_flops / 1e15:.2f}",
            "none" if loss is None else f"{loss:.4f}",
        ]
        if "gap to the teacher" in titles:
            known = loss is not None and result.teacher_loss is not None
            cells.append(f"{loss - result.teacher_loss:+.3f}" if known else "")  # type: ignore[operator]
        cells += [
            " ".join(f"{share:.0%}" for share in result.passing) or "all",
            f"{result.mean_recursions:.2f}",
            f"{result.forward_flops_per_token / 1e6:.1f}",
            f"{result.kv_bytes:.0f}",
            f"{result.kv_bytes / result.kv_bytes_full:.2f}",
        ]
        if measured:
            known = result.kv_measured is not None
            cells.append(f"{result.kv_measured:.0f} ({result.kv_expected:.0f})" if known else "")
        lines.append(f"| {' | '.join([*cells, f'{result.tokens_per_second / 1e3:.0f}k'])} |")
    return "\n".join(lines)


def against(results: Sequence[Result]) -> list[str]:
    """What each run gained and lost beside the first one, worst first."""
    first = results[0]
    rest = [result for result in results[1:] if result.held_out_loss is not None]
    if first.held_out_loss is None or not rest:
        return []
    lines = [
        f"Against {first.name}, worst first; costs as shares of its own:",
        "",
        "| run | | nats | parameters | tokens | training FLOPs | forward FLOPs a token | KV bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in sorted(rest, key=lambda result: -(result.held_out_loss or 0.0)):
        difference = (result.held_out_loss or 0.0) - first.held_out_loss
        cells = [
            result.name,
            "level" if abs(difference) < CLEAR else "loses" if difference > 0 else "wins",
            f"{difference:+.3f}",
            *(
                f"{getattr(result, cost) / getattr(first, cost):.0%}"
                for cost in ("parameters", "tokens", "training_flops", "forward_flops_per_token", "kv_bytes")
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return ["\n".join(lines)]


def draw(folder: Path, family: str, results: Sequence[Result]) -> None:
    """Loss against training FLOPs, against a token's forward FLOPs, and over the course of the training."""
    from matplotlib.figure import Figure

    measured = [result for result in results if result.held_out_loss is not None]
    for name, label, costs in (
        ("training", "training PFLOP", [result.training_flops / 1e15 for result in measured]),
        ("forward", "forward MFLOP a token", [result.forward_flops_per_token / 1e6 for result in measured]),
    ):
        figure = Figure(figsize=(10, 5.5), layout="constrained")
        axes = figure.add_subplot()
        for number, (result, cost) in enumerate(zip(measured, costs, strict=True), 1):
            at = (cost, result.held_out_loss or 0.0)
            marker = {"expert_choice": "o", "token_choice": "^"}.get(result.routing, "s")
            axes.plot(
                *at, marker, color=colour(result.recursions),
                label=f"{number} {result.name}",
            )  # fmt: skip
            axes.annotate(
                str(number), at, textcoords="offset points",
                xytext=(5, 4), fontsize="x-small",
            )  # fmt: skip
        axes.set(title=results[0].title, xlabel=label, ylabel="held-out loss, nats")
        axes.grid(alpha=0.3)
        figure.legend(loc="outside right upper", fontsize="x-small", frameon=False)
        figure.savefig(folder / f"{family}-{name}.png", dpi=130, metadata={"Software": None})
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for number, result in enumerate(results):
        if result.curve:
            tokens, losses = np.array(result.curve).T
            style = ("-", "--", ":", "-.")[number // 10 % 4]
            axes.plot(tokens / 1e6, losses, style, linewidth=1, color=f"C{number % 10}", label=result.name)
    ends = [loss for result in results for _, loss in result.curve[-1:]]
    if ends:
        axes.set_ylim(min(ends) - 0.2, min(ends) + 2.5)
    axes.set(title=results[0].title, xlabel="million tokens", ylabel="cross-entropy of batches, nats")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="xx-small", frameon=False, ncols=2)
    figure.savefig(folder / f"{family}-curves.png", dpi=130, metadata={"Software": None})


def colour(recursions: int) -> str:
    return {1: "#555555", 2: "#4477aa", 3: "#ee6677", 4: "#228833"}.get(recursions, "#aa3377")
