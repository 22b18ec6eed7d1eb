"""Turning a finished model's space so that its leading slices keep more of the whole embedding.

A rotation changes no product of whole embeddings, only how much of them the first values hold. It is
fitted so that every Matryoshka slice orders the passages near a query as the whole embedding does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from taesr.errors import InvalidArgument
from taesr.training.add_head import add_head, check_output
from taesr.training.checks import require
from taesr.training.frozen import FrozenReader, Report
from taesr.training.oracle_depth import own_passage_ndcg
from taesr.training.pool_sample import sample_pool
from taesr.training.small_fit import minimise


@dataclass(frozen=True, kw_only=True)
class SliceOptions:
    """How the rotation is fitted.

    Attributes
    ----------
    queries, passages : int
        Texts drawn from the pool.
    near : int
        Passages nearest to a query, which slices learn to order.
    temperature : float
        Divides the similarities of the whole and of the slices.
    held_out : float
        Share of the queries that the report is about.
    steps, batch, lr, weight_decay
        Of AdamW; a batch is of queries.
    seed : int
    """

    queries: int = 20000
    passages: int = 20000
    near: int = 256
    temperature: float = 0.02
    held_out: float = 0.1
    steps: int = 400
    batch: int = 256
    lr: float = 2e-3
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("queries", "passages"):
            require(name, getattr(self, name), 20)
        require("near", self.near, 2)
        for name in ("steps", "batch"):
            require(name, getattr(self, name), 1)
        require("held_out", self.held_out, 0, 0.9, without_low=True)
        for name in ("temperature", "lr"):
            require(name, getattr(self, name), 0, without_low=True)


@dataclass(frozen=True)
class SliceReport:
    """nDCG@10 of held-out queries' own passages, by slice, before and after; the whole embedding's last."""

    before: dict[int, float]
    after: dict[int, float]


def train_slices(
    model: str | Path,
    pools: Sequence[str | Path],
    output: str | Path,
    options: SliceOptions | None = None,
    *,
    device: str | None = None,
    report: Report | None = None,
) -> SliceReport:
    """Write a copy of a model whose slices keep more; embeddings as a whole compare as before.

    Parameters
    ----------
    model
        Folder.
    pools
        Files of the text pool (see `taesr.training.pool`), with queries that name their passages.
    output
        Folder to write.
    device
        "cpu", "cuda" or "cuda:N"; by default the GPU where there is one.

    Raises
    ------
    IoError, FormatError, InvalidArgument
        Name the file or option. InvalidArgument too for a model without slices, and for a pool where no
        held-out query names its passage.
    """
    options = options or SliceOptions()
    folder, target = Path(model), Path(output)
    check_output(folder, target)
    reader = FrozenReader.load(folder, device)
    config = reader.model.config
    dims = sorted({dim for dim in config.matryoshka_dimensions if dim < config.embedding_size})
    if not dims:
        raise InvalidArgument(
            f"'{folder}' has no slices: its matryoshka_dimensions hold none below {config.embedding_size}"
        )
    sample = sample_pool(pools, options.queries, options.passages, seed=options.seed, report=report)
    depth = max(config.recursion_steps.values())
    passages = reader.read(sample.passages, "passage", [depth], label="passages", report=report).dense[depth]
    queries = reader.read(sample.queries, "query", [depth], label="queries", report=report).dense[depth]
    parents = torch.from_numpy(sample.parents).to(reader.device)

    shuffled = torch.randperm(len(queries), generator=torch.Generator().manual_seed(options.seed))
    count = max(1, round(options.held_out * len(queries)))
    held, train = shuffled[:count].to(reader.device), shuffled[count:].to(reader.device)
    held = held[parents[held] >= 0]
    if len(held) == 0 or len(train) == 0:
        raise InvalidArgument(
            "no held-out query names its passage; draw more queries, or give the pool parents"
        )
    rotation = fit_rotation(queries[train], passages, dims, options, report=report)
    weights = {
        name: reader.model.get_parameter(name).detach().double() for name in ("head.weight", "head.bias")
    }
    turn = rotation.double()
    turned = {"head.weight": turn.mT @ weights["head.weight"], "head.bias": weights["head.bias"] @ turn}
    add_head(folder, target, {}, "head.", turned)

    def measure(q: Tensor, p: Tensor) -> dict[int, float]:
        return {
            dim: float(own_passage_ndcg(_slice(q[held], dim), _slice(p, dim), parents[held]).mean())
            for dim in (*dims, config.embedding_size)
        }

    return SliceReport(measure(queries, passages), measure(queries @ rotation, passages @ rotation))


def fit_rotation(
    queries: Tensor,
    passages: Tensor,
    dims: Sequence[int],
    options: SliceOptions,
    *,
    report: Report | None = None,
) -> Tensor:
    """Fit by KL from the softmax of a query's products with its nearest passages to that of each slice.

    Parameters
    ----------
    queries, passages : float32 [n, D]
        Unit rows.
    dims
        Lengths of the slices, which count alike.

    Returns
    -------
    float32 [D, D] orthogonal: the exponential of an antisymmetric matrix.
    """
    generator = torch.Generator().manual_seed(options.seed)
    size = queries.shape[1]
    near = min(options.near, len(passages))
    angles = torch.zeros(size, size, device=queries.device, requires_grad=True)

    def rotation() -> Tensor:
        turn: Tensor = torch.linalg.matrix_exp(angles - angles.mT)
        return turn

    def loss_of_batch() -> Tensor:
        drawn = torch.randint(len(queries), (min(options.batch, len(queries)),), generator=generator)
        asked = queries[drawn.to(queries.device)]
        products, rows = (asked @ passages.mT).topk(near, dim=1)
        wanted = F.softmax(products / options.temperature, dim=1)
        turn = rotation()
        turned, candidates = asked @ turn, passages[rows] @ turn  # [B, D], [B, near, D]
        losses = []
        for dim in dims:
            found = torch.einsum("bd,bnd->bn", _slice(turned, dim), _slice(candidates, dim))
            shares = F.log_softmax(found / options.temperature, dim=1)
            losses.append(F.kl_div(shares, wanted, reduction="batchmean"))
        return torch.stack(losses).mean()

    minimise(
        [angles],
        loss_of_batch,
        options,
        report=None if report is None else lambda done: report("steps", done, options.steps),
    )
    with torch.no_grad():
        return rotation()


def _slice(rows: Tensor, dim: int) -> Tensor:
    return F.normalize(rows[..., :dim], dim=-1)
