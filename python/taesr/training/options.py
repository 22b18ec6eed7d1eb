"""What the sections data, teachers, space and objectives of a training configuration may say."""

import math
from dataclasses import dataclass, field
from typing import Literal

from taesr.errors import InvalidArgument

BalanceMethod = Literal["loss_free", "loss", "none"]
TeacherKind = Literal["sentence-transformers", "transformers", "taesr", "cached"]
SpaceMethod = Literal["learned", "pca", "none"]


def require(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse a number outside [low, high]; an error that names all three."""
    if not low <= value <= high:
        allowed = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
        raise InvalidArgument(f"{name} is {value:g}; allowed: {allowed}")


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not among the allowed ones."""
    if value not in allowed:
        raise InvalidArgument(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def require_dims(name: str, dims: dict[int, float] | None) -> None:
    """Refuse weights of slices that are empty, or that have a size below 1 or a negative weight."""
    if dims is None:
        return
    if not dims or any(size < 1 or not 0 <= weight < math.inf for size, weight in dims.items()):
        raise InvalidArgument(f"{name} is {dims}; allowed: sizes of at least 1 with weights of at least 0")


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


@dataclass(frozen=True, kw_only=True)
class CosineOptions:
    """1 - cos to the target; `dims` are weights of slices, None for the run's matryoshka_weights."""

    weight: float = 1.0
    dims: dict[int, float] | None = None

    def __post_init__(self) -> None:
        require("weight", self.weight, 0)
        require_dims("dims", self.dims)


@dataclass(frozen=True, kw_only=True)
class KLOptions:
    """Order within the batch: KL from the similarity rows of the teachers' whole vector to each slice's.

    Attributes
    ----------
    weight, dims
        As of the cosine.
    temperature : float
        Of both sides.
    passage_share, query_share : float
        Weights of the two sets of columns. They are kept apart so that the passages, which every
        search ranks, are not drowned by the many short texts.
    """

    weight: float = 1.5
    dims: dict[int, float] | None = None
    temperature: float = 0.05
    passage_share: float = 0.6
    query_share: float = 0.4

    def __post_init__(self) -> None:
        require("weight", self.weight, 0)
        require_dims("dims", self.dims)
        require("temperature", self.temperature, 1e-4)
        require("passage_share", self.passage_share, 0)
        require("query_share", self.query_share, 0)


@dataclass(frozen=True, kw_only=True)
class ContrastiveOptions:
    """InfoNCE over queries and their own passages, every other passage of the batch a negative.

    `ceiling`: a passage that the teachers place nearer to the query than this share of its own
    passage's similarity is taken for an unmarked answer and left out.
    """

    weight: float = 0.0
    dims: dict[int, float] | None = None
    temperature: float = 0.05
    ceiling: float = 0.95

    def __post_init__(self) -> None:
        require("weight", self.weight, 0)
        require_dims("dims", self.dims)
        require("temperature", self.temperature, 1e-4)
        require("ceiling", self.ceiling, 0, 1)


@dataclass(frozen=True, kw_only=True)
class SelfDistillationOptions:
    """Shallower exits to the deepest one of the step, which gets no gradient: cosine, and KL times `kl`."""

    weight: float = 0.0
    kl: float = 0.0
    dims: dict[int, float] | None = None
    temperature: float = 0.05

    def __post_init__(self) -> None:
        require("weight", self.weight, 0)
        require("kl", self.kl, 0)
        require_dims("dims", self.dims)
        require("temperature", self.temperature, 1e-4)


@dataclass(frozen=True, kw_only=True)
class LateOptions:
    """Late interaction: KL from the teachers' similarity rows to those of MaxSim, on a sample of the batch.

    Attributes
    ----------
    weight : float
    queries, passages : int
        Sampled of a batch, at most, in whole groups so that near ones are together.
    temperature, teacher_temperature : float
        Of the mean MaxSim over a query's tokens, and of the teachers' similarity.
    every_depth : bool
        All depths of the step, instead of the deepest only.
    tile_tokens : int
        Passage tokens compared at a time.
    begin : float
        Share of the training before which the head rests: it learns fastest from a trained encoder.
    """

    weight: float = 0.0
    queries: int = 192
    passages: int = 96
    temperature: float = 0.02
    teacher_temperature: float = 0.05
    every_depth: bool = False
    tile_tokens: int = 4096
    begin: float = 0.0

    def __post_init__(self) -> None:
        require("begin", self.begin, 0, 1)
        require("weight", self.weight, 0)
        require("queries", self.queries, 1)
        require("passages", self.passages, 2)
        require("temperature", self.temperature, 1e-4)
        require("teacher_temperature", self.teacher_temperature, 1e-4)
        require("tile_tokens", self.tile_tokens, 1)


@dataclass(frozen=True, kw_only=True)
class SparseOptions:
    """Learned sparse vectors: KL from the teachers' similarity rows, on a sample of the batch.

    Attributes
    ----------
    weight : float
        Of the KL of queries that go through the encoder.
    idf : float
        Of the KL of queries that do not: their tokens, each with its weight of the table sparse.idf.
    margin_mse : float
        Of the squared difference of margins between the best passage and the others.
    max_tokens : int
        Of the sample.
    temperature : float
        Divides the dot products of sparse vectors.
    teacher_temperature : float
    margin_scale : float
        A teacher's margin of 1 is a margin of this many points between sparse scores.
    flops_queries, flops_passages : float
        FLOPS regularisation: times the sum over pieces of the squared mean weight.
    begin : float
        Share of the training before which the head rests: it learns fastest from a trained encoder.
    ramp : float
        Share of the training, from `begin` on, in which the regularisation grows (quadratically) to its
        full weight.
    every_depth : bool
        All depths of the step, instead of the deepest only.
    """

    weight: float = 0.0
    idf: float = 0.5
    margin_mse: float = 0.0
    max_tokens: int = 12000
    temperature: float = 1.0
    teacher_temperature: float = 0.05
    margin_scale: float = 20.0
    flops_queries: float = 3e-3
    flops_passages: float = 3e-3
    begin: float = 0.0
    ramp: float = 0.3
    every_depth: bool = False

    def __post_init__(self) -> None:
        require("begin", self.begin, 0, 1)
        for name in ("weight", "idf", "margin_mse", "margin_scale", "flops_queries", "flops_passages"):
            require(name, getattr(self, name), 0)
        require("max_tokens", self.max_tokens, 64)
        require("temperature", self.temperature, 1e-4)
        require("teacher_temperature", self.teacher_temperature, 1e-4)
        require("ramp", self.ramp, 0, 1)


@dataclass(frozen=True, kw_only=True)
class TokenRoutingOptions:
    """How a model with token routing learns which tokens go on (arXiv 2507.10524).

    Attributes
    ----------
    warmup : float
        Share of the training in which the capacities fall from 1 to their values, along half a cosine.
    target : list of float
        Token choice: share of the tokens that recursion 1, 2, ... shall work on, never rising; the last
        value repeats. Empty: all, then falling in equal steps, 1, (R - 1) / R, ..., 1 / R. Expert choice
        has `token_capacity` of the model instead.
    balance : str
        What holds token choice to the target. "loss_free": after each step the bias of a recursion moves
        by `rate` towards it (arXiv 2408.15664); "loss": a balancing loss (arXiv 2101.03961) times
        `weight`; "none": nothing.
    rate, weight : float
    z_loss : float
        Times the mean squared score, which keeps scores small (arXiv 2202.08906).
    """

    warmup: float = 0.25
    target: list[float] = field(default_factory=list)
    balance: BalanceMethod = "loss_free"
    rate: float = 1e-3
    weight: float = 0.1
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        require("warmup", self.warmup, 0, 1)
        most = 1.0
        for share in self.target:
            require("target (never rising)", share, 1e-3, most)
            most = share
        require_choice("balance", self.balance, ("loss_free", "loss", "none"))
        require("rate", self.rate, 0, 1)
        require("weight", self.weight, 0)
        require("z_loss", self.z_loss, 0)


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions:
    """What is minimised; a part of weight 0 costs nothing."""

    cosine: CosineOptions = field(default_factory=CosineOptions)
    kl: KLOptions = field(default_factory=KLOptions)
    contrastive: ContrastiveOptions = field(default_factory=ContrastiveOptions)
    self_distillation: SelfDistillationOptions = field(default_factory=SelfDistillationOptions)
    late: LateOptions = field(default_factory=LateOptions)
    sparse: SparseOptions = field(default_factory=SparseOptions)
    token_routing: TokenRoutingOptions = field(default_factory=TokenRoutingOptions)

    def __post_init__(self) -> None:
        parts = (self.cosine, self.kl, self.contrastive, self.late, self.sparse)
        if not any(part.weight for part in parts):
            raise InvalidArgument("every weight is 0; give cosine, kl, contrastive, late or sparse a weight")
