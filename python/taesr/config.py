"""Shape of the recursive encoder."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal, Self

from taesr._native import core
from taesr.errors import InvalidArgument


@dataclasses.dataclass(frozen=True, kw_only=True)
class TAESRConfig:
    """Shape of the recursive encoder; checked when made.

    Post-norm BERT layers: `entry_layers`, then `shared_layers` applied r times as `sharing` says,
    then `refinement_layers` if r > 1, then `exit_layers`. Each application of a shared layer has
    norms of its own. On top: a dense head and the heads that are asked for.

    Parameters
    ----------
    vocab_size, hidden_size, intermediate_size, num_attention_heads
        As in BERT; hidden_size must be a multiple of num_attention_heads.
    max_position_embeddings
        Tokens read in one pass, the two special ones included.
    sharing
        Order of the applications (Mixture-of-Recursions, arXiv 2507.10524): in "middle_cycle" and
        "cycle" the block of shared layers is applied r times (1 2 1 2), in "middle_sequence" and
        "sequence" each shared layer is (1 1 2 2). "cycle" and "sequence" are without other layers.
    entry_layers, shared_layers, refinement_layers, exit_layers
        How many of each, at most 64. The easy depth, r = 1, skips the refinement layers.
    recursion_steps
        Recursions r by name; easy <= medium <= hard, each 1 to 64.
    embedding_size
        Values of the pooled output.
    matryoshka_dimensions
        Prefixes of the output that are trained to stand alone, ascending.
    sparse_head
        Whether there is a sparse head (SPLADE, arXiv 2109.10086), tied to the token table.
    sparse_queries
        What makes the sparse vectors of queries in a search. "table": their own pieces with the weights
        of the table ``sparse.idf``, without an encoder. "encoder": the sparse head, which expands them.
    late_size
        Dimensions a token of the late-interaction head (ColBERT, arXiv 2004.12832); 0: no head.
    router_size
        Hidden units of the router that chooses a text's depth; 0: none.
    router_confidence
        From 0 to 1: with depth "auto" a text takes the smallest of the three depths that is enough
        for it with at least this probability, by the router. 0 is always easy.
    subspaces
        Dimensions of further embeddings by name (a-z, 0-9, _).
    token_routing
        Which tokens a recursion works on; the keys and values of the others stay visible. "none":
        all. "expert_choice": the share `token_capacity` of each sequence that scores highest.
        "token_choice": each token stops where its score falls below zero. Needs a cycle sharing.
    token_capacity
        Share of tokens in recursion 1, 2, ..., above 0 to 1, never rising: tokens that stop do not start
        again. The last value repeats.

    Raises
    ------
    InvalidArgument
        Names the field, its value and the allowed range.
    """

    vocab_size: int = 22000
    hidden_size: int = 384
    intermediate_size: int = 1536
    num_attention_heads: int = 12
    max_position_embeddings: int = 256
    layer_norm_eps: float = 1e-12
    sharing: Literal["middle_cycle", "cycle", "middle_sequence", "sequence"] = "middle_cycle"
    entry_layers: int = 1
    shared_layers: int = 2
    refinement_layers: int = 0
    exit_layers: int = 1
    recursion_steps: dict[str, int] = dataclasses.field(
        default_factory=lambda: {"easy": 1, "medium": 3, "hard": 6}
    )
    embedding_size: int = 384
    matryoshka_dimensions: list[int] = dataclasses.field(default_factory=lambda: [64, 128, 256, 384])
    sparse_head: bool = False
    sparse_queries: Literal["table", "encoder"] = "table"
    late_size: int = 0
    router_size: int = 0
    router_confidence: float = 0.5
    subspaces: dict[str, int] = dataclasses.field(default_factory=dict)
    token_routing: Literal["none", "expert_choice", "token_choice"] = "none"
    token_capacity: list[float] = dataclasses.field(default_factory=list)
    bos_id: int = 0
    pad_id: int = 1
    eos_id: int = 2
    unk_id: int = 3

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, float) and not math.isfinite(number):
                    raise InvalidArgument(f"config field '{name}' is {number}; it must be a finite number")
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
