"""Teachers: models whose vectors the student learns, and their vectors of the whole pool in the cache."""

import importlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from taesr._native import core
from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.training.cache import Array, Cache, Fingerprint, file_digest
from taesr.training.options import TeacherOptions
from taesr.training.pool import ROLES, Role, iter_texts
from taesr.training.tokenize_pool import Report

Floats = npt.NDArray[np.floating[Any]]

_WEIGHT_FILES = (".safetensors", ".bin", ".json", ".txt", ".model")


class Teacher(Protocol):
    """Anything that turns texts into vectors."""

    def encode(self, texts: Sequence[str], role: Role) -> Floats:
        """Vectors [n, d] of n texts."""
        ...


def load_teacher(options: TeacherOptions, device: torch.device) -> Teacher:
    """The teacher that the options describe, on a device.

    Raises
    ------
    IoError
        The folder does not exist.
    InvalidArgument
        A package that its kind needs is not installed.
    """
    if not Path(options.path).is_dir():
        raise IoError(f"teacher {options.name}: '{options.path}' is not a folder")
    if options.kind == "sentence-transformers":
        return SentenceTransformersTeacher(options, device)
    if options.kind == "transformers":
        return TransformersTeacher(options, device)
    if options.kind == "taesr":
        return TaesrTeacher(options, device)
    raise InvalidArgument(f"teacher {options.name}: kind {options.kind!r} is a file, not a model")


class SentenceTransformersTeacher:
    """A folder of the sentence-transformers package, with its own pooling."""

    def __init__(self, options: TeacherOptions, device: torch.device) -> None:
        package = _import("sentence_transformers", options)
        self._options = options
        self._model = package.SentenceTransformer(options.path, device=str(device), local_files_only=True)
        self._model.max_seq_length = options.max_tokens
        if device.type == "cuda":
            self._model.bfloat16()

    def encode(self, texts: Sequence[str], role: Role) -> Floats:
        vectors: Tensor = self._model.encode(
            list(texts),
            prompt=self._options.prompts.get(role, ""),
            batch_size=max(1, self._options.batch_tokens // self._options.max_tokens),
            convert_to_numpy=False,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        return vectors.float().cpu().numpy()


class TransformersTeacher:
    """A folder of the transformers package: its last hidden states, averaged over the true tokens."""

    def __init__(self, options: TeacherOptions, device: torch.device) -> None:
        package = _import("transformers", options)
        self._options, self._device = options, device
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self._tokenizer = package.AutoTokenizer.from_pretrained(options.path, local_files_only=True)
        model = package.AutoModel.from_pretrained(options.path, local_files_only=True)
        self._model = model.to(device, dtype).eval()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], role: Role) -> Floats:
        prompt = self._options.prompts.get(role, "")
        ids = self._tokenizer(
            [prompt + text for text in texts], truncation=True, max_length=self._options.max_tokens
        )["input_ids"]
        lengths = np.array([len(row) for row in ids])
        vectors: Floats | None = None
        for rows in token_batches(lengths, self._options.batch_tokens):
            padded = self._tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
            padded = {name: value.to(self._device) for name, value in padded.items()}
            states = self._model(**padded).last_hidden_state.float()
            mask = padded["attention_mask"].unsqueeze(-1).float()
            pooled = ((states * mask).sum(1) / mask.sum(1).clamp(min=1)).cpu().numpy()
            if vectors is None:
                vectors = np.empty((len(texts), pooled.shape[1]), np.float32)
            vectors[rows] = pooled
        assert vectors is not None
        return vectors


class TaesrTeacher:
    """A model folder of this library, at its greatest depth."""

    def __init__(self, options: TeacherOptions, device: torch.device) -> None:
        from taesr.nn import TAESRModel

        self._options = options
        self._model = TAESRModel.from_pretrained(options.path).to(device).eval()
        self._tokenizer = core.Tokenizer.load(str(Path(options.path) / "tokenizer.model"))
        self._device = device
        self._dtype = torch.bfloat16 if device.type == "cuda" else None

    @torch.no_grad()
    def encode(self, texts: Sequence[str], role: Role) -> Floats:
        from taesr.nn import PackedBatch

        config = self._model.config
        depth = config.recursions("hard")
        inner = min(self._options.max_tokens, config.max_position_embeddings) - 2
        prompt = self._options.prompts.get(role, "")
        ids = [
            [config.bos_id, *self._tokenizer.encode(prompt + text)[:inner], config.eos_id] for text in texts
        ]
        lengths = np.array([len(row) for row in ids])
        vectors = np.empty((len(texts), config.embedding_size), np.float32)
        for rows in token_batches(lengths, self._options.batch_tokens):
            rows = rows[::-1]  # longest first
            batch = PackedBatch(
                tokens=torch.tensor([i for row in rows for i in ids[row]]),
                offsets=[0, *lengths[rows].cumsum().tolist()],
                roles=torch.full((len(rows),), ROLES.index(role)),
            ).to(self._device)
            vectors[rows] = self._model.packed(batch, [depth], dtype=self._dtype)[depth].dense.float().cpu()
        return vectors


def token_batches(lengths: npt.NDArray[np.int64], batch_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Rows by length, cut so that rows times the longest of a batch stay within batch_tokens."""
    order = np.argsort(lengths, kind="stable")
    batches, end = [], len(order)
    while end:  # from the longest, which alone sets how many fit
        begin = max(0, end - max(1, batch_tokens // int(lengths[order[end - 1]])))
        batches.append(order[begin:end])
        end = begin
    return batches


def teacher_targets(
    options: TeacherOptions, cache: Cache, pools: Sequence[str], device: torch.device, report: Report | None
) -> tuple[Array, Fingerprint]:
    """A teacher's vectors of the pool, float16 [N, d] as a memory map, and what identifies them.

    Taken from the cache, or made by running the teacher over the pool, or checked and used where they
    lie if the kind is "cached".
    """
    if options.kind == "cached":
        return _cached_targets(options, cache.pool_size)
    name = f"targets/{options.name}.npy"
    made_from = asdict(options) | {"path": _folder_digest(options)}
    for unrelated in ("name", "weight", "center", "batch_tokens", "sha256"):
        del made_from[unrelated]
    if not cache.has(name, made_from):
        teacher = load_teacher(options, device)
        cache.store(
            name,
            made_from,
            lambda path: encode_pool(teacher, options.name, pools, cache.pool_size, path, report),
        )
    return cache.load(name), {"sha256": cache.digest(name)}


def encode_pool(
    teacher: Teacher, name: str, pools: Sequence[str], count: int, path: Path, report: Report | None = None
) -> None:
    """Write a teacher's unit vectors of every text of the pool to a .npy file, float16 [count, d]."""
    out: np.memmap[Any, np.dtype[np.float16]] | None = None
    done = 0
    for texts, roles in iter_texts(pools):
        for number, role in enumerate(ROLES):
            rows = np.flatnonzero(roles == number)
            if not len(rows):
                continue
            vectors = np.asarray(teacher.encode([texts[row] for row in rows], role), np.float32)
            if not np.isfinite(vectors).all():
                raise FormatError(f"teacher {name} gives vectors that are not finite")
            if out is None:
                shape = (count, vectors.shape[1])
                out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            out[done + rows] = vectors / np.maximum(norms, 1e-12)
        done += len(texts)
        if report:
            report(f"teacher {name}", done, count)
    assert out is not None
    out.flush()


def _cached_targets(options: TeacherOptions, count: int) -> tuple[Array, Fingerprint]:
    try:
        vectors: Array = np.load(options.path, mmap_mode="r")
    except OSError as error:
        raise IoError(f"teacher {options.name}: {options.path}: {error.strerror or error}") from error
    except ValueError as error:
        raise FormatError(f"teacher {options.name}: {options.path} is not a .npy file ({error})") from error
    if vectors.ndim != 2 or vectors.dtype not in (np.float16, np.float32):
        raise FormatError(
            f"teacher {options.name}: {options.path} is {vectors.dtype} {vectors.shape}; "
            f"it must be float16 or float32 [texts, dimensions]"
        )
    if len(vectors) != count:
        raise FormatError(
            f"teacher {options.name}: {options.path} has {len(vectors)} rows, the pool {count} texts; "
            f"make the file from this pool"
        )
    digest = file_digest(options.path)
    if options.sha256 is not None and digest != options.sha256.lower():
        raise FormatError(
            f"teacher {options.name}: {options.path} has SHA-256 {digest}, not {options.sha256}"
        )
    return vectors, {"sha256": digest}


def _folder_digest(options: TeacherOptions) -> dict[str, str]:
    folder = Path(options.path)
    if not folder.is_dir():
        raise IoError(f"teacher {options.name}: '{folder}' is not a folder")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in _WEIGHT_FILES]
    return {str(path.relative_to(folder)): file_digest(path) for path in files}


def _import(package: str, options: TeacherOptions) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InvalidArgument(
            f"teacher {options.name}: kind {options.kind!r} needs the package {package} ({error}); "
            f"pip install {package.replace('_', '-')}, or make its vectors elsewhere and use kind 'cached'"
        ) from error
