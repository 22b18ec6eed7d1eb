"""Training the named subspaces of a finished model, whose other weights stay as they are.

Each is an affine map of a text's mean state at the deepest depth, made unit length:

- ``semantic`` keeps the similarities of the dense embedding (KL divergence of their softmax, as in
  relational distillation);
- ``temporal`` puts texts of near years near each other, and time on its first dimension;
- ``procedural`` tells how-to text from facts (supervised contrast, arXiv 2004.11362);
- ``contextual`` puts a paragraph near its neighbour and away from the rest of its document and from others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from taesr._native import core
from taesr.errors import InvalidArgument
from taesr.training.add_head import add_head, check_output
from taesr.training.checks import require
from taesr.training.frozen import FrozenReader, Report
from taesr.training.small_fit import dropped, minimise, standard
from taesr.training.subspace_data import SubspaceData, load_subspace_data
from taesr.training.subspace_probes import ProbeComparison, compare_probes, require_probes

NAMES = ("semantic", "temporal", "procedural", "contextual")
_NEAR_YEARS = 10.0  # the target's weight of a pair falls by e in so many years
_TIME_RANGE = 0.7  # of the first dimension, at both ends of time
_TIME_WEIGHT = 4.0

Loss = Callable[[Tensor], Tensor]  # embeddings of the batch [b, dim] to a scalar


@dataclass(frozen=True, kw_only=True)
class SubspaceOptions:
    """How subspaces are trained.

    Attributes
    ----------
    sizes : mapping of str to int
        Dimensions by name, of "semantic", "temporal", "procedural" and "contextual".
    limit : int
        Lines read of each file.
    steps, batch, lr, weight_decay, dropout
        Of AdamW; `batch` counts items, of which a contextual one has four texts; dropout is of the states.
    temperature : float
        Of the softmax over cosines.
    seed : int
    """

    sizes: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 64))
    limit: int = 50_000
    steps: int = 800
    batch: int = 512
    lr: float = 1e-2
    weight_decay: float = 0.01
    dropout: float = 0.3
    temperature: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.sizes) - set(NAMES))
        if unknown or not self.sizes:
            what = f"sizes names {unknown[0]!r}" if unknown else "sizes is empty"
            raise InvalidArgument(f"{what}; allowed: {', '.join(NAMES)}")
        for name, least in (("limit", 1), ("steps", 1), ("batch", 2)):
            require(name, getattr(self, name), least)
        require("dropout", self.dropout, 0, 1, without_high=True)
        require("lr", self.lr, 0, without_low=True)
        require("temperature", self.temperature, 0, without_low=True)


@dataclass(frozen=True)
class SubspaceReport:
    """What training found, on held-out data; empty where there is none.

    Attributes
    ----------
    losses : dict of str to (float, float)
        First and last tenth of the steps, by subspace.
    probes : list of ProbeComparison
    """

    losses: dict[str, tuple[float, float]]
    probes: list[ProbeComparison]


def train_subspaces(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    options: SubspaceOptions | None = None,
    *,
    device: str | None = None,
    report: Report | None = None,
) -> SubspaceReport:
    """Give a copy of a model subspaces; those that it has are replaced.

    Parameters
    ----------
    model
        Folder.
    data
        Folder of the files that `taesr.training.subspace_data` describes.
    output
        Folder to write.
    device
        "cpu", "cuda" or "cuda:N"; by default the GPU where there is one.

    Raises
    ------
    IoError, FormatError, InvalidArgument
        Name the file or option.
    Error
        scikit-learn, which the probes need, is not installed.
    """
    options = options or SubspaceOptions()
    folder = Path(model)
    check_output(folder, Path(output))
    held_out = any(Path(data).glob("*.heldout.jsonl"))
    if held_out:
        require_probes()
    train = load_subspace_data(data, "train", limit=options.limit, seed=options.seed)
    test = load_subspace_data(data, "heldout", limit=options.limit, seed=options.seed) if held_out else None
    for name in options.sizes:
        _check_data(name, train)
    reader = FrozenReader.load(folder, device)
    deepest = reader.model.config.recursions("hard")
    read = reader.read(train.texts, "passage", [deepest], label="texts to learn from", report=report)
    pooled, dense = read.pooled[deepest], read.dense[deepest]
    heads, losses = {}, {}
    for name, size in sorted(options.sizes.items()):
        heads[name], losses[name] = fit_subspace(name, size, pooled, dense, train, options, report)
    probes: list[ProbeComparison] = []
    if test is not None:
        read = reader.read(test.texts, "passage", [deepest], label="held-out texts", report=report)
        embedded = {
            name: core.dense_embedding(read.pooled[deepest], *head).cpu().numpy()
            for name, head in heads.items()
        }
        probes = compare_probes(test, embedded, read.dense[deepest].cpu().numpy())
    weights: dict[str, Tensor] = {}
    for name, (weight, bias) in heads.items():
        weights |= {f"subspace.{name}.weight": weight, f"subspace.{name}.bias": bias}
    add_head(folder, Path(output), {"subspaces": dict(options.sizes)}, "subspace.", weights)
    return SubspaceReport(losses, probes)


def fit_subspace(
    name: str,
    size: int,
    pooled: Tensor,
    dense: Tensor,
    data: SubspaceData,
    options: SubspaceOptions,
    report: Report | None = None,
) -> tuple[tuple[Tensor, Tensor], tuple[float, float]]:
    """Fit one map.

    Parameters
    ----------
    pooled : float32 [texts, hidden_size]
        Mean states at the deepest depth, by place in `data.texts`.
    dense : float32 [texts, embedding_size]
        Dense embeddings, for the semantic subspace.

    Returns
    -------
    weight [size, hidden_size] and bias [size] for mean states as they are, and the mean loss over the
    first and the last tenth of the steps.
    """
    generator = torch.Generator().manual_seed(options.seed)
    draw = _sampler(name, dense, data, options, generator)
    mean, deviation = standard(pooled)
    weight = (torch.randn(size, pooled.shape[1], generator=generator) / pooled.shape[1] ** 0.5).to(
        pooled.device
    )
    weight.requires_grad_()
    bias = torch.zeros(size, device=pooled.device, requires_grad=True)

    def loss_of_batch() -> Tensor:
        places, loss_of = draw()
        inputs = dropped((pooled[places] - mean) / deviation, options.dropout, generator)
        return loss_of(core.dense_embedding(inputs, weight, bias))

    def progress(step: int) -> None:
        if report is not None and step % 50 == 0:
            report(f"{name} steps", step, options.steps)

    values = minimise([weight, bias], loss_of_batch, options, report=progress)
    part = max(1, options.steps // 10)
    # The standardisation becomes part of the map.
    folded = (weight / deviation).detach()
    return (folded, bias.detach() - folded @ mean), (
        float(values[:part].mean()),
        float(values[-part:].mean()),
    )


def _check_data(name: str, data: SubspaceData) -> None:
    items = {
        "semantic": data.texts,
        "temporal": set(data.years.values()),
        "procedural": set(data.labels.values()),
        "contextual": data.contexts,
    }
    if len(items[name]) < 2:
        remedy = (
            "leave the subspace out"
            if name == "semantic"
            else f"add {name}.train.jsonl or leave the subspace out"
        )
        raise InvalidArgument(f"the data hold too little for the subspace '{name}'; {remedy}")


def _sampler(
    name: str, dense: Tensor, data: SubspaceData, options: SubspaceOptions, generator: torch.Generator
) -> Callable[[], tuple[Tensor, Loss]]:
    """A function that draws a batch: places of its texts, and the loss of their embeddings."""
    device, temperature = dense.device, options.temperature

    def drawn(count: int) -> Tensor:
        return torch.randperm(count, generator=generator)[: options.batch].to(device)

    if name == "semantic":

        def semantic() -> tuple[Tensor, Loss]:
            places = drawn(len(data.texts))
            target = torch.softmax(_similarities(dense[places], temperature), 1)
            return places, lambda rows: _kl(target, rows, temperature)

        return semantic
    if name == "temporal":
        dated = torch.tensor(list(data.years), device=device)
        years = torch.tensor(list(data.years.values()), dtype=torch.float32, device=device)
        times = _TIME_RANGE * (2 * _quantiles(years) - 1)

        def temporal() -> tuple[Tensor, Loss]:
            chosen = drawn(len(dated))
            apart = (years[chosen, None] - years[chosen]).abs() / _NEAR_YEARS
            target = torch.softmax(_without_self(-apart), 1)
            return (
                dated[chosen],
                lambda rows: (
                    _kl(target, rows, 2 * temperature) + _TIME_WEIGHT * F.mse_loss(rows[:, 0], times[chosen])
                ),
            )

        return temporal
    if name == "procedural":
        labelled = torch.tensor(list(data.labels), device=device)
        labels = torch.tensor(list(data.labels.values()), device=device)

        def procedural() -> tuple[Tensor, Loss]:
            chosen = drawn(len(labelled))
            same = (labels[chosen, None] == labels[chosen]).float().fill_diagonal_(0)
            target = same / same.sum(1, keepdim=True).clamp_min(1)
            return labelled[chosen], lambda rows: _kl(target, rows, 2 * temperature)

        return procedural
    contexts = torch.tensor(data.contexts, device=device)

    def contextual() -> tuple[Tensor, Loss]:
        places = contexts[drawn(len(contexts))].T.flatten()
        return places, lambda rows: contextual_loss(rows.unflatten(0, (4, -1)), temperature)

    return contextual


def contextual_loss(rows: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each anchor's neighbour among all neighbours, all strangers and its distant one.

    `rows` [4, items, dim] are anchors, neighbours, distant paragraphs and strangers.
    """
    anchor, neighbour, distant, other = rows
    candidates = torch.cat([neighbour, other])
    own_distant = (anchor * distant).sum(1, keepdim=True)
    scores = torch.cat([anchor @ candidates.T, own_distant], 1) / temperature
    right = torch.arange(len(anchor), device=anchor.device)
    # Among many easy candidates the hard one would hardly count: it has a term of its own.
    pair = torch.stack([(anchor * neighbour).sum(1), own_distant[:, 0]], 1) / temperature
    return F.cross_entropy(scores, right) + F.cross_entropy(pair, torch.zeros_like(right))


def _similarities(rows: Tensor, temperature: float) -> Tensor:
    return _without_self(rows @ rows.T / temperature)


def _without_self(scores: Tensor) -> Tensor:
    return scores.masked_fill(torch.eye(len(scores), dtype=torch.bool, device=scores.device), -1e4)


def _kl(target: Tensor, rows: Tensor, temperature: float) -> Tensor:
    """KL divergence from the softmax over the other rows' cosines to `target` [b, b], mean of the rows."""
    found = torch.log_softmax(_similarities(rows, temperature), 1)
    return F.kl_div(found, target, reduction="batchmean")


def _quantiles(values: Tensor) -> Tensor:
    """Share of the values that are smaller, those that are equal counted half: 0 to 1."""
    ordered = values.sort().values
    low, high = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (low + high).float() / (2 * len(values))


def probes_won(probes: Sequence[ProbeComparison]) -> dict[str, bool]:
    """Whether each subspace beats the dense embedding of its size on all of its probes."""
    names = dict.fromkeys(probe.subspace for probe in probes)
    return {name: all(p.score > p.dense for p in probes if p.subspace == name) for name in names}
