"""What the sections data, teachers and space of a training configuration may say."""

from dataclasses import dataclass, field
from typing import Literal

from taesr.errors import InvalidArgument
from taesr.training.checks import require, require_choice

TeacherKind = Literal["sentence-transformers", "transformers", "taesr", "cached"]
SpaceMethod = Literal["learned", "pca", "none"]


@dataclass(frozen=True, kw_only=True)
class LongTextOptions:
    """Texts longer than the teachers read: neighbouring passages of one document, joined.

    Attributes
    ----------
    count : int
        How many to make, at most; 0 for none.
    min_tokens, max_tokens : int
        Lengths to aim at, the two special tokens included; each text draws its own.
    """

    count: int = 15000
    min_tokens: int = 280
    max_tokens: int = 800

    def __post_init__(self) -> None:
        require("count", self.count, 0)
        require("min_tokens", self.min_tokens, 4)
        require("max_tokens", self.max_tokens, self.min_tokens)


@dataclass(frozen=True, kw_only=True)
class MiningOptions:
    """Hard negatives: passages that the teachers place near a query and that do not answer it.

    Attributes
    ----------
    count : int
        Negatives kept for each query; 0 turns mining off.
    candidates : int
        Nearest passages of a query among which they are chosen.
    ceiling : float
        A passage nearer to the query than this share of its own passage's similarity is taken for
        an unmarked answer and left out (positive-aware mining, arXiv 2407.15831).
    share : float
        Share of the queries of an epoch that bring one of their negatives into the batch.
    """

    count: int = 0
    candidates: int = 64
    ceiling: float = 0.95
    share: float = 0.25

    def __post_init__(self) -> None:
        require("count", self.count, 0)
        require("candidates", self.candidates, max(1, self.count))
        require("ceiling", self.ceiling, 0, 1)
        require("share", self.share, 0, 1)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The pool of texts, its cache, and what a batch holds.

    Attributes
    ----------
    pools : list of str
        JSON-lines files, plain, .gz or .xz; together they are one pool.
    cache : str
        Folder for the tokenised pool and the teachers' vectors; made when absent, remade when the
        pool, the tokenizer or the limits below have changed.
    max_passage_tokens, max_query_tokens : int
        Longer texts are cut there, the two special tokens included.
    long_texts : LongTextOptions
    batch_tokens : int
        Tokens of a batch of one process, at most.
    clustered : bool
        Batches of groups of near texts, a passage with its queries among them, so that the
        similarities within a batch hold hard negatives; otherwise texts are drawn at random.
    clusters : int
        Clusters of passages; 0 makes one for every 86 passages.
    group_tokens : int
        Tokens of one group of near texts.
    passage_share, long_share : float
        Share of the passages and of the long texts that an epoch takes; it takes every query.
    mining : MiningOptions
    processes : int
        That tokenise; 0 for one a core.
    resident_gib : float
        The teachers' vectors live on the device if they take no more than this; otherwise each
        batch reads its own from the cache.
    prefetch : int
        Batches that are planned ahead.
    """

    pools: list[str] = field(default_factory=list)
    cache: str = ""
    max_passage_tokens: int = 320
    max_query_tokens: int = 128
    long_texts: LongTextOptions = field(default_factory=LongTextOptions)
    batch_tokens: int = 65536
    clustered: bool = True
    clusters: int = 0
    group_tokens: int = 2600
    passage_share: float = 0.5
    long_share: float = 0.5
    mining: MiningOptions = field(default_factory=MiningOptions)
    processes: int = 0
    resident_gib: float = 40.0
    prefetch: int = 16

    def __post_init__(self) -> None:
        if not self.pools:
            raise InvalidArgument("pools is empty; name at least one JSON-lines file of texts")
        if not self.cache:
            raise InvalidArgument("cache is empty; name the folder that shall hold the tokenised pool")
        require("max_passage_tokens", self.max_passage_tokens, 3)
        require("max_query_tokens", self.max_query_tokens, 3)
        longest = max(self.max_passage_tokens, self.max_query_tokens, self.longest_joined)
        require("batch_tokens", self.batch_tokens, longest)
        require("clusters", self.clusters, 0)
        require("group_tokens", self.group_tokens, 1)
        require("passage_share", self.passage_share, 0, 1)
        require("long_share", self.long_share, 0, 1)
        require("processes", self.processes, 0)
        require("resident_gib", self.resident_gib, 0)
        require("prefetch", self.prefetch, 1)

    @property
    def longest_joined(self) -> int:
        """Tokens of the longest text made by joining; 0 where none is made."""
        return self.long_texts.max_tokens if self.long_texts.count else 0


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """A model whose vectors the student learns; several make an ensemble.

    Attributes
    ----------
    name : str
        Names its files in the cache; letters, digits, '.', '_' and '-'.
    kind : str
        "sentence-transformers" or "transformers" (a local folder), "taesr" (a model folder of this
        library) or "cached" (a .npy file of one row for each text of the pool).
    path : str
        The folder or the file.
    weight : float
        Its part in the joined vector.
    center : bool
        Subtract its mean over the pool first: for teachers whose vectors lie in a narrow cone.
    prompts : dict of str to str
        Put before a text: {"passage": ..., "query": ...}.
    max_tokens : int
        That the teacher reads of a text.
    batch_tokens : int
        That it reads at a time, padding included.
    sha256 : str, optional
        Of a cached file; checked when given.
    """

    name: str
    kind: TeacherKind
    path: str
    weight: float = 1.0
    center: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    max_tokens: int = 256
    batch_tokens: int = 131072
    sha256: str | None = None

    def __post_init__(self) -> None:
        plain = self.name.replace("-", "a").replace("_", "a").replace(".", "a")
        if not (plain.isascii() and plain.isalnum()) or self.name.startswith("."):
            raise InvalidArgument(f"name is {self.name!r}; allowed: letters, digits, '.', '_' and '-'")
        require_choice("kind", self.kind, ("sentence-transformers", "transformers", "taesr", "cached"))
        if not self.path:
            raise InvalidArgument("path is empty; name the teacher's folder or file")
        require("weight", self.weight, 0)
        require("max_tokens", self.max_tokens, 3)
        require("batch_tokens", self.batch_tokens, self.max_tokens)
        for role in self.prompts:
            require_choice("prompts", role, ("passage", "query"))


@dataclass(frozen=True, kw_only=True)
class SpaceOptions:
    """The space that the student learns: the teachers' joined vector, turned so that its slices are useful.

    Attributes
    ----------
    dimensions : int
        Of the student's vectors.
    method : str
        "learned": a linear map whose every slice orders neighbours as the whole vector does;
        "pca": the principal axes; "none": the joined vector as it is.
    path : str, optional
        A space.safetensors of an earlier run, so that this run's vectors stay comparable with it.
    slices : list of int
        Prefixes that the learned map serves; those of `model.matryoshka_dimensions` as a rule.
    steps, rows, lr, temperature
        Of the fit of the learned map: Adam steps, texts a step, step size, temperature of the rows.
    """

    dimensions: int = 384
    method: SpaceMethod = "learned"
    path: str | None = None
    slices: list[int] = field(default_factory=lambda: [64, 128, 256, 384])
    steps: int = 1200
    rows: int = 4096
    lr: float = 3e-4
    temperature: float = 0.05

    def __post_init__(self) -> None:
        require("dimensions", self.dimensions, 1)
        require_choice("method", self.method, ("learned", "pca", "none"))
        if not self.slices or any(not 1 <= size <= self.dimensions for size in self.slices):
            raise InvalidArgument(f"slices is {self.slices}; allowed: sizes of 1 to dimensions")
        require("steps", self.steps, 1)
        require("rows", self.rows, 2)
        require("lr", self.lr, 0)
        require("temperature", self.temperature, 1e-4)
