"""Token routing in training: what the recursions worked on, and the bias that holds it to a target."""

from collections.abc import Sequence

import torch

from taesr.nn import TAESRModel
from taesr.training.capacity import target_now
from taesr.training.distributed import World
from taesr.training.objective_options import TokenRoutingOptions
from taesr.training.sharding import local_part, split_like

_BIAS = "token_router.bias"


class RoutedTokens:
    """Tokens that the recursions of one step saw and worked on, in this process; all of it on the host."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.active: list[float] = []

    def add(self, active_share: Sequence[float], tokens: int) -> None:
        """Count a batch, by recursion run."""
        missing = [0.0] * (len(active_share) - len(self.seen))
        self.seen, self.active = self.seen + missing, self.active + missing
        for r, share in enumerate(active_share):
            self.seen[r] += tokens
            self.active[r] += share * tokens

    def clear(self) -> None:
        """Begin the next step."""
        self.seen, self.active = [], []


class TokenBalancer:
    """Moves the bias of token choice after each step (Wang et al. 2024, arXiv 2408.15664).

    bias += rate sign(target - observed share), by recursion, over the tokens of all processes and
    without a gradient. The bias then belongs to this rule and not to the optimiser; one that is frozen
    stays as it is. Models without token choice, and other ways to balance, are left alone.

    Parameters
    ----------
    model
        Before it is shared among processes.
    routed
        Counts of the step; cleared after each.
    options, world
        Of the run.
    """

    def __init__(
        self, model: TAESRModel, routed: RoutedTokens, options: TokenRoutingOptions, world: World
    ) -> None:
        self._model, self._routed, self._options, self._world = model, routed, options, world
        self._moves = False
        if model.config.token_routing == "token_choice" and options.balance == "loss_free":
            bias = model.get_parameter(_BIAS)
            self._moves = bias.requires_grad
            bias.requires_grad_(False)

    def step(self, done: float) -> dict[str, torch.Tensor]:
        """Move the bias; return figures for the log, of this process.

        Every process must call it, with the share `done` of the training of that step.
        """
        routed = self._routed
        if not routed.seen:
            return {}
        share = sum(routed.active) / sum(routed.seen)
        if self._moves:
            self._move(done)
        routed.clear()
        return {"active_share": torch.tensor(share, device=self._world.device)}

    @torch.no_grad()
    def _move(self, done: float) -> None:
        count = len(self._routed.seen)  # the same in all processes, which train the same depths
        totals = self._world.total([*self._routed.seen, *self._routed.active])
        target = target_now(self._options, self._model.config, done)
        observed = [active / seen for seen, active in zip(totals[:count], totals[count:], strict=True)]
        moves = torch.zeros(len(target))
        moves[:count] = (torch.tensor(target[:count]) - torch.tensor(observed)).sign()
        bias = self._model.get_parameter(_BIAS)
        local_part(bias.detach()).add_(local_part(split_like(self._options.rate * moves, bias)))
