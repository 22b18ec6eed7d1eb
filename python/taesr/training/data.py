"""Everything that a run trains on: the tokenised pool, the teachers' vectors and the student's space."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from taesr.config import TAESRConfig
from taesr.errors import InvalidArgument
from taesr.training.cache import Cache, Fingerprint, file_digest, locked, prepare_cache
from taesr.training.kmeans import cluster_texts
from taesr.training.mining import mine_negatives
from taesr.training.options import DataOptions, SpaceOptions, TeacherOptions
from taesr.training.space import Space, fit_space, load_space, save_space
from taesr.training.teacher_vectors import TeacherPart, TeacherVectors, balanced_mean
from taesr.training.teachers import teacher_targets
from taesr.training.tokenize_pool import Report, TokenRules

_SPACE = "space.safetensors"
_CLUSTERS = "clusters.npy"
_NEGATIVES = "negatives.npy"


@dataclass(frozen=True)
class TrainingData:
    """The pool with its long texts, ready for the planner.

    Attributes
    ----------
    tokens, starts : Tensor
        int32 [all tokens] and int64 [texts + 1], on the device.
    largest : int
        Largest token id.
    lengths, role, parent : ndarray
        Of each text, on the host; parent is -1 where there is none.
    long : ndarray
        bool: made by joining passages.
    cluster : ndarray, optional
        int32: texts of one cluster are near each other.
    negatives : ndarray, optional
        int64 [texts, k]: passages that do not answer a query; -1 where there is none.
    vectors : TeacherVectors
    space : Space
    identity : str
        Digest of the pool's tokens: equal where the texts are the same in the same order.
    """

    device: torch.device
    tokens: Tensor
    starts: Tensor
    largest: int
    lengths: npt.NDArray[np.int64]
    role: npt.NDArray[np.uint8]
    parent: npt.NDArray[np.int64]
    long: npt.NDArray[np.bool_]
    cluster: npt.NDArray[np.int32] | None
    negatives: npt.NDArray[np.int64] | None
    vectors: TeacherVectors
    space: Space
    identity: str


def prepare(
    data: DataOptions,
    teachers: Sequence[TeacherOptions],
    space: SpaceOptions,
    *,
    tokenizer: str | Path,
    config: TAESRConfig,
    device: torch.device | str,
    seed: int,
    report: Report | None = None,
) -> TrainingData:
    """Make what is missing of the cache and load it; a second call finds all of it there.

    Parameters
    ----------
    data, teachers, space
        Sections of the training configuration.
    tokenizer : path
        The SentencePiece model's file.
    config : TAESRConfig
        Of the model to train: its special tokens, positions and output size.
    device : torch.device
        Where tokens and vectors shall live, and the teachers run.
    seed : int
    report : callable, optional
        Called with (what is being done, how much is done, of how much or None).

    Raises
    ------
    IoError, FormatError, ChecksumError
        Name the file, and for a pool the line.
    InvalidArgument
        Options that do not fit each other or the model.
    """
    _check(data, teachers, space, config)
    device = torch.device(device)
    rules = TokenRules(
        tokenizer=str(tokenizer),
        bos_id=config.bos_id,
        eos_id=config.eos_id,
        limits=(data.max_passage_tokens, data.max_query_tokens),
    )
    with locked(data.cache):
        cache = prepare_cache(data, rules, seed=seed, report=report)
        found = [teacher_targets(teacher, cache, data.pools, device, report) for teacher in teachers]
        made_from = _teachers_fingerprint(teachers, [fingerprint for _, fingerprint in found], space)
        arrays = [array for array, _ in found]
        earlier = _known_space(cache, teachers, arrays, space, made_from | {"seed": seed})
        parts = [
            TeacherPart(teacher.name, array, teacher.weight, _mean(teacher, array, earlier, cache, device))
            for teacher, array in zip(teachers, arrays, strict=True)
        ]
        vectors = TeacherVectors(cache, parts, device=device, resident_gib=data.resident_gib)
        cluster = None
        if data.clustered or (earlier is None and space.method == "learned"):
            cluster = _clusters(cache, vectors, data, made_from, seed, report)
        if earlier is None:
            means = {part.name: part.mean for part in parts if part.mean is not None}
            order = np.zeros(len(vectors), np.int32) if cluster is None else cluster
            earlier = fit_space(vectors, means, order, space, seed=seed, report=report)
            fitted = earlier
            cache.store(_SPACE, made_from | {"seed": seed}, lambda path: save_space(fitted, teachers, path))
        negatives = _negatives(cache, vectors, data, made_from, report) if data.mining.count else None
    return _load(cache, vectors, earlier.to(device), cluster, negatives, device)


def _check(
    data: DataOptions, teachers: Sequence[TeacherOptions], space: SpaceOptions, config: TAESRConfig
) -> None:
    if not teachers:
        raise InvalidArgument("teachers is empty; name at least one")
    names = [teacher.name for teacher in teachers]
    if len(set(names)) < len(names):
        raise InvalidArgument(f"teachers share a name: {', '.join(names)}; give each its own")
    if not any(teacher.weight for teacher in teachers):
        raise InvalidArgument("every teacher's weight is 0; give at least one a weight")
    if space.dimensions != config.embedding_size:
        raise InvalidArgument(
            f"space.dimensions is {space.dimensions}; the model's embedding_size is {config.embedding_size}"
        )
    longest = max(data.max_passage_tokens, data.max_query_tokens, data.longest_joined)
    if longest > config.max_position_embeddings:
        raise InvalidArgument(
            f"texts of up to {longest} tokens do not fit max_position_embeddings "
            f"{config.max_position_embeddings}; raise it, or lower data.max_passage_tokens, "
            f"data.max_query_tokens and data.long_texts.max_tokens"
        )


def _teachers_fingerprint(
    teachers: Sequence[TeacherOptions], digests: Sequence[Fingerprint], space: SpaceOptions
) -> Fingerprint:
    """What the joined vectors are made of, and the map that is wanted of them."""
    described = [
        {"name": t.name, "weight": t.weight, "center": t.center, **digest}
        for t, digest in zip(teachers, digests, strict=True)
    ]
    given = {"path": file_digest(space.path)} if space.path else asdict(space)
    return {"teachers": described, "space": given}


def _known_space(
    cache: Cache,
    teachers: Sequence[TeacherOptions],
    arrays: Sequence[Any],
    options: SpaceOptions,
    made_from: Fingerprint,
) -> Space | None:
    """The space that the options name or that the cache holds; None where it is still to be fitted."""
    widths = [array.shape[1] for array in arrays]
    if options.path:
        space = load_space(options.path, teachers, widths)
        size = sum(widths) if space.projection is None else space.projection.shape[1]
        if size != options.dimensions:
            raise InvalidArgument(
                f"{options.path} has {size} dimensions; space.dimensions is {options.dimensions}"
            )
        return space
    if not cache.has(_SPACE, made_from):
        return None
    cache.verify(_SPACE)
    return load_space(cache.path(_SPACE), teachers, widths)


def _mean(
    teacher: TeacherOptions, array: Any, space: Space | None, cache: Cache, device: torch.device
) -> Tensor | None:
    if not teacher.center:
        return None
    return balanced_mean(array, cache.pool.role, device) if space is None else space.means[teacher.name]


def _clusters(
    cache: Cache,
    vectors: TeacherVectors,
    data: DataOptions,
    made_from: Fingerprint,
    seed: int,
    report: Report | None,
) -> npt.NDArray[np.int32]:
    """Kept in the cache: sums on a GPU differ from run to run, and a resumed run needs the same batches."""
    made_from = made_from | {"clusters": data.clusters, "seed": seed}
    if not cache.has(_CLUSTERS, made_from):
        passages = np.flatnonzero((cache.pool.role == 0)[: cache.pool_size])
        cluster = cluster_texts(
            vectors, passages, cache.pool.parent, count=data.clusters, seed=seed, report=report
        )
        cache.store_array(_CLUSTERS, made_from, cluster)
    return np.array(cache.load(_CLUSTERS))


def _negatives(
    cache: Cache, vectors: TeacherVectors, data: DataOptions, made_from: Fingerprint, report: Report | None
) -> npt.NDArray[np.int64]:
    made_from = made_from | {"mining": asdict(data.mining) | {"share": None}}
    if not cache.has(_NEGATIVES, made_from):
        pool = cache.pool
        queries = np.flatnonzero(pool.parent >= 0)
        passages = np.flatnonzero((pool.role == 0)[: cache.pool_size])
        table = np.full((len(pool.role), data.mining.count), -1, np.int64)
        table[queries] = mine_negatives(vectors, queries, pool.parent[queries], passages, data.mining, report)
        cache.store_array(_NEGATIVES, made_from, table)
    return np.array(cache.load(_NEGATIVES))


def _load(
    cache: Cache,
    vectors: TeacherVectors,
    space: Space,
    cluster: npt.NDArray[np.int32] | None,
    negatives: npt.NDArray[np.int64] | None,
    device: torch.device,
) -> TrainingData:
    pool = cache.pool
    return TrainingData(
        device=device,
        tokens=torch.from_numpy(pool.tokens.astype(np.int32)).to(device),
        starts=torch.from_numpy(pool.starts).to(device),
        largest=int(pool.tokens.max()),
        lengths=pool.lengths,
        role=pool.role,
        parent=pool.parent,
        long=np.arange(len(pool.role)) >= cache.pool_size,
        cluster=cluster,
        negatives=negatives,
        vectors=vectors,
        space=space,
        identity=cache.digest("tokens.npy"),
    )
