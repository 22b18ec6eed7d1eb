"""Writing an ablation: JSON for machines, Markdown and plots for people."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from taesr.errors import InvalidArgument, IoError
from taesr.evaluation.ablation import Ablation
from taesr.evaluation.ablation_cells import QUALITY, Cell, Depth
from taesr.evaluation.ablation_router import RouterResult
from taesr.evaluation.metrics import mean_of

MEAN = "mean"


@dataclass(frozen=True)
class Table:
    """A titled table of finished cells."""

    title: str
    heading: list[str]
    rows: list[list[str]]

    def to_markdown(self) -> str:
        """Return a table with aligned columns that reads well as plain text too."""
        widths = [max(map(len, column)) for column in zip(self.heading, *self.rows, strict=True)]
        ruler = [
            "-" * (width - (column > 0)) + (":" if column else "") for column, width in enumerate(widths)
        ]
        lines = [
            "| "
            + " | ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            + " |"
            for row in [self.heading, ruler, *self.rows]
        ]
        return "\n".join([f"## {self.title}", "", *lines])


class AblationReport:
    """An ablation with its means over the sets.

    Parameters
    ----------
    ablation : Ablation
        From `run_ablation`; at least one set.
    settings : dict, optional
        What else a reader needs to repeat the figures, such as the model's fingerprint; JSON values.
    """

    def __init__(self, ablation: Ablation, settings: dict[str, Any] | None = None) -> None:
        if not ablation.cells:
            raise InvalidArgument("an ablation of no sets has nothing to report")
        self.ablation = ablation
        self.settings = {**ablation.settings, **(settings or {})}
        self.datasets = list(dict.fromkeys(cell.dataset for cell in ablation.cells))
        self.mean = _mean_cells(ablation.cells)
        self.router = _with_all(ablation.router)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"settings", "cells", "mean", "router", "notes"}``, JSON values, quality from 0 to 1."""
        return {
            "settings": self.settings,
            "cells": [_cell_record(cell) for cell in self.ablation.cells],
            "mean": [_cell_record(cell) for cell in self.mean],
            "router": [_router_record(result) for result in self.router],
            "notes": self.ablation.notes,
        }

    def to_markdown(self, plots: Sequence[str] = ()) -> str:
        """Return the report, with links to `plots`."""
        settings = ", ".join(
            f"{name} {_setting(value)}" for name, value in self.settings.items() if value is not None
        )
        parts = ["# Ablation", f"Quality is nDCG@10 x 100. Sets: {', '.join(self.datasets)}.", settings]
        parts += [table.to_markdown() for table in self.tables()]
        parts += [f"![{Path(plot).stem.replace('_', ' ')}]({plot})" for plot in plots]
        parts += [f"Note: {note}." for note in self.ablation.notes]
        return "\n\n".join(parts) + "\n"

    def tables(self) -> list[Table]:
        """Return the tables of the report: means first, then the router, then each set."""
        over = f"mean over {len(self.datasets)} sets" if len(self.datasets) > 1 else self.datasets[0]
        found = [
            _quality_table(f"nDCG@10 by depth and dimensions, {over}", self.mean),
            _share_table(over, self.mean),
            _cost_table(f"Cost, {over}", self.mean),
        ]
        if self.router:
            found.append(_router_table(self.router))
        if len(self.datasets) > 1:
            for name in self.datasets:
                cells = [cell for cell in self.ablation.cells if cell.dataset == name]
                found.append(_quality_table(f"nDCG@10, {name}", cells))
        return found

    def write(self, folder: str | Path, *, plots: bool = True) -> list[Path]:
        """Write ablation.json, ablation.md and the plots; return their paths.

        Raises
        ------
        IoError
            The folder cannot be written.
        Error
            Plots are asked for and matplotlib is not installed.
        """
        root = Path(folder)
        try:
            root.mkdir(parents=True, exist_ok=True)
            written: list[Path] = []
            if plots:
                from taesr.evaluation.plots import write_plots

                written = write_plots(self, root)
            text = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=2)
            (root / "ablation.json").write_text(text + "\n", encoding="utf-8")
            markdown = self.to_markdown([path.name for path in written])
            (root / "ablation.md").write_text(markdown, encoding="utf-8")
        except OSError as error:
            raise IoError(f"{error.filename or root}: {error.strerror}") from None
        return [root / "ablation.json", root / "ablation.md", *written]


def _mean_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Return one cell for each combination: unweighted means over the sets."""
    groups: dict[tuple[Depth, Depth, int, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.depth, cell.passage_depth, cell.dim, cell.precision].append(cell)
    return [
        replace(
            group[0],
            dataset=MEAN,
            metrics=mean_of([cell.metrics for cell in group]),
            per_query={},
            cost=mean_of([cell.cost for cell in group]),
        )
        for group in groups.values()
    ]


def _with_all(results: Sequence[RouterResult]) -> list[RouterResult]:
    """Add a row for all sets: means over sets, their queries pooled for the tests."""
    if len(results) < 2:
        return list(results)
    fields = (
        "mean_depth", "query_depth", "document_depth", "quality", "random_quality", "deepest_quality"
    )  # fmt: skip
    means = mean_of([{field: getattr(result, field) for field in fields} for result in results])
    # Means of independent sets: variances add.
    deviation = sum(result.random_deviation**2 for result in results) ** 0.5 / len(results)
    pooled = {
        f"{result.dataset}\t{query}": row for result in results for query, row in result.per_query.items()
    }
    return [*results, RouterResult(dataset=MEAN, random_deviation=deviation, per_query=pooled, **means)]


def _cell_record(cell: Cell) -> dict[str, Any]:
    record = asdict(cell)
    del record["per_query"]
    return record


def _router_record(result: RouterResult) -> dict[str, Any]:
    record = asdict(result)
    del record["per_query"]
    record["queries"] = len(result.per_query)
    record["against_random"] = asdict(result.against_random())
    record["against_deepest"] = asdict(result.against_deepest())
    return record


def _depth_name(cell: Cell) -> str:
    return str(cell.depth) if cell.depth == cell.passage_depth else f"{cell.depth} / {cell.passage_depth}"


def _quality_table(title: str, cells: Sequence[Cell]) -> Table:
    return _grid(title, cells, lambda cell: f"{100 * cell.metrics[QUALITY]:.1f}")


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


def _share_table(over: str, cells: Sequence[Cell]) -> Table:
    """Against the deepest fixed depth at the largest slice in float32, or the first precision."""
    precisions = {cell.precision for cell in cells}
    precision = "float32" if "float32" in precisions else cells[0].precision
    fixed = [cell for cell in cells if cell.precision == precision and isinstance(cell.depth, int)]
    reference = max(fixed, key=lambda cell: (cell.depth, cell.dim))
    best = reference.metrics[QUALITY]
    title = f"Percent that is kept of depth {reference.depth}, {reference.dim} d, {precision}, {over}"
    return _grid(title, cells, lambda cell: f"{100 * cell.metrics[QUALITY] / best:.1f}" if best else "-")


def _grid(title: str, cells: Sequence[Cell], write: Any) -> Table:
    dims = list(dict.fromkeys(cell.dim for cell in cells))
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in cells:
        rows[_depth_name(cell), cell.precision].append(write(cell))
    return Table(
        title,
        ["depth", "precision", *(f"{dim} d" for dim in dims)],
        [[depth, precision, *values] for (depth, precision), values in rows.items()],
    )


def _cost_table(title: str, cells: Sequence[Cell]) -> Table:
    rows = {}
    for cell in cells:
        figures = cell.cost
        rows[_depth_name(cell)] = [
            _depth_name(cell),
            f"{figures['query_depth']:.2f}",
            f"{figures['document_depth']:.2f}",
            f"{figures['query_flops'] / 1e6:,.0f}",
            f"{figures['document_flops'] / 1e6:,.0f}",
            f"{figures['query_ms_p50']:.1f}",
            f"{figures['query_ms_p95']:.1f}",
        ]
    heading = ["depth", "mean q", "mean d", "MFLOP q", "MFLOP d", "encode q ms p50", "p95"]
    return Table(title, heading, list(rows.values()))


def _router_table(results: Sequence[RouterResult]) -> Table:
    rows = []
    for result in results:
        random, deepest = result.against_random(), result.against_deepest()
        rows.append([
            result.dataset,
            f"{result.mean_depth:.2f}",
            f"{100 * result.quality:.1f}",
            f"{100 * result.random_quality:.1f} ± {100 * result.random_deviation:.1f}",
            f"{100 * random.difference:+.2f} [{100 * random.low:+.2f}, {100 * random.high:+.2f}]",
            f"{random.p_value:.4f}",
            f"{100 * result.deepest_quality:.1f}",
            f"{100 * result.quality / result.deepest_quality:.1f}" if result.deepest_quality else "-",
            f"{deepest.p_value:.4f}",
        ])  # fmt: skip
    heading = ["router", "mean depth", "auto", "random", "auto - random [95%]", "p", "deepest", "kept %", "p"]
    return Table("Router beside a random router of equal mean depth, nDCG@10", heading, rows)
