"""What one training run does: the content of the file that `taesr train` reads.

Relative paths are taken from the working directory, as on the command line.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from taesr.config import TAESRConfig
from taesr.errors import Error, InvalidArgument
from taesr.training.capacity import check_routing
from taesr.training.checks import require, require_choice
from taesr.training.fields import from_dict, read_json, to_dict, with_value
from taesr.training.objective_options import ObjectiveOptions
from taesr.training.options import DataOptions, SpaceOptions, TeacherOptions


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Where the model comes from.

    Attributes
    ----------
    init : str, optional
        Model folder to start from; without one the weights are random.
    config : dict
        Fields of `taesr.TAESRConfig` to set, over those of `init`. Parts that `init` lacks (heads,
        router, subspaces) begin with random weights; a part of another shape is refused.
    tokenizer : str, optional
        tokenizer.model to use; without one that of `init`, or of the bundled model.
    fit_head : int
        Batches on which the dense head is first fitted by ridge regression to the target, at all
        depths at once; 0 for none. It saves the first steps from undoing the pretrained layers.
    """

    init: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    tokenizer: str | None = None
    fit_head: int = 0

    def __post_init__(self) -> None:
        require("fit_head", self.fit_head, 0)
        try:
            self.resolved()
        except Error as error:
            if isinstance(error, InvalidArgument):
                raise InvalidArgument(f"config: {error}") from None
            raise

    def resolved(self) -> TAESRConfig:
        """Shape of the model: that of `init`, with the fields of `config` over it."""
        base = {} if self.init is None else TAESRConfig.from_file(Path(self.init) / "config.json").to_dict()
        known = TAESRConfig.__dataclass_fields__
        for name in self.config:
            if name not in known:
                raise InvalidArgument(f"unknown field {name}; allowed: {', '.join(sorted(known))}")
        return TAESRConfig.from_json(json.dumps({**base, **self.config}), origin="model")


@dataclass(frozen=True, kw_only=True)
class DepthChoice:
    """Depths that one step trains together, and the share of the steps that do so."""

    depths: tuple[int, ...]
    share: float = 1.0

    def __post_init__(self) -> None:
        if not self.depths or len(set(self.depths)) < len(self.depths):
            raise InvalidArgument(
                f"depths is {list(self.depths)}; allowed: different recursions, at least one"
            )
        require("depths", min(self.depths), 1, 64)
        require("share", self.share, 0, 1)


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """How gradients become steps.

    Attributes
    ----------
    name : str
        "adamw", or "muon" for the matrices of the layers with AdamW for the rest (Jordan 2024).
    lr : float
        Highest step size. Muon's updates are scaled to AdamW's size, so one value serves both.
    muon_lr : float, optional
        Another highest step size for Muon's matrices.
    betas, eps, weight_decay
        Of AdamW; biases, norms and other vectors are not decayed.
    momentum : float
        Of Muon.
    clip : float, optional
        Longest gradient; None for any.
    """

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = 6e-4
    muon_lr: float | None = None
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.01
    momentum: float = 0.95
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        require_choice("name", self.name, ("adamw", "muon"))
        require("lr", self.lr, 0, 10)
        require("muon_lr", self.lr if self.muon_lr is None else self.muon_lr, 0, 10)
        for beta in self.betas:
            require("betas", beta, 0, 0.99999)
        require("eps", self.eps, 1e-20, 1)
        require("weight_decay", self.weight_decay, 0, 1)
        require("momentum", self.momentum, 0, 0.9999)
        require("clip", 1.0 if self.clip is None else self.clip, 1e-9)


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """How long to train, and the step size on the way.

    Attributes
    ----------
    kind : str
        "wsd": warm up, stay, fall linearly over the last share `decay` (arXiv 2404.06395);
        "linear": warm up, then fall linearly all the way.
    warmup : int
        Steps in which the step size grows from nothing.
    decay : float
        Share of the training in which "wsd" falls.
    final : float
        Step size at the end, as a share of the highest.
    steps, tokens, seconds
        Limits, at least one of them; the first one reached ends the training, and progress is
        measured by the one nearest to its end. Tokens are those of all processes. Seconds count
        training alone, without evaluations, checkpoints and preparation.
    """

    kind: Literal["wsd", "linear"] = "wsd"
    warmup: int = 100
    decay: float = 0.3
    final: float = 0.0
    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, ("wsd", "linear"))
        require("warmup", self.warmup, 0)
        require("decay", self.decay, 0, 1)
        require("final", self.final, 0, 1)
        limits = {"steps": self.steps, "tokens": self.tokens, "seconds": self.seconds}
        if all(limit is None for limit in limits.values()):
            raise InvalidArgument("no limit is set; give at least one of steps, tokens and seconds")
        for name, limit in limits.items():
            if limit is not None:
                require(name, limit, 1e-3 if name == "seconds" else 1)


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """What is kept to go on from.

    Attributes
    ----------
    every_steps, every_seconds
        How often a checkpoint is written; None for never. One is written at the end and when the
        run is stopped, whatever these say.
    keep_last, keep_best : int
        How many of the newest, and of those with the best evaluation, are kept.
    resume : str
        "auto": go on from the newest checkpoint in the output folder, or begin where there is
        none; "off": begin, and refuse an output folder that has checkpoints; or the path of one.
    """

    every_steps: int | None = None
    every_seconds: float | None = 600.0
    keep_last: int = 2
    keep_best: int = 1
    resume: str = "auto"

    def __post_init__(self) -> None:
        require_every(self.every_steps, self.every_seconds)
        require("keep_last", self.keep_last, 1)
        require("keep_best", self.keep_best, 0)
        if not self.resume:
            raise InvalidArgument("resume is empty; allowed: auto, off, or the path of a checkpoint")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Retrieval measured during the training, with the EMA weights where there are any.

    Attributes
    ----------
    sets : list of str
        Folders in BEIR layout.
    every_steps, every_seconds
        How often; None for never. With sets, the end of the training is always measured.
    depth : str, int or list of them
        Depths to measure; the mean nDCG@10 of the first one says which checkpoints are best.
    dims : list of int
        Slices to measure; all values by default.
    max_tokens : int, optional
        Read of a text; as many as fit one pass by default.
    batch_tokens : int
        Encoded at a time.
    """

    sets: list[str] = field(default_factory=list)
    every_steps: int | None = None
    every_seconds: float | None = None
    depth: str | int | list[str | int] = "hard"
    dims: list[int] = field(default_factory=list)
    max_tokens: int | None = None
    batch_tokens: int = 65536

    def __post_init__(self) -> None:
        require_every(self.every_steps, self.every_seconds)
        if isinstance(self.depth, list) and not self.depth:
            raise InvalidArgument("depth is empty; name at least one depth")
        require("dims", min(self.dims, default=1), 1)
        require("max_tokens", 3 if self.max_tokens is None else self.max_tokens, 3)
        require("batch_tokens", self.batch_tokens, 3)

    @property
    def depths(self) -> list[str | int]:
        """The depths as a list."""
        return self.depth if isinstance(self.depth, list) else [self.depth]


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """Where progress is written.

    Attributes
    ----------
    jsonl : str
        JSON-lines file in the output folder.
    every : int
        Steps between two rows.
    wandb : str
        "off", "offline" (files in the output folder, no network) or "online".
    project, name
        Of the run in Weights & Biases.
    """

    jsonl: str = "log.jsonl"
    every: int = 50
    wandb: Literal["off", "offline", "online"] = "off"
    project: str = "taesr"
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.jsonl or Path(self.jsonl).name != self.jsonl:
            raise InvalidArgument(f"jsonl is {self.jsonl!r}; allowed: the name of a file, without folders")
        require("every", self.every, 1)
        require_choice("wandb", self.wandb, ("off", "offline", "online"))


@dataclass(frozen=True, kw_only=True)
class DistributedOptions:
    """How several processes share the work: "ddp", "fsdp2", or "auto" for "ddp" under torchrun."""

    strategy: Literal["auto", "ddp", "fsdp2"] = "auto"

    def __post_init__(self) -> None:
        require_choice("strategy", self.strategy, ("auto", "ddp", "fsdp2"))


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The model folder that comes out.

    Attributes
    ----------
    weights : str
        "float32" or "float16".
    token_table : str
        "float" as the other weights, or "int8" with a scale a row.
    """

    weights: Literal["float32", "float16"] = "float16"
    token_table: Literal["float", "int8"] = "float"

    def __post_init__(self) -> None:
        require_choice("weights", self.weights, ("float32", "float16"))
        require_choice("token_table", self.token_table, ("float", "int8"))


class ConfigFile:
    """A configuration dataclass that is read from a JSON file."""

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Config of a JSON object; raises InvalidArgument with the field's dotted path and value."""
        return from_dict(cls, document)

    @classmethod
    def from_file(cls, path: str | Path, *, overrides: dict[str, str] | None = None) -> Self:
        """Config of a JSON file, with fields replaced as by `override` before anything is checked.

        Raises IoError, FormatError or InvalidArgument that names the file and the field.
        """
        document = read_json(path)
        try:
            for name, text in (overrides or {}).items():
                document = with_value(document, name, parsed(text))
            return cls.from_dict(document)
        except InvalidArgument as error:
            raise InvalidArgument(f"{path}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, JSON types only; `from_dict` reads it back."""
        document: dict[str, Any] = to_dict(self)
        return document

    def override(self, path: str, text: str) -> Self:
        """Copy with the field at a dotted path set to `text`: JSON, or a string that needs no quotes.

        >>> config.override("optimizer.lr", "3e-4").optimizer.lr  # doctest: +SKIP
        0.0003
        """
        return self.from_dict(with_value(self.to_dict(), path, parsed(text)))


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ConfigFile):
    """One training run.

    Attributes
    ----------
    output : str
        Folder for checkpoints, the log and the model.
    data : DataOptions
        The pool of texts and what a batch holds.
    seed : int
    device : str
        "auto" for CUDA where there is one, "cpu", "cuda".
    teachers : list of TeacherOptions
    space : SpaceOptions
        The space that the teachers' vectors are turned into, the student's target.
    depths : list of DepthChoice
        A step draws one of them.
    depth_weights, matryoshka_weights : dict
        Weight of a depth, and of a slice, in every objective; by default all depths count the same
        and slices as in the model's `matryoshka_dimensions`, equally.
    precision : str
        Arithmetic of the layers; parameters, norms, softmax and losses are float32 in any case.
    accumulate : int
        Batches of one optimiser step. All of them train the same depths.
    checkpoint_layers : bool
        Compute layers again in the backward pass instead of keeping their activations.
    ema : float
        Decay of the moving average of the weights, which is what is measured and exported; 0: none.
    freeze : list of str
        Parameters whose names begin with one of these are left as they are.
    """

    output: str
    data: DataOptions
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    model: ModelOptions = field(default_factory=ModelOptions)
    teachers: list[TeacherOptions] = field(default_factory=list)
    space: SpaceOptions = field(default_factory=SpaceOptions)
    objectives: ObjectiveOptions = field(default_factory=ObjectiveOptions)
    depths: list[DepthChoice] = field(default_factory=lambda: [DepthChoice(depths=(1, 3, 6))])
    depth_weights: dict[int, float] = field(default_factory=dict)
    matryoshka_weights: dict[int, float] = field(default_factory=dict)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    schedule: ScheduleOptions
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    accumulate: int = 1
    checkpoint_layers: bool = False
    ema: float = 0.999
    checkpoints: CheckpointOptions = field(default_factory=CheckpointOptions)
    evaluate: EvaluateOptions = field(default_factory=EvaluateOptions)
    log: LogOptions = field(default_factory=LogOptions)
    distributed: DistributedOptions = field(default_factory=DistributedOptions)
    export: ExportOptions = field(default_factory=ExportOptions)
    freeze: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.output:
            raise InvalidArgument("output is empty; name the folder of the run")
        require("seed", self.seed, 0, 2**32 - 1)
        require_choice("device", self.device, ("auto", "cpu", "cuda"))
        require_choice("precision", self.precision, ("bf16", "fp16", "fp32"))
        require("accumulate", self.accumulate, 1)
        require("ema", self.ema, 0, 0.999999)
        for name, weights in (
            ("depth_weights", self.depth_weights),
            ("matryoshka_weights", self.matryoshka_weights),
        ):
            for key, weight in weights.items():
                require(f"{name}.{key}", weight, 0)
        if not math.fsum(choice.share for choice in self.depths):
            raise InvalidArgument("depths has no choice with a share above 0")
        self._check_against_model(self.model.resolved())

    def _check_against_model(self, model: TAESRConfig) -> None:
        """Refuse what contradicts the model, before hours of work depend on it."""
        most = max(model.recursion_steps.values())
        for i, choice in enumerate(self.depths):
            if max(choice.depths) > most:
                raise InvalidArgument(
                    f"depths.{i}.depths is {list(choice.depths)}; the model has {most} recursions"
                )
        for dim in (*self.matryoshka_weights, *self.evaluate.dims):
            if dim > model.embedding_size:
                raise InvalidArgument(
                    f"slice {dim} is longer than the model's embedding, {model.embedding_size}"
                )
        for depth in self.evaluate.depths:
            model.recursions(depth)
        check_routing(self.objectives.token_routing, model)

    @property
    def slice_weights(self) -> dict[int, float]:
        """Weights of the slices; those of the model's `matryoshka_dimensions`, equal, where none are set."""
        dims = self.model.resolved().matryoshka_dimensions
        return self.matryoshka_weights or {dim: 1 / len(dims) for dim in dims}

    @property
    def weights_of_depths(self) -> dict[int, float]:
        """Weight of every depth that a step may train; 1 where none is set."""
        depths = sorted({depth for choice in self.depths for depth in choice.depths})
        return {depth: self.depth_weights.get(depth, 1.0) for depth in depths}


def require_every(steps: int | None, seconds: float | None) -> None:
    """Check how often something is done."""
    require("every_steps", 1 if steps is None else steps, 1)
    require("every_seconds", 1 if seconds is None else seconds, 0.1)


def parsed(text: str) -> Any:
    """Value of KEY=VALUE: JSON, or a string that needs no quotes."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
