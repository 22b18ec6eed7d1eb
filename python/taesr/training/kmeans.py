"""Spherical k-means over the teachers' vectors: which texts are near each other."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from taesr.training.teacher_vectors import Rows, TeacherVectors
from taesr.training.tokenize_pool import Report

_SAMPLE = 64  # vectors a cluster that the centroids are fitted to
_ROUNDS = 6
_TEXTS_A_CLUSTER = 86


def cluster_texts(
    vectors: TeacherVectors,
    passages: Rows,
    parent: npt.NDArray[np.int64],
    *,
    count: int,
    seed: int,
    report: Report | None = None,
) -> npt.NDArray[np.int32]:
    """The cluster of each text, int32 [N + M], with centroids fitted to the passages.

    A query lies where its passage lies, so that they are drawn together; one without a passage lies
    where it is nearest. `count` 0 makes a cluster for every 86 passages.
    """
    count = min(count or max(1, len(passages) // _TEXTS_A_CLUSTER), len(passages))
    drawn = np.random.default_rng(seed).permutation(passages)[: _SAMPLE * count]
    centroids = fit_centroids(vectors.take(drawn), count)
    nearest = np.empty(len(vectors), np.int32)
    for rows, chunk in vectors.chunks(len(vectors)):
        nearest[rows.start : rows.stop] = assign(chunk, centroids).cpu().numpy()
        if report:
            report("clustered texts", rows.stop, len(vectors))
    return np.where(parent >= 0, nearest[np.maximum(parent, 0)], nearest)


def fit_centroids(sample: Tensor, count: int, rounds: int = _ROUNDS) -> Tensor:
    """Unit centroids [count, W] float32 of unit rows [n, W]; the first `count` rows are where they start."""
    centroids = sample[:count].float()
    for _ in range(rounds):
        owner = assign(sample, centroids)
        total = torch.zeros_like(centroids)
        for rows, owners in zip(torch.split(sample, 1 << 18), torch.split(owner, 1 << 18), strict=True):
            total.index_add_(0, owners, rows.float())
        filled = total.norm(dim=1, keepdim=True) > 0
        centroids = torch.where(filled, F.normalize(total, dim=1), centroids)
    return centroids


def assign(vectors: Tensor, centroids: Tensor) -> Tensor:
    """Nearest centroid of each row, int64 [n]."""
    dtype = torch.bfloat16 if vectors.is_cuda else torch.float32
    columns = centroids.to(dtype).T.contiguous()
    return torch.cat([(rows.to(dtype) @ columns).argmax(1) for rows in torch.split(vectors, 1 << 16)])
