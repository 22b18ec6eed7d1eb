"""The decoder's training loop."""

from pathlib import Path

import torch
import torch.distributed as dist

from taesr.errors import InvalidArgument
from taesr.nn import RecursiveDecoder
from taesr.nn.token_routing import balance_bias
from taesr.training.decoder.config import DecoderTrainConfig
from taesr.training.decoder.held_out import HeldOut, HeldOutLoss
from taesr.training.decoder.rows import BatchPlanner
from taesr.training.decoder.start import check_teacher, loaded, read_model, start_model
from taesr.training.decoder.step import DecoderStep, capacity_now
from taesr.training.decoder.tokens import TokenCache, prepare_tokens
from taesr.training.distributed import World, accumulating, share_work
from taesr.training.export import replace_folder
from taesr.training.log import Say
from taesr.training.optim import Optimizers
from taesr.training.precision import Precision
from taesr.training.run import Report, Run, TrainResult
from taesr.training.run_state import RunState
from taesr.training.schedule import share_done, step_size

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def train_decoder(
    config: DecoderTrainConfig, *, say: Say | None = None, report: Report | None = None
) -> TrainResult:
    """Train a decoder; called in every process that torchrun starts, it is one training.

    Parameters
    ----------
    config : DecoderTrainConfig
    say : callable, optional
        Gets lines for people.
    report : callable, optional
        Gets the progress of the preparation: what is being done, how much of it, of how much.

    Returns
    -------
    TrainResult
        Its `evaluation` is a `HeldOutLoss`.

    Raises
    ------
    InvalidArgument, IoError, FormatError
        What cannot be trained on, with its remedy.
    Error
        The training diverged.
    """
    with World.join(config.device) as world, DecoderTrainer(config, world, say=say, report=report) as trainer:
        return trainer.run()


class DecoderTrainer(Run[DecoderTrainConfig, RunState]):
    """One run of a decoder."""

    def __init__(
        self,
        config: DecoderTrainConfig,
        world: World,
        *,
        say: Say | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(config, world, say=say)
        self.model = start_model(config.model, config.data.tokenizer)
        _check_routing(config, self.model)
        self._open_log()
        cache = self._tokens(report)
        self.model.to(world.device)
        precision = Precision(config.precision, config.optimizer.clip, world.device)
        self._teacher = self._open_teacher()
        self._held_out = HeldOut(cache, config, world)
        self._step_module = DecoderStep(self.model, self._teacher, config, precision.dtype)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not any(name.startswith(prefix) for prefix in config.freeze))
        self._planner = BatchPlanner(
            cache, config.data, seed=config.seed, rank=world.rank, world=world.size, device=world.device
        )
        state = RunState(
            weights=self.model,
            module=share_work(self._step_module, world, "auto"),
            precision=precision,
            optimizers=Optimizers(self.model.named_parameters(), config.optimizer, scale=self._scale_of_step),
            ema=config.ema,
            place=self._planner,
        )
        self._begin(state)

    def _step(self) -> int:
        state, config = self.state, self.config
        done = share_done(self.progress, config.schedule)
        alone = done < config.losses.layers_until
        tokens = 0
        for part in range(config.accumulate):
            batch = self._planner.next()
            with accumulating(state.module, last=part == config.accumulate - 1):
                losses: dict[str, torch.Tensor] = state.module(
                    batch, self._capacity(done - config.losses.layers_until), layers_alone=alone
                )
                state.precision.backward(losses["loss"] / config.accumulate)
            self._reporter.meter.add(losses)
            tokens += batch.tokens
        self._share = step_size(self.progress, config.schedule)
        norm = state.precision.step(state.optimizers, self._share)
        self._reporter.meter.add({"gradient_norm": norm, **self._passing()})
        self._balance()
        self.progress.step += 1
        if state.ema is not None:
            state.ema.update(self.progress.step)
        return tokens

    @property
    def _epoch(self) -> int:
        return self._planner.epoch

    @property
    def _measures(self) -> bool:
        return self._held_out.rows > 0

    def _evaluate(self) -> HeldOutLoss:
        return self._held_out.measure(self._best_model(), self._teacher, self.state.precision.dtype)

    def _write_model(self, folder: Path) -> None:
        model = self._best_model()
        if self.world.leads:
            dtype = _DTYPES[self.config.export.weights]
            replace_folder(folder, lambda into: model.save(into, dtype))

    def _best_model(self) -> RecursiveDecoder:
        return loaded(self.model.config, self.state.best_weights())

    def _capacity(self, done: float) -> list[float] | None:
        shape, data = self.model.config, self.config.data
        if shape.routing != "expert_choice":
            return None
        return capacity_now(self.config.routing, shape.recursions, data.sequence_length, done)

    def _passing(self) -> dict[str, torch.Tensor]:
        """Share of the tokens that pass each recursion but the first, by what their scores say."""
        figures = {}
        for r, step in enumerate(self._step_module.routed[1:], start=2):
            by_score = step.selected if step.choices is not None else step.candidates & (step.scores >= 0)
            figures[f"passing_{r}"] = by_score.float().mean()
        return figures

    def _balance(self) -> None:
        rate = self.config.routing.bias_rate
        if not rate:
            return
        bias = self.model.state_dict()["model.router.bias"]
        balance_bias(bias, self._step_module.routed, rate)
        if self.world.size > 1:
            dist.all_reduce(bias)
            bias /= self.world.size

    def _scale_of_step(self, name: str) -> float:
        """Step sizes of what is passed once are smaller."""
        shape = self.model.config
        if shape.sharing == "none" or name.startswith("model.router"):
            return 1.0
        if name.startswith("model.layers."):
            layer = int(name.split(".")[2])
            if shape.end_layers <= layer < shape.unique_layers - shape.end_layers:
                return 1.0
        return self.config.unshared_lr

    def _tokens(self, report: Report | None) -> TokenCache:
        """Make the cache in one process; the others find it made."""
        data = self.config.data
        init = self.config.model.init
        gguf = None if init is None or Path(init).is_dir() else init
        with self.world.leader_first():
            cache = prepare_tokens(data, data.tokenizer or gguf, report=report if self.world.leads else None)
        shape = self.model.config
        if cache.largest >= shape.vocab_size:
            raise InvalidArgument(
                f"the cache {data.cache} has the token {cache.largest}; the model has {shape.vocab_size}"
            )
        if data.sequence_length > shape.max_positions:
            raise InvalidArgument(
                f"data.sequence_length is {data.sequence_length}; allowed: 2 to {shape.max_positions}"
            )
        return cache

    def _open_teacher(self) -> RecursiveDecoder | None:
        options = self.config.losses.teacher
        if options is None:
            return None
        shape, weights = read_model(options.path)
        check_teacher(shape, self.model.config)
        return loaded(shape, weights).requires_grad_(False).to(self.world.device)


def _check_routing(config: DecoderTrainConfig, model: RecursiveDecoder) -> None:
    """Refuse options that the model has no use for."""
    shape, options = model.config, config.routing
    if options.capacity and (shape.routing != "expert_choice" or len(options.capacity) != shape.recursions):
        raise InvalidArgument(
            f"routing.capacity has {len(options.capacity)} values; allowed: none, or with expert_choice one "
            f"for each recursion (the model has routing {shape.routing} and {shape.recursions} recursions)"
        )
    if (options.balancing or options.bias_rate) and shape.routing != "token_choice":
        raise InvalidArgument(
            f"routing.balancing and routing.bias_rate are for token_choice; the model's routing is "
            f"{shape.routing}"
        )
