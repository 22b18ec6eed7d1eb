"""Bulk encoding on many machines with Ray Data.

>>> import ray                                                              # doctest: +SKIP
>>> from taesr.integrations.ray import encode_dataset, encode_files
>>> rows = encode_dataset(ray.data.read_parquet("passages"), workers=8)     # in memory
>>> report = encode_files(paths, "vectors", workers=8)                      # file by file, resumable
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taesr.encoder import Encoder, Overflow, Precision, Role
from taesr.errors import Error, InvalidArgument
from taesr.integrations.extras import missing, require

if TYPE_CHECKING:
    import pyarrow as pa

# Read by Ray when it is imported: nothing is reported, unless somebody asks for it.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
    import ray.data
except ImportError as error:
    raise missing("ray", error) from error

_FORMATS = {".parquet": "parquet", ".jsonl": "json"}
_MADE_WITH = b"taesr"  # key of what a file's vectors were made with, in its Parquet metadata


@dataclasses.dataclass(frozen=True)
class EncodeColumn:
    """Which column is embedded, into which, and how.

    Attributes
    ----------
    text, output
        Names of the columns.
    model, precision
        As in `Encoder.load`; the folder must be there on every machine.
    role, depth, dim, on_overflow
        As in `Encoder.encode`.
    """

    text: str = "text"
    output: str = "embedding"
    model: str | None = None
    precision: Precision = "auto"
    role: Role = "passage"
    depth: str | int = "auto"
    dim: int | None = None
    on_overflow: Overflow = "chunk"


@dataclasses.dataclass(frozen=True)
class Workers:
    """Ray actors, each with one encoder.

    Attributes
    ----------
    count
        How many.
    cpus, gpus
        Of each; it uses as many threads as it has CPUs.
    """

    count: int = 1
    cpus: float = 1
    gpus: float = 0


@dataclasses.dataclass(frozen=True)
class FilesReport:
    """What `encode_files` did.

    Attributes
    ----------
    encoded, rows
        Files and rows of this call.
    done_before
        Files whose output was there.
    failed
        (path, reason) of files that could not be encoded; they have no output.
    """

    encoded: int = 0
    rows: int = 0
    done_before: int = 0
    failed: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def encode_dataset(
    dataset: "ray.data.Dataset",
    column: EncodeColumn | None = None,
    *,
    workers: Workers | None = None,
    batch_size: int = 256,
) -> "ray.data.Dataset":
    """A dataset with one column more: float32 [dim] embeddings of its texts.

    Like everything in Ray Data it runs when it is consumed, in actors that load the encoder once.

    Parameters
    ----------
    dataset
        Rows with a column of strings.
    batch_size
        Rows that travel to an actor together.

    Raises
    ------
    ray.exceptions.RayTaskError
        When it is consumed: for rows without text; its cause is an InvalidArgument.
    """
    workers = _checked(workers)
    if batch_size < 1:
        raise InvalidArgument(f"batch_size is {batch_size}; it must be at least 1")
    return dataset.map_batches(
        _BatchEncoder,
        fn_constructor_args=(column or EncodeColumn(),),
        batch_size=batch_size,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=workers.count),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus or None,
    )


def encode_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    column: EncodeColumn | None = None,
    *,
    workers: Workers | None = None,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> FilesReport:
    """Embed files, each into a Parquet file with one column more; call it again to go on.

    An output appears whole or not at all, so the outputs are the checkpoint: a call skips inputs whose
    output is there. Files and folder must be on a disk that all machines share.

    Parameters
    ----------
    inputs
        ``.parquet`` and ``.jsonl`` files with different names.
    output
        The folder for ``NAME.parquet``, a fixed-size list of float32 in the column.
    batch_size
        Rows in memory at a time, by worker.
    progress
        Called with (files done, files in all).

    Raises
    ------
    InvalidArgument
        For inputs of the same name or another kind, and where an output was made with another model,
        other options or another input file.
    """
    column = column or EncodeColumn()
    workers = _checked(workers)
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    jobs = _jobs(inputs, folder)
    if batch_size < 1:
        raise InvalidArgument(f"batch_size is {batch_size}; it must be at least 1")
    model = Encoder.load(column.model, precision=column.precision).fingerprint
    pending = [job for job in jobs if not _is_done(job, _made_with(job["input"], column, model))]
    report = FilesReport(done_before=len(jobs) - len(pending))
    if not pending:
        return report
    rows = ray.data.from_items(pending, override_num_blocks=len(pending)).map(
        _FileEncoder,
        fn_constructor_args=(column, batch_size),
        compute=ray.data.ActorPoolStrategy(size=min(workers.count, len(pending))),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus or None,
    )
    for done, row in enumerate(rows.iter_rows(), report.done_before + 1):
        if row["error"]:
            report.failed.append((row["input"], row["error"]))
        else:
            report = dataclasses.replace(
                report, encoded=report.encoded + 1, rows=report.rows + int(row["rows"])
            )
        if progress is not None:
            progress(done, len(jobs))
    return report


class _BatchEncoder:
    """Embeds a column of batches, in a Ray actor."""

    def __init__(self, column: EncodeColumn) -> None:
        self.column = column
        self.encoder = Encoder.load(column.model, precision=column.precision)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return batch | {self.column.output: self.encode(batch.get(self.column.text), sorted(batch))}

    def encode(self, texts: Any, names: Sequence[str]) -> Any:
        """float32 [rows, dim]."""
        column = self.column
        if texts is None:
            raise InvalidArgument(f"there is no column {column.text!r}; there are {', '.join(names)}")
        if column.output in names:
            raise InvalidArgument(f"there is a column {column.output!r} already; name another for the output")
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise InvalidArgument(
                    f"column {column.text!r}, row {row} of a batch: a {type(text).__name__}; it must be a str"
                )
        return self.encoder.encode(
            map(str, texts),
            role=column.role,
            depth=column.depth,
            dim=column.dim,
            on_overflow=column.on_overflow,
        )


class _FileEncoder:
    """Embeds files, in a Ray actor."""

    def __init__(self, column: EncodeColumn, batch_size: int) -> None:
        self.encoder = _BatchEncoder(column)
        self.batch_size = batch_size

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        column, fingerprint = self.encoder.column, self.encoder.encoder.fingerprint
        try:
            made_with = _made_with(job["input"], column, fingerprint)
            return job | {"rows": self._encode(job["input"], job["output"], made_with), "error": ""}
        except (Error, OSError, ValueError) as error:  # pyarrow's errors are ValueErrors and OSErrors
            return job | {"rows": 0, "error": " ".join(str(error).split())}

    def _encode(self, source: str, target: str, made_with: bytes) -> int:
        """Write a file and put it in its place; returns its rows."""
        parquet = require("pyarrow.parquet", "ray")
        part = f"{target}.{os.getpid()}.part"
        rows = 0
        try:
            with open(part, "wb") as file:
                batches = self._batches(source)
                first = next(batches)
                schema = first.schema.with_metadata({_MADE_WITH: made_with})
                with parquet.ParquetWriter(file, schema) as writer:
                    while first is not None:
                        writer.write_batch(first)
                        rows += first.num_rows
                        first = next(batches, None)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, target)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
        return rows

    def _batches(self, source: str) -> "Iterator[pa.RecordBatch]":
        """The file's rows with their embeddings; at least one batch, which may be empty."""
        dataset = require("pyarrow.dataset", "ray")
        read = dataset.dataset(source, format=_FORMATS[Path(source).suffix])
        some = False
        for batch in read.to_batches(batch_size=self.batch_size):
            if batch.num_rows:
                some = True
                yield self._with_embeddings(batch)
        if not some:
            arrow = require("pyarrow", "ray")
            yield self._with_embeddings(arrow.RecordBatch.from_pylist([], schema=read.schema))

    def _with_embeddings(self, batch: "pa.RecordBatch") -> "pa.RecordBatch":
        arrow = require("pyarrow", "ray")
        names = batch.schema.names
        texts = (
            batch.column(self.encoder.column.text).to_pylist() if self.encoder.column.text in names else None
        )
        vectors = self.encoder.encode(texts, names)
        values = arrow.array(np.ascontiguousarray(vectors).reshape(-1))
        column = arrow.FixedSizeListArray.from_arrays(values, vectors.shape[1])
        return batch.append_column(self.encoder.column.output, column)


def _checked(workers: Workers | None) -> Workers:
    workers = workers or Workers()
    if workers.count < 1:
        raise InvalidArgument(f"workers.count is {workers.count}; it must be at least 1")
    return workers


def _jobs(inputs: Sequence[str | Path], folder: Path) -> list[dict[str, str]]:
    jobs: dict[Path, str] = {}
    for given in inputs:
        source = Path(given).absolute()
        if source.suffix not in _FORMATS:
            raise InvalidArgument(f"{source}: allowed are files that end in {' or '.join(_FORMATS)}")
        target = folder / f"{source.stem}.parquet"
        if target == source:
            raise InvalidArgument(f"{source}: its output would replace it; give another folder")
        if target in jobs:
            raise InvalidArgument(
                f"{source} and {jobs[target]} would both be encoded to {target}; rename one"
            )
        jobs[target] = str(source)
    return [{"input": source, "output": str(target)} for target, source in jobs.items()]


def _made_with(source: str, column: EncodeColumn, fingerprint: str) -> bytes:
    """What must be the same for an output to be that of this call."""
    status = os.stat(source)
    what = {
        "model": fingerprint,
        "text": column.text,
        "output": column.output,
        "role": column.role,
        "depth": str(column.depth),
        "dim": column.dim,
        "on_overflow": column.on_overflow,
        "input_bytes": status.st_size,
        "input_mtime_ns": status.st_mtime_ns,
    }
    return json.dumps(what, sort_keys=True).encode()


def _is_done(job: dict[str, str], made_with: bytes) -> bool:
    if not os.path.exists(job["output"]):
        return False
    parquet = require("pyarrow.parquet", "ray")
    try:
        found = (parquet.read_schema(job["output"]).metadata or {}).get(_MADE_WITH)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{job['output']}: not a Parquet file ({error}); remove it") from None
    if found != made_with:
        raise InvalidArgument(
            f"{job['output']} was made with another model, other options or another {job['input']}: "
            "remove it, or give another folder"
        )
    return True


__all__ = ["EncodeColumn", "FilesReport", "Workers", "encode_dataset", "encode_files"]
