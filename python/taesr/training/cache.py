"""The cache folder of a training run: the tokenised pool and what is computed from it.

    cache.json        the fingerprint of what it was made from; size and digest of every other file
    tokens.npy        token ids of all texts end to end, uint16 or int32
    starts.npy        int64 [N + M + 1]: N texts of the pool, then M long texts made of its passages
    meta.npz          role, parent, document [N + M]; long_members, long_starts
    targets/NAME.npy  a teacher's vectors, float16 [N, d]
    clusters.npy, negatives.npy, space.safetensors

The folder takes its name when it is whole, and a file counts once cache.json names it: a run that is
killed leaves nothing that a later one would take for good.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from taesr.errors import ChecksumError, FormatError, InvalidArgument, IoError
from taesr.training.long_texts import LongTexts, append_long_texts, choose_neighbours
from taesr.training.options import DataOptions
from taesr.training.tokenize_pool import Report, TokenisedPool, TokenRules, tokenise

_FORMAT = 1
_INDEX = "cache.json"

Fingerprint = dict[str, Any]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Cache:
    """An open cache folder."""

    folder: Path
    pool: TokenisedPool  # the N texts of the pool and the M long ones
    long: LongTexts

    @property
    def pool_size(self) -> int:
        """Texts of the pool, without the long ones made of them."""
        return len(self.pool.role) - len(self.long)

    def path(self, name: str) -> Path:
        """Where a file of the cache lies, or would lie."""
        return self.folder / name

    def has(self, name: str, made_from: Fingerprint) -> bool:
        """Whether the cache holds this file, made from the same things."""
        entry = _read_index(self.folder)["files"].get(name)
        return entry is not None and entry["made_from"] == _plain(made_from)

    def load(self, name: str) -> Array:
        """A .npy file as a read-only memory map; ChecksumError where it has changed since it was written."""
        self.verify(name)
        array: Array = np.load(self.path(name), mmap_mode="r")
        return array

    def verify(self, name: str) -> None:
        """Compare a file with the size and digest in cache.json."""
        _verify(self.folder, name, _read_index(self.folder)["files"][name])

    def digest(self, name: str) -> str:
        """SHA-256 of a file, from cache.json."""
        return str(_read_index(self.folder)["files"][name]["sha256"])

    def store(self, name: str, made_from: Fingerprint, write: Callable[[Path], None]) -> None:
        """Add a file: `write` makes it under another name, and it counts when it is whole."""
        target = self.path(name)
        part = target.with_name(f".{target.name}.part")
        try:
            target.parent.mkdir(exist_ok=True)
            write(part)
            entry = _entry(part, made_from)
            os.replace(part, target)
        except OSError as error:
            raise IoError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)
        index = _read_index(self.folder)
        index["files"][name] = entry
        _write_index(self.folder, index)

    def store_array(self, name: str, made_from: Fingerprint, array: Array) -> None:
        """Add a .npy file."""
        self.store(name, made_from, lambda path: _save_array(path, array))


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold a cache for writing; another process that prepares the same one waits."""
    path = Path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path.with_name(f".{path.name}.lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise IoError(f"cannot make the cache {path}: {error.strerror or error}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare_cache(
    options: DataOptions, rules: TokenRules, *, seed: int, report: Report | None = None
) -> Cache:
    """Open the cache, made anew where it does not fit the pool, the tokenizer or the limits.

    Call it within `locked`.

    Raises
    ------
    IoError, FormatError, ChecksumError
        Name the file, and for a pool the line.
    InvalidArgument
        The folder holds something else than a cache.
    """
    folder = Path(options.cache)
    wanted = _plain(_fingerprint(options, rules, seed))
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _INDEX).is_file():
            raise InvalidArgument(f"{folder} is not empty and not a cache of taesr; name another folder")
        if _read_index(folder)["fingerprint"] == wanted:
            return _open(folder)
    building = folder.with_name(f".{folder.name}.building")
    old = folder.with_name(f".{folder.name}.old")
    for left_over in (building, old):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        _build(building, options, rules, wanted, seed, report)
        if folder.exists():
            os.replace(folder, old)  # whole or gone, never half deleted
        os.replace(building, folder)
    except OSError as error:
        if isinstance(error, IoError):
            raise
        raise IoError(f"cannot make the cache {folder}: {error.strerror or error}") from error
    finally:
        for left_over in (building, old):
            shutil.rmtree(left_over, ignore_errors=True)
    return _open(folder)


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise IoError(f"{path}: {error.strerror or error}") from error


def _fingerprint(options: DataOptions, rules: TokenRules, seed: int) -> Fingerprint:
    pools = [{"sha256": file_digest(path), "bytes": os.path.getsize(path)} for path in options.pools]
    return {
        "pools": pools,
        "tokenizer": file_digest(rules.tokenizer),
        "special": [rules.bos_id, rules.eos_id],
        "limits": list(rules.limits),
        "long_texts": {**asdict(options.long_texts), "seed": seed},
    }


def _build(
    folder: Path,
    options: DataOptions,
    rules: TokenRules,
    wanted: Fingerprint,
    seed: int,
    report: Report | None,
) -> None:
    folder.mkdir(parents=True)
    pool = tokenise(options.pools, rules, processes=options.processes, report=report)
    long = choose_neighbours(pool, options.long_texts, seed)
    pool = append_long_texts(pool, long, rules)
    small = int(pool.tokens.max()) <= np.iinfo(np.uint16).max
    _save_array(folder / "tokens.npy", pool.tokens.astype(np.uint16 if small else np.int32))
    _save_array(folder / "starts.npy", pool.starts)
    with open(folder / "meta.npz", "wb") as file:
        np.savez(
            file,
            role=pool.role,
            parent=pool.parent,
            document=pool.document,
            long_members=long.members,
            long_starts=long.starts,
        )
    files = {name: _entry(folder / name, {}) for name in ("tokens.npy", "starts.npy", "meta.npz")}
    _write_index(folder, {"format": _FORMAT, "fingerprint": wanted, "files": files})


def _open(folder: Path) -> Cache:
    files = _read_index(folder)["files"]
    for name in ("tokens.npy", "starts.npy", "meta.npz"):
        _verify(folder, name, files[name])
    with np.load(folder / "meta.npz") as meta:
        pool = TokenisedPool(
            tokens=np.load(folder / "tokens.npy", mmap_mode="r"),
            starts=np.load(folder / "starts.npy"),
            role=meta["role"],
            parent=meta["parent"],
            document=meta["document"],
        )
        return Cache(folder, pool, LongTexts(meta["long_members"], meta["long_starts"]))


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / _INDEX
    try:
        index = json.loads(path.read_text())
    except OSError as error:
        raise IoError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise FormatError(f"{path} is damaged ({error}); delete the folder and run again") from error
    if not isinstance(index, dict) or index.get("format") != _FORMAT:
        raise FormatError(f"{path} is of another version; delete the folder and run again")
    return index


def _write_index(folder: Path, index: dict[str, Any]) -> None:
    part = folder / f".{_INDEX}.part"
    with open(part, "w") as file:
        json.dump(index, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, folder / _INDEX)


def _entry(path: Path, made_from: Fingerprint) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path), "made_from": _plain(made_from)}


def _verify(folder: Path, name: str, entry: dict[str, Any]) -> None:
    path = folder / name
    if not path.is_file():
        raise ChecksumError(f"{path} is missing; delete the folder {folder} and run again")
    if path.stat().st_size != entry["bytes"] or file_digest(path) != entry["sha256"]:
        raise ChecksumError(
            f"{path} has changed since it was written; delete the folder {folder} and run again"
        )


def _save_array(path: Path, array: Array) -> None:
    with open(path, "wb") as file:  # np.save would add .npy to the name of a part
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())


def _plain(value: Any) -> Any:
    """As JSON gives it back, so that fingerprints compare equal after a round trip."""
    return json.loads(json.dumps(value))
