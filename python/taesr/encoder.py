"""Texts in, unit vectors out."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from taesr._native import core
from taesr.config import TAESRConfig
from taesr.errors import InvalidArgument

Role = Literal["query", "passage"]
Overflow = Literal["chunk", "truncate", "error"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Embeddings and what it took to make them.

    Attributes
    ----------
    embeddings
        float32 [n, dim], unit rows.
    depths
        Recursions used, by text.
    token_counts
        Tokens, by text, special ones not counted.
    windows
        Passes through the model, by text; above 1 for texts longer than one pass.
    truncated
        Texts whose end was not read (on_overflow="truncate" only).
    """

    embeddings: npt.NDArray[np.float32]
    depths: list[int]
    token_counts: list[int]
    windows: list[int]
    truncated: int


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
    def load(cls, path: str | Path | None = None, *, precision: Precision = "auto") -> Self:
        """Load a model folder (config.json, model.safetensors, tokenizer.model).

        Parameters
        ----------
        path
            Without one: the folder that the environment variable TAESR_MODEL names, else the
            bundled model.
        precision
            Of the matrix products: "float32", "bfloat16", or "auto" for bfloat16 where the processor
            multiplies it natively and float32 elsewhere.

        Raises
        ------
        IoError, FormatError, InvalidArgument
            Name the file and what is wrong with it.
        """
        return cls(core.Encoder.load(None if path is None else Path(path), precision))

    def encode(
        self,
        texts: Iterable[str] | str,
        *,
        role: Role = "passage",
        depth: str | int = "auto",
        dim: int | None = None,
        on_overflow: Overflow = "chunk",
    ) -> npt.NDArray[np.float32]:
        """Embed texts.

        Parameters
        ----------
        texts
            Any strings, the empty one included; a single string counts as one text.
        role
            "query" for questions, "passage" for what is searched.
        depth
            "easy", "medium", "hard", "auto" or a number of recursions. All depths share one space.
        dim
            Length of the vectors, a prefix of the full ones made unit again; None for all.
        on_overflow
            For texts of more tokens than one pass reads: "chunk" averages overlapping windows,
            "truncate" reads the beginning, "error" raises InvalidArgument.

        Returns
        -------
        float32 array [n, dim] of unit rows.
        """
        return self.encode_detailed(
            texts, role=role, depth=depth, dim=dim, on_overflow=on_overflow
        ).embeddings

    def encode_detailed(
        self,
        texts: Iterable[str] | str,
        *,
        role: Role = "passage",
        depth: str | int = "auto",
        dim: int | None = None,
        on_overflow: Overflow = "chunk",
    ) -> Encoded:
        """Like `encode`, and report depths, token counts and windows too."""
        if dim is not None and not 1 <= dim <= self.dimension:
            raise InvalidArgument(f"dim is {dim}; allowed: 1 to {self.dimension}")
        result = self.native.encode(_to_list(texts), role, str(depth), dim or 0, on_overflow)
        return Encoded(
            result.take_embeddings(), result.depths, result.token_counts, result.windows, result.truncated
        )

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
        """Arithmetic in use: "float32" or "bfloat16"."""
        return self.native.precision

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


def _to_list(texts: Iterable[str] | str) -> Sequence[str]:
    items = [texts] if isinstance(texts, str) else list(texts)
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise InvalidArgument(f"texts[{index}] is a {type(item).__name__}; it must be a str")
    return [clean_text(item) for item in items]
