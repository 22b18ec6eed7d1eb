"""Hard negatives: passages that the teachers place near a query and that do not answer it."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from taesr.training.options import MiningOptions
from taesr.training.teacher_vectors import Rows, TeacherVectors
from taesr.training.tokenize_pool import Report

_QUERIES = 2048  # compared at a time
_PASSAGES = 1 << 17  # compared at a time; their vectors are read from disk again if they are not resident


def mine_negatives(
    vectors: TeacherVectors,
    queries: Rows,
    parent: npt.NDArray[np.int64],
    passages: Rows,
    options: MiningOptions,
    report: Report | None = None,
) -> npt.NDArray[np.int64]:
    """Rows of hard negatives, int64 [queries, count], -1 where there are fewer.

    They are the nearest of the query's `candidates` nearest passages, without its own passage and
    without those nearer than `ceiling` times its own passage's similarity.

    Parameters
    ----------
    queries, parent
        Rows of queries that have a passage, and the rows of these passages.
    passages
        Rows to choose from.
    """
    found = np.full((len(queries), options.count), -1, np.int64)
    for begin in range(0, len(queries), _QUERIES):
        piece = slice(begin, begin + _QUERIES)
        query, own = vectors.take(queries[piece]), vectors.take(parent[piece])
        scores, rows = _nearest(vectors, query, passages, min(options.candidates, len(passages)))
        ceiling = options.ceiling * (query.float() * own.float()).sum(1, keepdim=True)
        own_rows = torch.from_numpy(parent[piece]).to(rows.device).unsqueeze(1)
        allowed = (scores <= ceiling) & (rows != own_rows)
        # A stable sort brings the allowed ones to the front and keeps them nearest first.
        order = (~allowed).long().sort(dim=1, stable=True).indices[:, : options.count]
        chosen = torch.where(allowed.gather(1, order), rows.gather(1, order), -1)
        found[piece, : chosen.shape[1]] = chosen.cpu().numpy()
        if report:
            report("mined queries", min(begin + _QUERIES, len(queries)), len(queries))
    return found


def _nearest(vectors: TeacherVectors, query: Tensor, passages: Rows, count: int) -> tuple[Tensor, Tensor]:
    """Similarities and rows [n, count] of the passages nearest to each query, nearest first."""
    dtype = torch.bfloat16 if query.is_cuda else torch.float32
    best = torch.empty(len(query), 0, device=query.device)
    rows = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
    for begin in range(0, len(passages), _PASSAGES):
        piece = passages[begin : begin + _PASSAGES]
        scores = (query.to(dtype) @ vectors.take(piece).to(dtype).T).float()
        top = scores.topk(min(count, len(piece)), dim=1)
        numbers = torch.from_numpy(piece).to(query.device)[top.indices]
        best, rows = torch.cat([best, top.values], 1), torch.cat([rows, numbers], 1)
        kept = best.topk(min(count, best.shape[1]), dim=1)
        best, rows = kept.values, rows.gather(1, kept.indices)
    return best, rows
