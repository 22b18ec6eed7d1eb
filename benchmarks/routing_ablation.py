"""Token routing and sharing schemes compared: small models trained on equal tokens, on a CPU.

    python benchmarks/routing_ablation.py --set CRANFIELD --output runs/ablations

Each file of configs/ablations beside base.json holds one comparison: runs by name, and the fields of
base.json that each changes. Every run of every seed is a `taesr train` of its own, all on equal tokens. The
teacher is the bundled model, from whose token table, cut to its principal axes, all begin; their layers
begin random, and a fitted head makes a bag of words of that: "untrained" in the tables. Writes
ablation.json, ablation.md and, with matplotlib, a plot for each comparison. Differences smaller than the
deviation between seeds mean nothing.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taesr import TAESRConfig
from taesr._native import core
from taesr.evaluation.beir import load_beir
from taesr.evaluation.flops import text_flops
from taesr.evaluation.plots import require_matplotlib
from taesr.nn import PackedBatch, TAESRModel
from taesr.training import TrainConfig, train
from taesr.training.fields import with_value

CONFIGS = Path(__file__).parents[1] / "configs"
LAST = 0.2  # share of the steps whose mean loss is reported
TOKENS = 16384  # of a batch, where shares are measured
TABLE_STD = 0.1  # of the token table, well above that of the positions
TOKENIZER = Path(core.default_model_path()) / "tokenizer.model"


@dataclass(frozen=True)
class Run:
    """What one training came to; `easy` and `hard` are nDCG@10, shares those of the documents."""

    comparison: str
    name: str
    seed: int
    parameters: int
    layer_parameters: int
    tokens: int
    seconds: float
    loss: float
    easy: float
    hard: float
    active_share: list[float]
    applications: float
    megaflops: float

    @property
    def mean_share(self) -> float:
        """Of the hard depth's recursions; 1 without routing."""
        return statistics.mean(self.active_share) if self.active_share else 1.0


def main() -> int:
    options = parse()
    torch.manual_seed(0)
    if not options.no_plots:
        require_matplotlib()
    base = json.loads((CONFIGS / "ablations" / "base.json").read_text())
    files = [Path(path) for path in options.comparisons] or sorted((CONFIGS / "ablations").glob("*.json"))
    comparisons = [json.loads(path.read_text()) for path in files if path.name != "base.json"]
    runs = []
    for comparison in comparisons:
        for name, changes in comparison["runs"].items():
            for seed in range(options.seeds):
                runs.append(one_run(comparison["title"], name, seed, changed(base, changes), options))
                print(line_of(runs[-1]), file=sys.stderr, flush=True)
    write(runs, options)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "comparisons", nargs="*", help="files as in configs/ablations; all of these by default"
    )
    parser.add_argument("--set", required=True, help="folder in BEIR layout to measure retrieval on")
    parser.add_argument("--pool", action="append", help="training texts (default: configs/tiny-pool.jsonl)")
    parser.add_argument("--output", default="runs/ablations", help="folder (default: runs/ablations)")
    parser.add_argument("--tokens", type=int, help="of each training (default: as base.json says)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each kind (default: 1)")
    parser.add_argument("--no-plots", action="store_true", help="do without matplotlib")
    return parser.parse_args()


def changed(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for path, value in changes.items():
        document = with_value(document, path, value)
    return document


def one_run(title: str, name: str, seed: int, document: dict[str, Any], options: argparse.Namespace) -> Run:
    """Train and measure; the folder of an earlier run of this name is replaced."""
    output = Path(options.output)
    slug = "".join(c if c.isalnum() else "-" for c in f"{title[:20]} {name} {seed}".lower())
    start = output / "starts" / slug
    start_model(document["model"]["config"], seed).save_pretrained(start)
    shutil.copyfile(TOKENIZER, start / "tokenizer.model")
    config = TrainConfig.from_dict(
        changed(
            document,
            {
                "output": str(output / "trainings" / f"{slug}-{time.time_ns()}"),
                "seed": seed,
                "model.init": str(start),
                "data.pools": options.pool or [str(CONFIGS / "tiny-pool.jsonl")],
                "data.cache": str(output / "cache"),
                "evaluate.sets": [options.set],
                "schedule.tokens": options.tokens or document["schedule"]["tokens"],
            },
        )
    )
    result = train(config)
    assert result.model is not None, "stopped by a signal"
    assert result.evaluation is not None, "base.json evaluates"
    width = str(config.model.resolved().embedding_size)
    quality = result.evaluation.figures["mean"]
    model = TAESRModel.from_pretrained(result.model)
    shares, lengths = routed(model, options.set)
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    return Run(
        comparison=title,
        name=name,
        seed=seed,
        parameters=sum(sizes.values()),
        layer_parameters=sum(size for n, size in sizes.items() if not n.startswith(("embeddings.", "head."))),
        tokens=result.progress.tokens,
        seconds=result.progress.seconds,
        loss=last_loss(Path(config.output) / config.log.jsonl),
        easy=quality["easy"][width]["ndcg@10"],
        hard=quality["hard"][width]["ndcg@10"],
        active_share=shares,
        applications=applications(model, shares),
        megaflops=megaflops(model, shares, lengths),
    )


def start_model(fields: dict[str, Any], seed: int) -> TAESRModel:
    """Random layers over the bundled model's token table, cut to its principal axes."""
    table = TAESRModel.from_pretrained().get_parameter("embeddings.token.weight").detach()
    torch.manual_seed(seed)
    model = TAESRModel(TAESRConfig(**{"vocab_size": len(table), **fields}))
    centred = table - table.mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, : model.config.hidden_size]
    small = centred @ axes
    with torch.no_grad():
        model.get_parameter("embeddings.token.weight").copy_(TABLE_STD * small / small.std())
    return model


def last_loss(log: Path) -> float:
    """Mean of cosine + KL over the last steps: what all runs minimise, without the routers' own losses."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [float(row["cosine"] + row["kl"]) for row in rows if row["event"] == "step"]
    return statistics.mean(losses[-max(1, round(LAST * len(losses))) :])


@torch.inference_mode()
def routed(model: TAESRModel, folder: str) -> tuple[list[float], list[int]]:
    """Share of the documents' tokens in each recursion at the hard depth; lengths without the ends."""
    depth = model.config.recursions("hard")
    active, lengths = np.zeros(depth), []
    for texts in batches(model, folder):
        offsets = [0, *np.cumsum([len(text) for text in texts]).tolist()]
        tokens = torch.tensor([token for text in texts for token in text])
        batch = PackedBatch(tokens, offsets, torch.zeros(len(texts), dtype=torch.int64))
        share = model.packed(batch, [depth])[depth].active_share or (1.0,) * depth
        active += np.array(share) * len(tokens)
        lengths += [len(text) for text in texts]
    shares = (active / sum(lengths)).tolist() if model.config.token_routing != "none" else []
    return shares, [length - 2 for length in lengths]


def batches(model: TAESRModel, folder: str) -> Iterator[list[list[int]]]:
    """Documents as tokens, cut at one pass."""
    config, tokenizer = model.config, core.Tokenizer.load(TOKENIZER)
    batch: list[list[int]] = []
    for text in load_beir(folder).documents:
        batch.append(
            [config.bos_id, *tokenizer.encode(text)[: config.max_position_embeddings - 2], config.eos_id]
        )
        if sum(map(len, batch)) >= TOKENS:
            yield batch
            batch = []
    if batch:
        yield batch


def applications(model: TAESRModel, shares: list[float]) -> float:
    """Layers that work on a token at the hard depth, in the mean."""
    config = model.config
    depth = config.recursions("hard")
    fixed = config.entry_layers + config.exit_layers + (config.refinement_layers if depth > 1 else 0)
    return float(fixed + config.shared_layers * (sum(shares) if shares else depth))


def megaflops(model: TAESRModel, shares: list[float], lengths: list[int]) -> float:
    """Of a document at the hard depth, in the mean."""
    depths = [model.config.recursions("hard")] * len(lengths)
    return float(text_flops(model.config, lengths, depths, active_share=shares or None).mean()) / 1e6


def write(runs: list[Run], options: argparse.Namespace) -> None:
    output = Path(options.output)
    facts = {
        "set": Path(options.set).name,
        "pool": [Path(path).name for path in options.pool or ["tiny-pool.jsonl"]],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "runs": [asdict(run) for run in runs],
    }
    (output / "ablation.json").write_text(json.dumps(facts, indent=2) + "\n")
    text = "\n\n".join(table(title, runs) for title in dict.fromkeys(run.comparison for run in runs))
    (output / "ablation.md").write_text(text + "\n")
    print(text)
    if not options.no_plots:
        for number, title in enumerate(dict.fromkeys(run.comparison for run in runs)):
            plot(output / f"ablation-{number}.png", title, [run for run in runs if run.comparison == title])


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Seeds of one name together."""
    return [[run for run in runs if run.name == name] for name in dict.fromkeys(run.name for run in runs)]


def table(title: str, runs: Sequence[Run]) -> str:
    """Means over seeds, with deviations of single runs where there are several."""
    lines = [
        f"### {title}",
        "",
        "| run | loss | nDCG@10 easy | nDCG@10 hard | active tokens by recursion | mean "
        "| layers a token | MFLOP a document | parameters (layers) | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for same in groups([run for run in runs if run.comparison == title]):
        shares = np.mean([run.active_share for run in same], axis=0)
        cells = [
            same[0].name,
            spread([run.loss for run in same], 3),
            spread([100 * run.easy for run in same], 1),
            spread([100 * run.hard for run in same], 1),
            " / ".join(f"{share:.2f}" for share in shares) or "all",
            f"{statistics.mean(run.mean_share for run in same):.2f}",
            f"{statistics.mean(run.applications for run in same):.2f}",
            f"{statistics.mean(run.megaflops for run in same):.0f}",
            f"{same[0].parameters / 1e6:.2f}M ({same[0].layer_parameters / 1e6:.3f}M)",
            f"{statistics.mean(run.seconds for run in same):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float], digits: int) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def plot(path: Path, title: str, runs: Sequence[Run]) -> None:
    """Quality against layer applications; a point a training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for same in groups(runs):
        axes.plot(
            [run.applications for run in same], [100 * run.hard for run in same], "o", label=same[0].name
        )
    axes.set(title=title, xlabel="layers that work on a token", ylabel="nDCG@10 x 100")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def line_of(run: Run) -> str:
    shares = " ".join(f"{share:.2f}" for share in run.active_share) or "all"
    return f"{run.name} (seed {run.seed}): loss {run.loss:.3f}, nDCG@10 {100 * run.hard:.1f}, active {shares}"


if __name__ == "__main__":
    sys.exit(main())
