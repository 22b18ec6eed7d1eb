"""The student's space: a linear map of the teachers' joined vector whose slices are embeddings too."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from taesr._native import core
from taesr.errors import FormatError, InvalidArgument
from taesr.training.losses.kl import SimilarityRows
from taesr.training.options import SpaceOptions, TeacherOptions
from taesr.training.teacher_vectors import TeacherVectors
from taesr.training.tokenize_pool import Report

_PCA_ROWS = 200_000
_NEAR_TEXTS = 128  # neighbours by cluster that a step of the fit sees together
_WARMUP = 50  # steps


@dataclass(frozen=True)
class Space:
    """How targets are made of the teachers' vectors.

    Attributes
    ----------
    projection : Tensor, optional
        float32 [W, D]; None leaves the joined vector as it is.
    means : dict of str to Tensor
        float32 [d] by teacher, for those that are centred.
    """

    projection: Tensor | None
    means: dict[str, Tensor]

    def target(self, teacher: Tensor) -> Tensor:
        """Unit targets [B, D] float32 of joined vectors [B, W]."""
        joined = teacher.float()
        return F.normalize(joined if self.projection is None else joined @ self.projection, dim=1)

    def to(self, device: torch.device) -> "Space":
        """The space on a device."""
        projection = None if self.projection is None else self.projection.to(device)
        return Space(projection, {name: mean.to(device) for name, mean in self.means.items()})


def save_space(space: Space, teachers: Sequence[TeacherOptions], path: Path) -> None:
    """Write projection, mean.NAME, and teacher.NAME: its place in the joined vector and its weight."""
    tensors = {f"mean.{name}": mean.cpu().contiguous() for name, mean in space.means.items()}
    for place, teacher in enumerate(teachers):
        tensors[f"teacher.{teacher.name}"] = torch.tensor([place, teacher.weight], dtype=torch.float32)
    if space.projection is not None:
        tensors["projection"] = space.projection.detach().cpu().contiguous()
    core.save_weights(str(path), tensors)


def load_space(path: str | Path, teachers: Sequence[TeacherOptions], widths: Sequence[int]) -> Space:
    """The space of an earlier run, for the same teachers in the same order with the same weights.

    Raises
    ------
    IoError, FormatError
        The file cannot be read, or was made with other teachers.
    """
    tensors = core.load_weights(str(path))
    wanted = {t.name: [float(place), t.weight] for place, t in enumerate(teachers)}
    found = {n.removeprefix("teacher."): t.tolist() for n, t in tensors.items() if n.startswith("teacher.")}
    same = found.keys() == wanted.keys() and all(np.allclose(found[n], wanted[n]) for n in found)
    if not same:
        order = sorted(found, key=lambda name: found[name][0])
        described = ", ".join(f"{name} (weight {found[name][1]:g})" for name in order) or "none"
        raise FormatError(f"{path} was made with the teachers {described}; name the same in the same order")
    means = {n.removeprefix("mean."): t.float() for n, t in tensors.items() if n.startswith("mean.")}
    centred = {t.name: width for t, width in zip(teachers, widths, strict=True) if t.center}
    if {name: len(mean) for name, mean in means.items()} != centred:
        raise FormatError(
            f"{path} has means of {sorted(means) or 'no teacher'}, the run centres "
            f"{sorted(centred) or 'none'}; set the same teachers' center, of the same dimensions"
        )
    projection = tensors.get("projection")
    if projection is not None and (projection.dim() != 2 or len(projection) != sum(widths)):
        raise FormatError(
            f"{path}: the projection is {tuple(projection.shape)}; "
            f"the teachers' vectors have {sum(widths)} values"
        )
    return Space(None if projection is None else projection.float(), means)


def fit_space(
    vectors: TeacherVectors,
    means: dict[str, Tensor],
    clusters: npt.NDArray[np.int32],
    options: SpaceOptions,
    *,
    seed: int,
    report: Report | None = None,
) -> Space:
    """Fit the map that the options name; InvalidArgument where its dimensions do not fit the teachers'."""
    if options.method == "none":
        if options.dimensions != vectors.width:
            raise InvalidArgument(
                f"dimensions is {options.dimensions}, and method none leaves the teachers' {vectors.width}; "
                f"use pca or learned"
            )
        return Space(None, means)
    if options.dimensions > vectors.width:
        raise InvalidArgument(
            f"dimensions is {options.dimensions}; allowed: 1 to the teachers' {vectors.width} values together"
        )
    rng = np.random.default_rng(seed)
    axes = principal_axes(vectors.take(rng.permutation(len(vectors))[:_PCA_ROWS]), options.dimensions)
    if options.method == "learned":
        axes = _learn(vectors, clusters, axes, options, rng, report)
    return Space(axes, means)


def principal_axes(rows: Tensor, dimensions: int) -> Tensor:
    """The first principal axes [W, dimensions] of rows [n, W]; not centred, for dot products are compared."""
    moment = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for chunk in torch.split(rows, 1 << 15):
        moment += (chunk.float().T @ chunk.float()).double()
    axes: Tensor = torch.linalg.eigh(moment).eigenvectors
    return axes.flip(1)[:, :dimensions].float().contiguous()


def _learn(
    vectors: TeacherVectors,
    clusters: npt.NDArray[np.int32],
    start: Tensor,
    options: SpaceOptions,
    rng: np.random.Generator,
    report: Report | None,
) -> Tensor:
    """From the principal axes: KL from the whole vector's in-batch rows to every slice's, over near texts."""
    axes = start.clone().requires_grad_()
    order = np.lexsort((rng.random(len(clusters)), clusters))
    near = min(_NEAR_TEXTS, len(order), options.rows)
    dims = dict.fromkeys(options.slices, 1.0)
    optimizer = torch.optim.Adam([axes], options.lr)
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = options.lr * min(1.0, (step + 1) / _WARMUP) * (1 - step / options.steps)
        begins = rng.integers(0, len(order) - near + 1, max(1, options.rows // near))
        rows = np.unique(order[begins[:, None] + np.arange(near)])  # a text twice would be its own neighbour
        teacher = vectors.take(rows)
        loss = SimilarityRows(teacher, len(rows), options.temperature, (1.0, 0.0)).kl(
            teacher.float() @ axes, dims
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if report and step % 20 == 19:
            report("fitted the space, steps", step + 1, options.steps)
    return axes.detach()
