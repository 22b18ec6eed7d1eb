"""Plots of an ablation, as PNG. Needs matplotlib, which nothing else in the package does."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taesr.errors import Error
from taesr.evaluation.ablation_cells import QUALITY, Cell

if TYPE_CHECKING:
    from taesr.evaluation.ablation_report import AblationReport
    from taesr.evaluation.routing import RouterPoint

_LINES = {"float32": "-", "int8": "--", "binary": ":"}
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#555555")


def require_matplotlib() -> None:
    """Raise Error with the remedy where matplotlib is missing: before an hour's work, not after."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise Error(
            "plots need matplotlib: pip install matplotlib, or leave them out with --no-plots"
        ) from None


def write_plots(report: "AblationReport", folder: Path) -> list[Path]:
    """Write the plots that the report has data for; return their paths."""
    require_matplotlib()
    drawings: dict[str, Callable[[Any], None]] = {
        "quality_dimensions": lambda axes: _dimensions(axes, report.mean),
        "quality_flops": lambda axes: _flops(axes, report.mean),
    }
    if report.router:
        drawings["quality_router"] = lambda axes: _router(axes, report)
    return [_save(folder / f"{name}.png", draw) for name, draw in drawings.items()]


def write_router_curve(
    path: Path, points: "Sequence[RouterPoint]", per_depth_runs: Mapping[int, Sequence[float]]
) -> None:
    """Draw what `taesr.evaluation.routing.router_curve` returned, beside the fixed depths.

    Parameters
    ----------
    path : Path
        A PNG file.
    points : sequence of RouterPoint
    per_depth_runs : mapping
        nDCG@10 of every query by depth, as given to `router_curve`.
    """
    require_matplotlib()
    ordered = sorted(points, key=lambda point: point.mean_depth)
    depths = [point.mean_depth for point in ordered]
    fixed = {depth: 100 * sum(values) / len(values) for depth, values in sorted(per_depth_runs.items())}

    def draw(axes: Any) -> None:
        axes.plot(list(fixed), list(fixed.values()), "o", color=_COLOURS[0], label="fixed depths")
        qualities = [100 * point.quality for point in ordered]
        axes.plot(depths, qualities, marker="*", color=_COLOURS[1], label="router")
        chance = [100 * point.random.quality for point in ordered]
        spread = [200 * point.random.deviation for point in ordered]
        axes.errorbar(
            depths, chance, yerr=spread, color=_COLOURS[6], fmt="s--", capsize=3,
            label="random router of equal mean depth (2 standard deviations)",
        )  # fmt: skip
        axes.set_xlabel("mean depth")

    _save(path, draw)


def _save(path: Path, draw: Callable[[Any], None]) -> Path:
    from matplotlib.figure import Figure

    # Figure alone, without pyplot: no global state, no display, safe in any thread.
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_ylabel("nDCG@10 x 100")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    return path


def _quality(cells: Sequence[Cell]) -> list[float]:
    return [100 * cell.metrics[QUALITY] for cell in cells]


def _dimensions(axes: Any, cells: Sequence[Cell]) -> None:
    """One line for each depth, its style by precision."""
    depths = list(dict.fromkeys(cell.depth for cell in cells))
    for precision in dict.fromkeys(cell.precision for cell in cells):
        for depth, colour in zip(depths, _cycle(len(depths)), strict=True):
            line = [cell for cell in cells if (cell.depth, cell.precision) == (depth, precision)]
            axes.plot(
                [cell.dim for cell in line],
                _quality(line),
                _LINES[precision],
                color=colour,
                marker="o",
                label=f"depth {depth}, {precision}",
            )
    axes.set_xlabel("dimensions")
    axes.set_xticks(sorted({cell.dim for cell in cells}))


def _flops(axes: Any, cells: Sequence[Cell]) -> None:
    """One line for each slice through the fixed depths; the router is a star of the same colour."""
    precision = cells[0].precision
    dims = sorted({cell.dim for cell in cells})
    for dim, colour in zip(dims, _cycle(len(dims)), strict=True):
        line = [cell for cell in cells if (cell.dim, cell.precision) == (dim, precision)]
        fixed = [cell for cell in line if cell.depth != "auto"]
        routed = [cell for cell in line if cell.depth == "auto"]
        axes.plot(_megaflops(fixed), _quality(fixed), color=colour, marker="o", label=f"{dim} dimensions")
        axes.plot(_megaflops(routed), _quality(routed), "*", color=colour, markersize=12)
        if dim == dims[-1]:
            for cell in line:
                axes.annotate(
                    f"depth {cell.depth}",
                    (cell.cost["query_flops"] / 1e6, 100 * cell.metrics[QUALITY]),
                    textcoords="offset points",
                    xytext=(4, 5),
                    fontsize="x-small",
                )
    axes.set_xlabel(f"MFLOP a query ({precision}; star: router)")


def _megaflops(cells: Sequence[Cell]) -> list[float]:
    return [cell.cost["query_flops"] / 1e6 for cell in cells]


def _router(axes: Any, report: "AblationReport") -> None:
    """Router and random router beside the fixed depths, at the size that the router was compared at."""
    result = report.router[-1]
    dim = max(cell.dim for cell in report.mean)
    fixed = [
        cell
        for cell in report.mean
        if (cell.dim, cell.precision) == (dim, report.mean[0].precision) and cell.depth != "auto"
    ]
    axes.plot(
        [cell.cost["query_depth"] for cell in fixed], _quality(fixed), marker="o", color=_COLOURS[0],
        label="fixed depths",
    )  # fmt: skip
    axes.errorbar(
        [result.mean_depth], [100 * result.random_quality], yerr=[200 * result.random_deviation],
        fmt="s", color=_COLOURS[6], capsize=4, label="random router (2 standard deviations)",
    )  # fmt: skip
    p_value = result.against_random().p_value
    axes.plot(
        [result.mean_depth], [100 * result.quality], "*", color=_COLOURS[1], markersize=14,
        label=f"router (p = {p_value:.4f} against random)",
    )  # fmt: skip
    axes.set_xlabel("mean depth of the texts that are routed")


def _cycle(count: int) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(count)]
