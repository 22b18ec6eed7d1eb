"""How many of the tokens the recursions of a model with token routing shall work on."""

import math
from collections.abc import Sequence

from taesr.config import TAESRConfig
from taesr.errors import InvalidArgument
from taesr.training.objective_options import TokenRoutingOptions


def capacity_now(options: TokenRoutingOptions, config: TAESRConfig, done: float) -> list[float] | None:
    """Return expert choice's capacities when a share `done` of the training is; None for other models."""
    if config.token_routing != "expert_choice":
        return None
    return _warmed(config.token_capacity, options.warmup, done)


def target_now(options: TokenRoutingOptions, config: TAESRConfig, done: float) -> list[float]:
    """Return the target of token choice for every recursion, when a share `done` of the training is."""
    most = max(config.recursion_steps.values())
    shares = options.target or [(most - r) / most for r in range(most)]
    return _warmed([*shares, *[shares[-1]] * (most - len(shares))], options.warmup, done)


def check_routing(options: TokenRoutingOptions, config: TAESRConfig) -> None:
    """Refuse options that the model has no use for."""
    where = "objectives.token_routing"
    if options.target and config.token_routing != "token_choice":
        remedy = "; set model.config.token_capacity" if config.token_routing == "expert_choice" else ""
        raise InvalidArgument(
            f"{where}.target is {options.target}, and the model's token_routing '{config.token_routing}'; "
            f"allowed: with 'token_choice'{remedy}"
        )
    most = max(config.recursion_steps.values())
    if len(options.target) > most:
        raise InvalidArgument(f"{where}.target has {len(options.target)} values; allowed: 0 to {most}")
    if options.z_loss and config.token_routing == "none":
        raise InvalidArgument(f"{where}.z_loss is {options.z_loss:g}, and the model has no token routing")


def _warmed(shares: Sequence[float], warmup: float, done: float) -> list[float]:
    """Shares on their way from 1 down to themselves."""
    above = 0.5 * (1 + math.cos(math.pi * min(1.0, done / warmup))) if warmup else 0.0
    return [min(1.0, share + (1 - share) * above) for share in shares]
