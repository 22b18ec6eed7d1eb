"""Training the depth router of a finished model, whose other weights stay as they are.

The label of a text is its oracle depth. Passages of the index are embedded at the deepest depth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from taesr._native import core
from taesr.errors import Error, InvalidArgument
from taesr.training.add_head import add_head, check_output
from taesr.training.checks import require
from taesr.training.frozen import FrozenReader, FrozenTexts, Report
from taesr.training.oracle_depth import mistake_costs, nearest, oracle_labels, overlap_of, own_passage_ndcg
from taesr.training.pool_sample import PoolSample, sample_pool
from taesr.training.small_fit import dropped, minimise, standard

CLASSES = ("easy", "medium", "hard")
_LEAST_OWN = 100  # held-out queries whose own passage is known, for a measure by them
_CANDIDATES = 64  # confidences that are tried


@dataclass(frozen=True, kw_only=True)
class RouterOptions:
    """How a router is trained.

    Attributes
    ----------
    queries, passages : int
        Texts drawn from the pool; as many passages as queries are routed too, as queries for others.
    size : int
        Hidden units (config field ``router_size``).
    neighbours, overlap
        A depth is enough for a text if this share of so many nearest passages is that of the deepest.
    depth_price : float
        What a needless recursion costs, as a share of neighbours lost, if all of them were needless:
        weighs texts by the cost of the worst mistake.
    held_out : float
        Share of the texts that the router is measured on and its confidence is chosen with.
    retention : float
        Share of the deepest depth's quality on held-out queries that the confidence must keep.
    mean_depth : float, optional
        Instead of `retention`: the confidence is the greatest at which neither queries nor passages
        take more recursions than this on average. For pools whose questions are easier than those
        that will be asked, so that quality on them says little.
    route_passages : bool
        Choose the confidence with the index routed as well, as depth "auto" does on both sides; false
        for those who index passages at the deepest depth.
    steps, batch, lr, weight_decay, dropout
        Of AdamW; dropout is of the features.
    seed : int
    """

    queries: int = 6000
    passages: int = 30000
    size: int = 64
    neighbours: int = 10
    overlap: float = 0.9
    depth_price: float = 0.5
    held_out: float = 0.25
    retention: float = 0.99
    mean_depth: float | None = None
    route_passages: bool = True
    steps: int = 800
    batch: int = 1024
    lr: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("queries", "passages"):
            require(name, getattr(self, name), 20)
        for name in ("neighbours", "size", "steps", "batch"):
            require(name, getattr(self, name), 1)
        for name in ("overlap", "retention"):
            require(name, getattr(self, name), 0, 1, without_low=True)
        require("held_out", self.held_out, 0, 0.9, without_low=True)
        if self.mean_depth is not None:
            require("mean_depth", self.mean_depth, 1)
        require("dropout", self.dropout, 0, 1, without_high=True)
        require("depth_price", self.depth_price, 0, without_low=True)
        require("lr", self.lr, 0, without_low=True)


@dataclass(frozen=True)
class ConfidencePoint:
    """What one confidence gives on held-out queries; `retention` is of the deepest depth's quality."""

    confidence: float
    query_depth: float
    passage_depth: float
    retention: float


@dataclass(frozen=True)
class RouterReport:
    """What training found, on held-out texts.

    Attributes
    ----------
    labels : dict of str to float
        Share of each class among all labelled texts.
    accuracy, majority : float
        Of the most probable class, and of always naming the most frequent one.
    measure : str
        What retention is of.
    chosen : ConfidencePoint
        Of the confidence that the model was saved with.
    curve : list of ConfidencePoint
        By rising confidence.
    """

    labels: dict[str, float]
    accuracy: float
    majority: float
    measure: str
    chosen: ConfidencePoint
    curve: list[ConfidencePoint]


def train_router(
    model: str | Path,
    pools: Sequence[str | Path],
    output: str | Path,
    options: RouterOptions | None = None,
    *,
    device: str | None = None,
    report: Report | None = None,
) -> RouterReport:
    """Give a copy of a model a depth router.

    Parameters
    ----------
    model
        Folder; a router that it has is replaced.
    pools
        Files of the text pool (see `taesr.training.pool`).
    output
        Folder to write.
    device
        "cpu", "cuda" or "cuda:N"; by default the GPU where there is one.

    Raises
    ------
    IoError, FormatError, InvalidArgument
        Name the file or option.
    Error
        All labelled texts are of one class: there is nothing to learn.
    """
    options = options or RouterOptions()
    folder = Path(model)
    check_output(folder, Path(output))
    reader = FrozenReader.load(folder, device)
    sample = sample_pool(pools, options.queries, options.passages, seed=options.seed, report=report)
    if len(sample.passages) <= options.neighbours:
        raise InvalidArgument(
            f"the sample has {len(sample.passages)} passages; {options.neighbours} neighbours need more"
        )
    study = _Study(reader, sample, options, report)
    router = fit_router(
        study.features[study.train], study.labels[study.train], study.costs[study.train], options
    )
    found = study.measure(router)
    fields = {"router_size": options.size, "router_confidence": found.chosen.confidence}
    add_head(folder, Path(output), fields, "router.", {f"router.{name}": w for name, w in router.items()})
    return found


def classes_of(probabilities: Tensor, confidence: float) -> Tensor:
    """The encoder's choice: the first class up to which `probabilities` [n, 3] add up to `confidence`."""
    return (probabilities.double().cumsum(1)[:, :-1] < confidence).sum(1)


def fit_router(features: Tensor, labels: Tensor, costs: Tensor, options: RouterOptions) -> dict[str, Tensor]:
    """Fit weights by cost-weighted cross-entropy.

    Parameters
    ----------
    features : float32 [n, hidden_size + 1]
    labels : int64 [n]
    costs : float32 [n]
        Weight of each text.

    Returns
    -------
    hidden.weight, hidden.bias, out.weight, out.bias for features as they are.
    """
    generator = torch.Generator().manual_seed(options.seed)
    mean, deviation = standard(features)
    inputs = (features - mean) / deviation
    shapes = {"hidden": (options.size, inputs.shape[1]), "out": (len(CLASSES), options.size)}
    router: dict[str, Tensor] = {}
    for name, (rows, columns) in shapes.items():
        weight = torch.randn(rows, columns, generator=generator) / columns**0.5
        router[f"{name}.weight"] = weight.to(inputs.device).requires_grad_()
        router[f"{name}.bias"] = torch.zeros(rows, device=inputs.device).requires_grad_()

    def loss_of_batch() -> Tensor:
        size = min(options.batch, len(inputs))
        drawn = torch.randint(len(inputs), (size,), generator=generator).to(inputs.device)
        batch = dropped(inputs[drawn], options.dropout, generator)
        losses = F.cross_entropy(core.router_logits(batch, router), labels[drawn], reduction="none")
        return (losses * costs[drawn]).sum() / costs[drawn].sum()

    minimise(list(router.values()), loss_of_batch, options)
    fitted = {name: weight.detach() for name, weight in router.items()}
    # The standardisation becomes part of the first layer.
    fitted["hidden.weight"] = fitted["hidden.weight"] / deviation
    fitted["hidden.bias"] = fitted["hidden.bias"] - fitted["hidden.weight"] @ mean
    return fitted


class _Study:
    """Labels and features of the sample, and the router's measure on what is held out."""

    def __init__(
        self, reader: FrozenReader, sample: PoolSample, options: RouterOptions, report: Report | None
    ) -> None:
        self.options = options
        self.config = reader.model.config
        steps = self.config.recursion_steps
        self.depths = [steps[name] for name in CLASSES]
        read = sorted(set(self.depths))
        self.passages = reader.read(sample.passages, "passage", read, label="passages", report=report)
        self.queries = reader.read(sample.queries, "query", read, label="queries", report=report)
        self.parents = torch.from_numpy(sample.parents).to(reader.device)
        generator = np.random.default_rng(options.seed)
        count = min(len(sample.queries), len(sample.passages))
        routed = torch.from_numpy(generator.permutation(len(sample.passages))[:count]).to(reader.device)
        parts = [self._labels(self.queries, None), self._labels(self.passages, routed)]
        self.features = torch.cat([self.queries.features, self.passages.features[routed]])
        self.labels, kept = (torch.cat(columns) for columns in zip(*parts, strict=True))
        if bool((self.labels == self.labels[0]).all()):
            raise Error(
                f"all {len(self.labels)} texts are {CLASSES[int(self.labels[0])]} for this model: there is "
                "nothing to route; use a fixed depth, or another overlap"
            )
        self.costs = mistake_costs(self.labels, kept, self.depths, options.depth_price)
        held = torch.from_numpy(generator.random(len(self.labels)) < options.held_out).to(reader.device)
        if not held[: len(sample.queries)].any() or held.all():
            raise InvalidArgument("the sample is too small to hold a part out; draw more queries")
        self.train = ~held
        self.held = held

    def _labels(self, texts: FrozenTexts, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Labels of queries, or of the passages `rows`, which are not their own neighbours."""
        index = self.passages.dense[self.depths[-1]]
        tops = []
        for depth in self.depths:
            vectors = texts.dense[depth] if rows is None else texts.dense[depth][rows]
            tops.append(nearest(vectors, index, self.options.neighbours, exclude=rows))
        return oracle_labels(tops, self.options.overlap)

    def measure(self, router: dict[str, Tensor]) -> RouterReport:
        """Accuracy on what is held out, and the confidence that keeps enough quality."""
        with torch.no_grad():
            scores = core.router_logits(self.features[self.held], router)
            asked = self.held[: len(self.queries.features)].nonzero()[:, 0]
            chances = torch.softmax(core.router_logits(self.queries.features[asked], router), 1)
            of_passages = torch.softmax(core.router_logits(self.passages.features, router), 1)
        labels = self.labels[self.held]
        counts = torch.bincount(self.labels, minlength=len(CLASSES)).float()
        frequent = int(torch.bincount(self.labels[self.train], minlength=len(CLASSES)).argmax())
        own = asked[self.parents[asked] >= 0]
        by_own = len(own) >= _LEAST_OWN
        if by_own:
            chances, asked = chances[self.parents[asked] >= 0], own
        curve = self._curve(asked, chances, of_passages, by_own)
        return RouterReport(
            labels={name: float(share) for name, share in zip(CLASSES, counts / counts.sum(), strict=True)},
            accuracy=float((scores.argmax(1) == labels).float().mean()),
            majority=float((labels == frequent).float().mean()),
            measure="nDCG@10 of each query's own passage"
            if by_own
            else "nearest passages shared with the deepest depth",
            chosen=self._choose(curve),
            curve=curve,
        )

    def _choose(self, curve: list[ConfidencePoint]) -> ConfidencePoint:
        """The cheapest that keeps enough quality, or the dearest that stays within the mean depth."""
        most = self.options.mean_depth
        if most is None:
            enough = [point for point in curve if point.retention >= self.options.retention]
            return min(enough, key=lambda point: (point.query_depth + point.passage_depth, point.confidence))
        allowed = [point for point in curve if max(point.query_depth, point.passage_depth) <= most]
        if not allowed:
            raise InvalidArgument(
                f"mean_depth is {most}; allowed: at least {self.depths[0]}, the recursions of depth easy"
            )
        return max(allowed, key=lambda point: point.confidence)

    def _curve(
        self, asked: Tensor, chances: Tensor, of_passages: Tensor, by_own: bool
    ) -> list[ConfidencePoint]:
        """Quality and depth by confidence; the last one is always hard, and keeps everything."""
        sums = torch.cat([chances, of_passages]).double().cumsum(1)[:, :-1].flatten()
        levels = torch.linspace(0, 1, _CANDIDATES, dtype=torch.float64, device=sums.device)
        candidates = sorted({round(float(c), 4) for c in torch.quantile(_thinned(sums), levels)} | {0.0})
        last = len(CLASSES) - 1
        hardest = torch.full_like(asked, last)
        all_hard = torch.full((len(of_passages),), last, device=asked.device)
        deepest = self._quality(asked, hardest, all_hard, by_own)
        if deepest == 0:
            raise Error("the model finds no held-out query's passage at any depth; train the encoder first")
        depths = torch.tensor(self.depths, dtype=torch.float64, device=asked.device)
        points = []
        for confidence in candidates:
            chosen = classes_of(chances, confidence)
            index = classes_of(of_passages, confidence) if self.options.route_passages else all_hard
            quality = self._quality(asked, chosen, index, by_own)
            mean, index_mean = float(depths[chosen].mean()), float(depths[index].mean())
            points.append(ConfidencePoint(confidence, mean, index_mean, quality / deepest))
        if points[-1].retention < self.options.retention:
            points.append(ConfidencePoint(1.0, float(self.depths[-1]), float(self.depths[-1]), 1.0))
        return points

    def _quality(self, asked: Tensor, classes: Tensor, index_classes: Tensor, by_own: bool) -> float:
        queries = _mixed(self.queries, self.depths, classes, asked)
        index = _mixed(self.passages, self.depths, index_classes, None)
        if by_own:
            return float(own_passage_ndcg(queries, index, self.parents[asked]).mean())
        found = nearest(queries, index, self.options.neighbours)
        deepest = self.depths[-1]
        wanted = nearest(
            self.queries.dense[deepest][asked], self.passages.dense[deepest], self.options.neighbours
        )
        return float(overlap_of(found, wanted).mean())


def _mixed(texts: FrozenTexts, depths: Sequence[int], classes: Tensor, rows: Tensor | None) -> Tensor:
    """Embeddings with the depth of each text's class."""
    by_class = [texts.dense[depth] if rows is None else texts.dense[depth][rows] for depth in depths]
    mixed = by_class[-1].clone()
    for number, vectors in enumerate(by_class[:-1]):
        mixed[classes == number] = vectors[classes == number]
    return mixed


def _thinned(values: Tensor) -> Tensor:
    """At most a million, which is what torch.quantile can take many times over."""
    return values[:: max(1, len(values) // 1_000_000)]
