"""Shape of the recursive encoder."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Self

from taesr._native import core
from taesr.errors import InvalidArgument


@dataclasses.dataclass(frozen=True, kw_only=True)
class TAESRConfig:
    """Shape of the recursive encoder; checked when made.

    An entry layer, `shared_layers` layers applied `r` times, and an exit layer ("middle cycle"
    sharing, Mixture-of-Recursions, arXiv 2507.10524).

    Parameters
    ----------
    vocab_size, hidden_size, intermediate_size, num_attention_heads
        As in BERT; hidden_size must be a multiple of num_attention_heads.
    max_position_embeddings
        Tokens read in one pass, the two special ones included.
    recursion_steps
        Recursions r by name; easy <= medium <= hard, each 1 to 64.
    embedding_size
        Values of the pooled output.
    matryoshka_dimensions
        Prefixes of the output that are trained to stand alone, ascending.

    Raises
    ------
    InvalidArgument
        Names the field, its value and the allowed range.
    """

    vocab_size: int = 24000
    hidden_size: int = 384
    intermediate_size: int = 1536
    num_attention_heads: int = 12
    max_position_embeddings: int = 256
    layer_norm_eps: float = 1e-12
    shared_layers: int = 2
    recursion_steps: dict[str, int] = dataclasses.field(
        default_factory=lambda: {"easy": 1, "medium": 3, "hard": 6}
    )
    embedding_size: int = 384
    matryoshka_dimensions: list[int] = dataclasses.field(default_factory=lambda: [64, 128, 256, 384])
    bos_id: int = 0
    pad_id: int = 1
    eos_id: int = 2
    unk_id: int = 3

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InvalidArgument(f"config field '{name}' is {value}; it must be a finite number")
        object.__setattr__(self, "_native", core.TAESRConfig.from_json(self.to_json()))

    @property
    def native(self) -> core.TAESRConfig:
        """The C++ twin of this config."""
        native: core.TAESRConfig = self._native  # type: ignore[attr-defined]
        return native

    def recursions(self, depth: str | int) -> int:
        """Recursions for "easy", "medium", "hard", "auto" or a number; raises InvalidArgument."""
        return self.native.recursions(str(depth))

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, JSON types only."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str, *, origin: str = "config") -> Self:
        """Config of a JSON object; missing fields take their defaults, unknown ones raise InvalidArgument."""
        return cls.from_native(core.TAESRConfig.from_json(text, origin))

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Config of a JSON file; raises InvalidArgument naming file and field, or IoError."""
        return cls.from_native(core.TAESRConfig.from_file(path))

    @classmethod
    def from_native(cls, native: core.TAESRConfig) -> Self:
        """Python twin of a C++ config."""
        return cls(**{field.name: getattr(native, field.name) for field in dataclasses.fields(cls)})
