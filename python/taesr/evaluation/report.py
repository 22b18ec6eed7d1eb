"""Figures of several retrieval sets in one table, or as JSON for machines."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from taesr.errors import InvalidArgument
from taesr.evaluation.metrics import METRICS, mean_of
from taesr.evaluation.retrieval import RetrievalResult

# Heading -> the costs under it, how each is written, and by what it is divided.
_COSTS = {
    "documents": (("document_count",), ",.0f", 1),
    "queries": (("query_count",), ",.0f", 1),
    "depth d / q": (("document_depth", "query_depth"), ".1f", 1),
    "docs/s": (("document_per_second",), ",.0f", 1),
    "MFLOP d / q": (("document_flops", "query_flops"), ",.0f", 1e6),
    "query ms p50 / p95": (("query_ms_p50", "query_ms_p95"), ".1f", 1),
    "vectors MiB": (("vector_bytes",), ".2f", 2**20),
    "peak MiB": (("peak_memory_bytes",), ",.0f", 2**20),
}


class RetrievalReport:
    """Results of one encoder with one set of options.

    Parameters
    ----------
    results : sequence of RetrievalResult
        At least one, with names that differ.
    settings : mapping
        What a reader needs to repeat the figures; JSON values.
    """

    def __init__(self, results: Sequence[RetrievalResult], settings: Mapping[str, Any]) -> None:
        twice = [name for name, count in Counter(result.name for result in results).items() if count > 1]
        if twice:
            raise InvalidArgument(f"two results have the name {twice[0]!r}")
        self.results = list(results)
        self.settings = dict(settings)
        self.mean = mean_of([result.metrics for result in results])

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"datasets": {name: {measure: value}}, "mean", "cost", "settings", "notes"}``."""
        return {
            "datasets": {result.name: result.metrics for result in self.results},
            "mean": self.mean,
            "cost": {result.name: result.cost for result in self.results},
            "settings": self.settings,
            "notes": [note for result in self.results for note in result.notes],
        }

    def to_text(self) -> str:
        """Return the tables for a terminal, measures in percent."""
        rows = [(result.name, result.metrics) for result in self.results]
        if len(rows) > 1:
            rows.append(("mean", self.mean))
        measures = [[name, *(f"{100 * row[metric]:.1f}" for metric in METRICS)] for name, row in rows]
        costs = [
            [result.name, *(_cost_cell(result.cost, *column) for column in _COSTS.values())]
            for result in self.results
        ]
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items() if value is not None)
        notes = [f"note: {note}" for result in self.results for note in result.notes]
        tables = [_table(["x100", *METRICS], measures), _table(["cost", *_COSTS], costs)]
        return "\n\n".join([*tables, "\n".join([settings, *notes])])


def _cost_cell(cost: Mapping[str, float], names: Sequence[str], style: str, unit: float) -> str:
    """Write one or two figures; a dash for what this kind of measurement does not have."""
    return " / ".join(f"{cost[name] / unit:{style}}" if name in cost else "-" for name in names)


def _table(heading: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in [heading, *rows]) for column in range(len(heading))]
    lines = []
    for row in [heading, ["-" * width for width in widths], *rows]:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)
