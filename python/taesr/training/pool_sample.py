"""A random part of the text pool: queries with their own passages, and other passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from taesr.errors import FormatError
from taesr.training.pool import check_parents, parse_block, read_blocks
from taesr.training.tokenize_pool import Report

_QUERY = 1


@dataclass(frozen=True)
class PoolSample:
    """Texts of a pool.

    Attributes
    ----------
    passages, queries : list of str
    parents : int64 [queries]
        Place of each query's own passage in `passages`; -1: none.
    """

    passages: list[str]
    queries: list[str]
    parents: npt.NDArray[np.int64]


def sample_pool(
    pools: Sequence[str | Path], queries: int, passages: int, *, seed: int, report: Report | None = None
) -> PoolSample:
    """Draw at most so many queries, their passages, and others up to `passages` in all.

    Reads the pool twice, so that it need not fit into memory.

    Raises
    ------
    IoError, FormatError
        Name the file, and the line where one is wrong; or the pool holds no query or no passage.
    """
    role, parent = _scan(pools, report)
    generator = np.random.default_rng(seed)
    if not (role == _QUERY).any() or (role == _QUERY).all():
        missing = "passage" if len(role) and (role == _QUERY).all() else "query"
        raise FormatError(f"{', '.join(map(str, pools))}: the pool holds no {missing}")
    asked = _draw(generator, np.flatnonzero(role == _QUERY), queries)
    own = np.unique(parent[asked][parent[asked] >= 0])
    others = np.setdiff1d(np.flatnonzero(role != _QUERY), own)
    found = np.union1d(own, _draw(generator, others, max(passages - len(own), 0)))
    texts = _gather(pools, np.union1d(asked, found), report)
    parents = np.where(parent[asked] >= 0, np.searchsorted(found, parent[asked]), -1)
    return PoolSample([texts[row] for row in found], [texts[row] for row in asked], parents)


def _draw(generator: np.random.Generator, rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    return np.sort(generator.choice(rows, min(count, len(rows)), replace=False))


def _scan(
    pools: Sequence[str | Path], report: Report | None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Roles and parents of all rows."""
    roles, parents, files, done = [], [], [], 0
    for path in pools:
        begin = done
        for block in read_blocks(path):
            records = parse_block(block)
            roles.append(records.role)
            parents.append(records.parent)
            done += len(records.texts)
            if report is not None:
                report("lines of the pool", done, None)
        files.append((str(path), done - begin))
    if not roles:
        raise FormatError(f"{', '.join(map(str, pools))}: the pool holds no text")
    role, parent = np.concatenate(roles), np.concatenate(parents)
    check_parents(role, parent, files)
    return role, parent


def _gather(
    pools: Sequence[str | Path], rows: npt.NDArray[np.int64], report: Report | None
) -> dict[int, str]:
    """Texts by row."""
    texts: dict[int, str] = {}
    first = 0
    for path in pools:
        for block in read_blocks(path):
            records = parse_block(block)
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(records.texts))]
            texts |= {int(row): records.texts[row - first] for row in wanted}
            first += len(records.texts)
            if report is not None:
                report("texts of the sample", len(texts), len(rows))
    return texts
