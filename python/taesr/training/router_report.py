"""What a model's depth router is worth: quality against mean depth on retrieval sets.

Documents are embedded at the deepest depth, queries at what the router says; each confidence gives a
point, beside the fixed depths and a random router with the same histogram of depths.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from taesr.errors import InvalidArgument
from taesr.evaluation.ablation_cells import QUALITY, measure
from taesr.evaluation.beir import RetrievalDataset
from taesr.evaluation.retrieval import Progress, RetrievalOptions, encode_texts
from taesr.evaluation.routing import RouterPoint, router_point
from taesr.training.router import CLASSES, classes_of

if TYPE_CHECKING:
    from taesr import Encoder

_LEVELS = 11  # confidences beside the model's own


@dataclass(frozen=True)
class RouterCurve:
    """One set, or all of them taken together.

    Attributes
    ----------
    name : str
    fixed : dict of int to float
        Mean nDCG@10 of all queries at one depth.
    points : dict of float to RouterPoint
        By confidence.
    own : float
        The confidence of the model.
    """

    name: str
    fixed: dict[int, float]
    points: dict[float, RouterPoint]
    own: float

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        points = [
            {
                "confidence": confidence,
                "mean_depth": point.mean_depth,
                QUALITY: point.quality,
                "of_deepest": point.quality / max(self.fixed[max(self.fixed)], 1e-12),
                f"random_{QUALITY}": point.random.quality,
                "against_random": asdict(point.test),
            }
            for confidence, point in self.points.items()
        ]
        fixed = {str(depth): value for depth, value in self.fixed.items()}
        return {"fixed": fixed, "router": points, "model_confidence": self.own}

    def to_markdown(self) -> str:
        """A table of the fixed depths and the router's points; the model's own confidence has a star."""
        lines = [
            f"### {self.name}",
            "",
            "| depth | mean depth | nDCG@10 | of deepest | random router | difference (95%) | p |",
            "|---|---|---|---|---|---|---|",
        ]
        deepest = max(self.fixed[max(self.fixed)], 1e-12)
        for depth, value in sorted(self.fixed.items()):
            lines.append(f"| fixed {depth} | {depth:.2f} | {100 * value:.2f} | {value / deepest:.1%} | | | |")
        for confidence, point in self.points.items():
            star = " *" if confidence == self.own else ""
            test = point.test
            lines.append(
                f"| router {confidence:.3f}{star} | {point.mean_depth:.2f} | {100 * point.quality:.2f} | "
                f"{point.quality / deepest:.1%} | {100 * point.random.quality:.2f} | "
                f"{100 * test.difference:+.2f} "
                f"({100 * test.low:+.2f} to {100 * test.high:+.2f}) | {test.p_value:.4f} |"
            )
        return "\n".join(lines)


def router_report(
    datasets: Sequence[RetrievalDataset], encoder: "Encoder", *, progress: Progress | None = None
) -> list[RouterCurve]:
    """Measure the router of a model; with several sets a last curve has the queries of all of them.

    Raises
    ------
    InvalidArgument
        The model has no router, or there is no set.
    """
    if encoder.config.router_size == 0:
        raise InvalidArgument(f"the model '{encoder.source}' has no router; taesr train-router gives it one")
    if not datasets:
        raise InvalidArgument("there is no retrieval set to measure on")
    depths = [encoder.config.recursion_steps[name] for name in CLASSES]
    measured = [_measure(dataset, encoder, depths, progress) for dataset in datasets]
    names = [dataset.name for dataset in datasets]
    if len(datasets) > 1:
        names.append("all queries")
        runs = {depth: np.concatenate([runs[depth] for runs, _ in measured]) for depth in depths}
        measured.append((runs, np.concatenate([chances for _, chances in measured])))
    own = encoder.config.router_confidence
    sums = np.cumsum(measured[-1][1], axis=1)[:, :-1]
    levels = np.quantile(sums, np.linspace(0, 1, _LEVELS))
    confidences = sorted({own, *(round(float(level), 3) for level in levels)})
    return [
        _curve(name, runs, chances, depths, confidences, own)
        for name, (runs, chances) in zip(names, measured, strict=True)
    ]


def _measure(
    dataset: RetrievalDataset, encoder: "Encoder", depths: Sequence[int], progress: Progress | None
) -> tuple[dict[int, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """nDCG@10 of the queries by depth, and the router's probabilities [queries, 3]."""
    deepest = RetrievalOptions(depth=max(depths))
    label = f"{dataset.name} documents"
    documents = encode_texts(encoder, dataset.documents, "passage", deepest, label, progress)
    runs = {}
    for depth in sorted(set(depths)):
        options = RetrievalOptions(depth=depth)
        queries = encode_texts(
            encoder, dataset.queries, "query", options, f"{dataset.name} queries", progress
        )
        per_query, _ = measure(dataset, queries.vectors, documents.vectors, "float32")
        runs[depth] = np.array([per_query[query][QUALITY] for query in dataset.query_ids])
    routed = encoder.encode_detailed(dataset.queries, role="query", depth="auto", on_overflow="truncate")
    assert routed.router_probabilities is not None
    return runs, routed.router_probabilities


def _curve(
    name: str,
    runs: dict[int, np.ndarray[Any, Any]],
    chances: np.ndarray[Any, Any],
    depths: Sequence[int],
    confidences: Sequence[float],
    own: float,
) -> RouterCurve:
    points = {}
    for confidence in confidences:
        chosen = classes_of(torch.from_numpy(chances), confidence).tolist()
        used = [depths[number] for number in chosen]
        points[confidence] = router_point({depth: list(values) for depth, values in runs.items()}, used)
    return RouterCurve(name, {depth: float(values.mean()) for depth, values in runs.items()}, points, own)
