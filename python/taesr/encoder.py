"""Texts in, unit vectors out."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from taesr import streaming
from taesr._native import core
from taesr.config import TAESRConfig
from taesr.encoded import Encoded, EncodeOptions, Output, Overflow, Role
from taesr.errors import InvalidArgument
from taesr.sparse import SparseRows

Precision = Literal["auto", "float32", "bfloat16", "int8"]


class Encoder:
    """The recursive encoder with its tokenizer and weights.

    An embedding depends on its own text, role and depth alone, not on batch-mates or order.
    Methods may be called from several threads at once; they release the GIL.

    Examples
    --------
    >>> encoder = Encoder.load()
    >>> queries = encoder.encode(["reset password"], role="query")
    >>> passages = encoder.encode(["To reset your password, open Settings."])
    >>> float(queries[0] @ passages[0]) > 0.5
    True
    """

    def __init__(self, native: core.Encoder) -> None:
        self.native = native
        self.config = TAESRConfig.from_native(native.config)

    @classmethod
    def load(
        cls, path: str | Path | None = None, *, precision: Precision = "auto", device: str = "cpu"
    ) -> Self:
        """Load a model folder (config.json, model.safetensors, tokenizer.model).

        Parameters
        ----------
        path
            Without one: the folder that the environment variable TAESR_MODEL names, else the
            bundled model.
        precision
            Of the layers' matrix products: "float32", "bfloat16", "auto" for bfloat16 where the
            processor multiplies it natively and float32 elsewhere, or "int8": the least memory, on
            every processor, and the fastest where it has VNNI. Vectors of all precisions can be
            compared. "int8" is not for models with token routing.
        device
            "cpu", or "cuda" or "cuda:N" for a GPU, in a build with TAESR_CUDA=ON; there "auto" is
            bfloat16, and "int8" is not taken.

        Raises
        ------
        IoError, FormatError, InvalidArgument
            Name the file and what is wrong with it.
        """
        return cls(core.Encoder.load(None if path is None else Path(path), precision, device))

    def encode(
        self,
        texts: Iterable[str] | str,
        *,
        role: Role = "passage",
        depth: str | int = "auto",
        dim: int | None = None,
        on_overflow: Overflow = "chunk",
        max_tokens: int | None = None,
        max_flops: float | None = None,
        deadline_ms: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Embed texts.

        Parameters
        ----------
        texts
            Any strings, the empty one included; a single string counts as one text.
        role
            "query" for questions, "passage" for what is searched.
        depth
            "easy", "medium", "hard", "auto" or a number of recursions. All depths share one space. With
            "auto" the model's router chooses for each text, as `encode_detailed` reports; models
            without a router take "medium".
        dim
            Length of the vectors, a prefix of the full ones made unit again; None for all.
        on_overflow
            For texts of more tokens than one pass reads: "chunk" averages overlapping windows,
            "truncate" reads the beginning, "error" raises InvalidArgument.
        max_tokens
            Most tokens of one pass, 16 to the encoder's `max_tokens`; None for the latter.
        max_flops
            Floating-point operations that a text may take, as `flops` counts them. Each takes the
            deepest of easy, medium and hard that this pays for, and none goes deeper than `depth`;
            with "auto" the router is not asked. InvalidArgument for a text that even easy is too
            dear for.
        deadline_ms
            Milliseconds for the call: short texts come first, and depths are lowered as the measured
            rate demands, so that two calls may use different ones. All texts are embedded even if the
            time is too short for easy; `encode_detailed` reports that and the depths.

        Returns
        -------
        float32 array [n, dim] of unit rows.
        """
        return self.encode_detailed(
            texts,
            role=role,
            depth=depth,
            dim=dim,
            on_overflow=on_overflow,
            max_tokens=max_tokens,
            max_flops=max_flops,
            deadline_ms=deadline_ms,
        ).embeddings

    def encode_detailed(
        self,
        texts: Iterable[str] | str,
        *,
        role: Role = "passage",
        depth: str | int = "auto",
        dim: int | None = None,
        on_overflow: Overflow = "chunk",
        max_tokens: int | None = None,
        max_flops: float | None = None,
        deadline_ms: float | None = None,
    ) -> Encoded:
        """Like `encode`, and report depths, token counts and windows too."""
        options = EncodeOptions(
            ("dense",), role, depth, dim, on_overflow, max_flops=max_flops, max_tokens=max_tokens
        )
        return self.encode_with(list(_checked(texts)), options, deadline_ms=deadline_ms)

    def encode_full(
        self,
        texts: Iterable[str] | str,
        *,
        outputs: Iterable[Output] = ("dense", "sparse", "late"),
        role: Role = "passage",
        depth: str | int = "auto",
        dim: int | None = None,
        on_overflow: Overflow = "chunk",
        max_tokens: int | None = None,
        sparse_top: int = 256,
        max_flops: float | None = None,
        deadline_ms: float | None = None,
    ) -> Encoded:
        """Like `encode_detailed`, with the outputs of several heads from one pass.

        Parameters
        ----------
        outputs
            "dense"; "sparse" for weights over the vocabulary (SPLADE, arXiv 2109.10086); "late" for
            one vector a token (ColBERT, arXiv 2004.12832); "subspace:NAME" for one of
            `config.subspaces`, which is read from the deepest states whatever `depth` is.
        sparse_top
            Heaviest pieces that a text keeps.

        Raises
        ------
        InvalidArgument
            Also for a head that the model lacks.
        """
        options = EncodeOptions(
            _names(outputs), role, depth, dim, on_overflow, sparse_top, max_flops, max_tokens
        )
        return self.encode_with(list(_checked(texts)), options, deadline_ms=deadline_ms)

    def encode_with(
        self,
        texts: Sequence[str],
        options: EncodeOptions,
        *,
        deadline_ms: float | None = None,
        first_text: int = 0,
    ) -> Encoded:
        """Like `encode_full`, for texts that `clean_text` has seen; `first_text` is the number of the
        first one in messages, for calls that are parts of one.
        """
        if options.dim is not None and not 1 <= options.dim <= self.dimension:
            raise InvalidArgument(f"dim is {options.dim}; allowed: 1 to {self.dimension}")
        if options.max_tokens == 0:
            raise InvalidArgument(
                f"max_tokens is 0; allowed: 16 to {self.max_tokens}, or None for the latter"
            )
        if options.sparse_top < 1:
            raise InvalidArgument(f"sparse_top is {options.sparse_top}; it must be at least 1")
        result = self.native.encode(
            texts,
            options.role,
            str(options.depth),
            options.dim or 0,
            options.on_overflow,
            options.outputs,
            options.sparse_top,
            options.max_flops,
            deadline_ms,
            first_text,
            options.max_tokens or 0,
        )
        probabilities = result.take_router_probabilities()
        sparse = "sparse" in options.outputs
        return Encoded(
            result.take_embeddings(),
            result.depths,
            result.token_counts,
            result.windows,
            result.truncated,
            SparseRows(*result.sparse_arrays(), self.config.vocab_size) if sparse else None,
            result.take_late() if "late" in options.outputs else None,
            result.take_subspaces(),
            probabilities if len(probabilities) else None,
            result.deadline_missed,
        )

    def encode_iter(
        self,
        texts: Iterable[str] | str,
        *,
        outputs: Iterable[Output] = ("dense",),
        role: Role = "passage",
        depth: str | int = "auto",
        dim: int | None = None,
        on_overflow: Overflow = "chunk",
        max_tokens: int | None = None,
        sparse_top: int = 256,
        max_flops: float | None = None,
        window: int = 1024,
        processes: int = 1,
    ) -> Iterator[Encoded]:
        """Embed any number of texts in bounded memory.

        Texts are read as results are asked for, a window of them at a time (it ends early once it
        holds 262,144 characters); similar lengths and equal depths of a window are worked on together.

        Parameters
        ----------
        window
            Most texts in one piece of the result.
        processes
            Above 1: as many processes, each with the model of `source` loaded, work on windows at the
            same time. They are started afresh (multiprocessing's "spawn"), so a script must guard
            its own work with ``if __name__ == "__main__":``.

        Yields
        ------
        Encoded
            One a window, in the order of the texts; for each, what happened to texts that were
            longer than one pass is in `windows` and `truncated`.

        Raises
        ------
        InvalidArgument
            For wrong options at once, for a text when its window is reached. What the iterable raises
            comes out as it is, after the results of the windows before.
        Error
            A process has died; the message says how.
        """
        options = EncodeOptions(
            _names(outputs), role, depth, dim, on_overflow, sparse_top, max_flops, max_tokens
        )
        self.encode_with([], options)  # refuses wrong options before anything is read
        return streaming.encode_iter(self, _checked(texts), options, window=window, processes=processes)

    def encode_multiprocess(
        self,
        texts: Iterable[str] | str,
        *,
        processes: int,
        role: Role = "passage",
        depth: str | int = "auto",
        dim: int | None = None,
        on_overflow: Overflow = "chunk",
        max_tokens: int | None = None,
        max_flops: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Like `encode`, in several processes; see `encode_iter`."""
        pieces = self.encode_iter(
            texts,
            role=role,
            depth=depth,
            dim=dim,
            on_overflow=on_overflow,
            max_tokens=max_tokens,
            max_flops=max_flops,
            processes=processes,
        )
        rows = [piece.embeddings for piece in pieces]
        return np.concatenate(rows) if rows else np.empty((0, dim or self.dimension), np.float32)

    def flops(
        self, tokens: int, depth: str | int = "auto", *, outputs: Iterable[Output] = ("dense",)
    ) -> float:
        """Floating-point operations for a text, the measure of `max_flops`.

        Matrix products only, a multiplication and an addition counted as two; windows of long texts
        are included. "auto" counts as "medium".

        Parameters
        ----------
        tokens
            As `count_tokens` counts them.
        """
        if tokens < 0:
            raise InvalidArgument(f"tokens is {tokens}; it must be at least 0")
        return self.native.flops(tokens, str(depth), _names(outputs))

    def encode_sparse_query(self, texts: Iterable[str] | str) -> SparseRows:
        """Queries for sparse passages without a pass through the model.

        Every piece of a text weighs its inverse document frequency, from a table of the model.
        Raises InvalidArgument for models without a sparse head.
        """
        return SparseRows(*self.native.encode_sparse_query(list(_checked(texts))), self.config.vocab_size)

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, special ones not counted."""
        return self.native.count_tokens(clean_text(text))

    @property
    def dimension(self) -> int:
        """Values in a full vector."""
        return self.native.dimension

    @property
    def max_tokens(self) -> int:
        """Most tokens read in one pass, special ones not counted."""
        return self.native.max_tokens

    @property
    def fingerprint(self) -> str:
        """Digest of the model's files: vectors compare only where fingerprints are equal."""
        return self.native.fingerprint

    @property
    def precision(self) -> str:
        """Arithmetic in use: "float32", "bfloat16" or "int8"."""
        return self.native.precision

    @property
    def device(self) -> str:
        """Where the model is computed: "cpu" or "cuda:N"."""
        return self.native.device

    @property
    def source(self) -> Path:
        """The model folder."""
        return Path(self.native.source)

    def __repr__(self) -> str:
        return f"Encoder('{self.source}', dimension={self.dimension}, precision='{self.precision}')"


def clean_text(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 has: texts come from files, forms and other programs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _checked(texts: Iterable[str] | str) -> Iterator[str]:
    """Yield texts, a single string as one, that are fit for the library."""
    for index, item in enumerate([texts] if isinstance(texts, str) else texts):
        if not isinstance(item, str):
            raise InvalidArgument(f"texts[{index}] is a {type(item).__name__}; it must be a str")
        yield clean_text(item)


def _names(outputs: Iterable[Output]) -> tuple[Output, ...]:
    """Names of outputs; a single string is one."""
    return (outputs,) if isinstance(outputs, str) else tuple(outputs)


__all__ = ["EncodeOptions", "Encoded", "Encoder", "Output", "Overflow", "Precision", "Role", "clean_text"]
