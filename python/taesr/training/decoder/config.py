"""What one training of a decoder does: the content of the file that `taesr train-decoder` reads.

Relative paths are taken from the working directory, as on the command line.
"""

from dataclasses import dataclass, field
from typing import Literal

from taesr.errors import InvalidArgument
from taesr.training.checks import require, require_choice
from taesr.training.config import (
    CheckpointOptions,
    ConfigFile,
    LogOptions,
    OptimizerOptions,
    ScheduleOptions,
    require_every,
)

Sharing = Literal["none", "cycle", "sequence", "middle_cycle", "middle_sequence"]
Routing = Literal["none", "expert_choice", "token_choice"]
Weights = Literal["float32", "float16", "bfloat16"]
_SHARINGS = ("none", "cycle", "sequence", "middle_cycle", "middle_sequence")
_ROUTINGS = ("none", "expert_choice", "token_choice")
_INITIALISATIONS = ("stepwise", "average", "lower", "upper")


@dataclass(frozen=True, kw_only=True)
class DecoderShapeOptions:
    """A Llama-style model with random weights.

    Attributes
    ----------
    hidden_size : int
    layers : int
        That a token passes at most; with shared layers fewer are stored.
    heads : int
    kv_heads : int, optional
        Heads of keys and values; by default as many as `heads`.
    head_dim : int, optional
        By default hidden_size / heads.
    intermediate_size : int, optional
        Inner size of the feed-forward networks; by default 8/3 of hidden_size, up to a multiple of 64.
    vocab_size : int, optional
        By default that of `data.tokenizer`.
    max_positions : int
    rope_theta, norm_eps : float
    tied_embeddings : bool
        The token table makes the scores of the next token too.
    """

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int | None = None
    vocab_size: int | None = None
    max_positions: int = 2048
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5
    tied_embeddings: bool = True

    def __post_init__(self) -> None:
        for name in ("hidden_size", "layers", "heads", "max_positions"):
            require(name, getattr(self, name), 1)
        for name in ("kv_heads", "head_dim", "intermediate_size", "vocab_size"):
            value = getattr(self, name)
            require(name, 1 if value is None else value, 1)
        if self.head_dim is None and self.hidden_size % self.heads:
            raise InvalidArgument(
                f"heads is {self.heads}; allowed: divisors of hidden_size, {self.hidden_size}, or any with "
                "head_dim"
            )
        if self.heads % (self.kv_heads or self.heads):
            raise InvalidArgument(f"kv_heads is {self.kv_heads}; allowed: divisors of heads, {self.heads}")
        require("rope_theta", self.rope_theta, 0, without_low=True)
        require("norm_eps", self.norm_eps, 0, 1, without_low=True)


@dataclass(frozen=True, kw_only=True)
class DecoderModelOptions:
    """Where the model comes from, and its shape.

    Attributes
    ----------
    init : str, optional
        GGUF file, or folder with config.json and model.safetensors, to start from.
    shape : DecoderShapeOptions, optional
        Instead of `init`: train from scratch.
    sharing : str, optional
        Which layers become one; None: as in `init`, or none. A model that shares layers already stays as
        it is.
    recursions : int
        How often the shared layers are passed, from 2; for a model that begins to share layers.
    layers : int, optional
        Layers of `init` that a token passes at most; by default as many as the recursions can share
        evenly. For a model from scratch `shape` says it.
    initialisation : str
        What shared layers of `init` begin as: "stepwise", "average", "lower" or "upper"
        (`taesr.nn.shared_weights`).
    routing : str, optional
        Who decides which tokens pass a further recursion; None: as in `init`. Routers that `init` lacks
        begin as zeros, which leave the model as it is.
    gate : str
        Of new routers: "preserving" leaves the model as it is at first, "scaled" is the paper's, for training
        from scratch.
    gate_scale : float
        Of "scaled".
    shared_keys : bool
        Later recursions read the keys and values of the first, as kv_caching "shared" does.
    """

    init: str | None = None
    shape: DecoderShapeOptions | None = None
    sharing: Sharing | None = None
    recursions: int = 2
    layers: int | None = None
    initialisation: Literal["stepwise", "average", "lower", "upper"] = "stepwise"
    routing: Routing | None = None
    gate: Literal["preserving", "scaled"] = "preserving"
    gate_scale: float = 0.1
    shared_keys: bool = False

    def __post_init__(self) -> None:
        if not self.init and self.shape is None:
            raise InvalidArgument("init is missing; name a GGUF file or a model folder, or give shape")
        if self.init is not None and self.shape is not None:
            raise InvalidArgument("init and shape are both set; leave one of them out")
        if self.layers is not None and self.shape is not None:
            raise InvalidArgument("layers is for init; set shape.layers")
        require_choice("sharing", self.sharing or "none", _SHARINGS)
        require("recursions", self.recursions, 2, 64)
        require("layers", 1 if self.layers is None else self.layers, 1)
        require_choice("initialisation", self.initialisation, _INITIALISATIONS)
        require_choice("routing", self.routing or "none", _ROUTINGS)
        require_choice("gate", self.gate, ("preserving", "scaled"))
        require("gate_scale", self.gate_scale, 0, 10, without_low=True)


@dataclass(frozen=True, kw_only=True)
class DecoderDataOptions:
    """Texts to train on, and what a batch holds.

    Attributes
    ----------
    kind : str
        "text": every token is learnt; "chat": conversations, of which the answers are learnt.
    sources : list of str
        "text": JSON lines of {"text"} with a "document" that groups them if you like, or plain text with a
        blank line between documents; "chat": JSON lines of {"messages": [{"role", "content"}, ...]}. Plain,
        .gz or .xz. Empty: `cache` is taken as it is, made on another machine.
    cache : str
        Folder for the token ids, made once.
    tokenizer : str, optional
        GGUF file to take the tokenizer from; by default `model.init`, where it is one.
    sequence_length : int
        Tokens of a row. Texts are laid end to end and cut; conversations stay whole.
    batch_sequences : int
        Rows of a batch of one process.
    attention : str
        Whom tokens see of the texts in their row: "row", those before, as pretraining does, or "document",
        those of their own text. By default "row" for texts and "document" for conversations.
    held_out : float
        Share of the documents that are measured and never trained on, chosen by a hash of their
        content, or of "document" where a record has it.
    held_out_sources : list of str
        Further files, all of which are held out.
    threads : int
        That tokenise; 0 for one a core.
    """

    cache: str
    kind: Literal["text", "chat"] = "text"
    sources: list[str] = field(default_factory=list)
    tokenizer: str | None = None
    sequence_length: int = 1024
    batch_sequences: int = 16
    attention: Literal["row", "document"] | None = None
    held_out: float = 0.01
    held_out_sources: list[str] = field(default_factory=list)
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.cache:
            raise InvalidArgument("cache is empty; name a folder")
        require_choice("kind", self.kind, ("text", "chat"))
        require("sequence_length", self.sequence_length, 2)
        require("batch_sequences", self.batch_sequences, 1)
        require("held_out", self.held_out, 0, 0.5)
        if self.held_out_sources and not self.sources:
            raise InvalidArgument("held_out_sources are named and sources is empty; name what to train on")
        require("threads", self.threads, 0, 1024)

    @property
    def apart(self) -> bool:
        """Whether tokens see those of their own text only."""
        return (self.attention or ("document" if self.kind == "chat" else "row")) == "document"


@dataclass(frozen=True, kw_only=True)
class DecoderTeacherOptions:
    """A model of the same vocabulary whose next tokens are learnt, not only the text's.

    Attributes
    ----------
    path : str
        GGUF file or model folder without shared layers; it is not trained.
    weight : float
        Of the Kullback-Leibler divergence from the teacher's distribution.
    temperature : float
        Of both distributions; the loss is multiplied by its square, so that gradients keep their size.
    """

    path: str
    weight: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.path:
            raise InvalidArgument("path is empty; name a GGUF file or a model folder")
        require("weight", self.weight, 0)
        require("temperature", self.temperature, 0.1, 100)


@dataclass(frozen=True, kw_only=True)
class DecoderLossOptions:
    """What is minimised.

    Attributes
    ----------
    cross_entropy : float
        Weight of the cross-entropy of the text's own next tokens.
    teacher : DecoderTeacherOptions, optional
    layers_until : float
        Share of the training that is spent on the layers one by one: each learns to give what the
        teacher's layers in its place give, from what these get. No error of an earlier layer
        reaches a later one then, so that a model whose layers have just been shared recovers soon.
    chunk_tokens : int
        Tokens whose scores of the whole vocabulary exist at a time.
    """

    cross_entropy: float = 1.0
    teacher: DecoderTeacherOptions | None = None
    layers_until: float = 0.0
    chunk_tokens: int = 4096

    def __post_init__(self) -> None:
        require("cross_entropy", self.cross_entropy, 0)
        require("layers_until", self.layers_until, 0, 1)
        if self.layers_until and self.teacher is None:
            raise InvalidArgument(f"layers_until is {self.layers_until:g} and there is no teacher; name one")
        require("chunk_tokens", self.chunk_tokens, 1)
        if not self.cross_entropy and (self.teacher is None or not self.teacher.weight):
            raise InvalidArgument("cross_entropy is 0 and there is no teacher; nothing would be learnt")


@dataclass(frozen=True, kw_only=True)
class DecoderRoutingOptions:
    """How routers learn (Bae et al. 2025, arXiv 2507.10524); without routers nothing of it is used.

    Attributes
    ----------
    capacity : list of float
        Expert choice: share of the tokens that every recursion takes; by default 1, (n - 1) / n, ... 1 / n.
    warmup : float
        Share of the training in which capacities fall from 1 to these, after `losses.layers_until`.
    step_tokens : int
        Tokens of a row by which capacities fall at a time, so that only few sizes of batches occur.
    auxiliary : float
        Expert choice: weight of the loss that teaches scores to tell by their sign who is chosen, which
        is what generation goes by. The paper's 0.001 belongs to its small gates.
    z_loss : float
        Weight of the loss that keeps scores small.
    balancing : float
        Token choice: weight of the loss for choosing all depths alike.
    bias_rate : float
        Token choice: step of the biases that balance depths without a loss; 0 for none.
    """

    capacity: list[float] = field(default_factory=list)
    warmup: float = 0.25
    step_tokens: int = 64
    auxiliary: float = 0.1
    z_loss: float = 0.0
    balancing: float = 0.0
    bias_rate: float = 0.0

    def __post_init__(self) -> None:
        for i, share in enumerate(self.capacity):
            require(f"capacity.{i}", share, 0, 1, without_low=True)
        require("warmup", self.warmup, 0, 1)
        require("step_tokens", self.step_tokens, 1)
        for name in ("auxiliary", "z_loss", "balancing", "bias_rate"):
            require(name, getattr(self, name), 0)


@dataclass(frozen=True, kw_only=True)
class DecoderEvaluateOptions:
    """The loss on held-out texts, of the model as it generates and of the teacher.

    Attributes
    ----------
    every_steps, every_seconds
        How often; None for never. Where texts are held out, the end of the training is always measured.
    sequences : int, optional
        Rows to measure; all by default.
    """

    every_steps: int | None = None
    every_seconds: float | None = None
    sequences: int | None = None

    def __post_init__(self) -> None:
        require_every(self.every_steps, self.every_seconds)
        require("sequences", 1 if self.sequences is None else self.sequences, 1)


@dataclass(frozen=True, kw_only=True)
class DecoderExportOptions:
    """The model folder that comes out.

    Attributes
    ----------
    weights : str
        "float32", "float16" or "bfloat16".
    """

    weights: Weights = "float16"

    def __post_init__(self) -> None:
        require_choice("weights", self.weights, ("float32", "float16", "bfloat16"))


@dataclass(frozen=True, kw_only=True)
class DecoderTrainConfig(ConfigFile):
    """One training of a decoder.

    Attributes
    ----------
    output : str
        Folder for checkpoints, the log and the model.
    seed : int
    device : str
        "auto" for CUDA where there is one, "cpu", "cuda".
    unshared_lr : float
        Step size of what is passed once (the ends, the token table, the last norm), as a share of the
        others'. It is what up-training must change least; from scratch take 1.
    precision : str
        Arithmetic of the layers; parameters, the residual stream, norms and losses are float32.
    accumulate : int
        Batches of one optimiser step.
    compile : bool
        Let torch.compile fuse the layers' operations and the loss's; it takes a minute at first.
    ema : float
        Decay of the moving average of the weights, which is what is measured and exported; 0: none.
    freeze : list of str
        Parameters whose names begin with one of these are left as they are.
    """

    output: str
    model: DecoderModelOptions
    data: DecoderDataOptions
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    losses: DecoderLossOptions = field(default_factory=DecoderLossOptions)
    routing: DecoderRoutingOptions = field(default_factory=DecoderRoutingOptions)
    optimizer: OptimizerOptions = field(default_factory=lambda: OptimizerOptions(lr=1e-3, betas=(0.9, 0.95)))
    unshared_lr: float = 0.3
    schedule: ScheduleOptions
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    accumulate: int = 1
    compile: bool = False
    ema: float = 0.999
    checkpoints: CheckpointOptions = field(default_factory=CheckpointOptions)
    evaluate: DecoderEvaluateOptions = field(default_factory=DecoderEvaluateOptions)
    log: LogOptions = field(default_factory=LogOptions)
    export: DecoderExportOptions = field(default_factory=DecoderExportOptions)
    freeze: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.output:
            raise InvalidArgument("output is empty; name the folder of the run")
        require("seed", self.seed, 0, 2**32 - 1)
        require_choice("device", self.device, ("auto", "cpu", "cuda"))
        require("unshared_lr", self.unshared_lr, 0, 100)
        require_choice("precision", self.precision, ("bf16", "fp16", "fp32"))
        require("accumulate", self.accumulate, 1)
        require("ema", self.ema, 0, 0.999999)
