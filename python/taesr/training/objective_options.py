"""What the section objectives of a training configuration may say."""

from dataclasses import dataclass, field
from typing import Literal

from taesr.errors import InvalidArgument
from taesr.training.checks import require, require_choice, require_dims

BalanceMethod = Literal["loss_free", "loss", "none"]


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
