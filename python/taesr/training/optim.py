"""Optimisers: AdamW with decay for matrices only, and Muon for the layers' matrices."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from taesr.training.config import OptimizerOptions
from taesr.training.sharding import joined_like, local_part, split_like, whole

_LAYERS = ("entry.", "shared.", "refinement.", "exit.", "model.layers.")  # encoder; decoder


class Optimizers:
    """The optimisers of one run, stepped together.

    Parameters
    ----------
    named_parameters
        Those that are trained; the names say which group each belongs to.
    options
        Of the run.
    scale
        Gives a parameter's step size, by its name, as a share of that in `options`.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        options: OptimizerOptions,
        *,
        scale: Callable[[str], float] = lambda name: 1.0,
    ) -> None:
        named = {name: p for name, p in named_parameters if p.requires_grad}
        self.parameters = list(named.values())
        self._names = {id(p): name for name, p in named.items()}
        muon = {name: p for name, p in named.items() if options.name == "muon" and _is_layer_matrix(name, p)}
        rest = {name: p for name, p in named.items() if name not in muon}
        self._all: dict[str, torch.optim.Optimizer] = {}
        if rest:
            self._all["adamw"] = torch.optim.AdamW(
                [
                    {**group, "lr": options.lr * share}
                    for share, parameters in _by_scale(rest, scale)
                    for group in decay_groups(parameters, options.weight_decay)
                ],
                lr=options.lr,
                betas=options.betas,
                eps=options.eps,
                fused=True,
            )
        if muon:
            lr = options.lr if options.muon_lr is None else options.muon_lr
            self._all["muon"] = Muon(
                [{"params": parts, "lr": lr * share} for share, parts in _by_scale(muon, scale)],
                lr=lr,
                momentum=options.momentum,
                weight_decay=options.weight_decay,
            )
        for optimizer in self._all.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]

    def __iter__(self) -> Iterator[torch.optim.Optimizer]:
        return iter(self._all.values())

    @torch.no_grad()
    def step(self, share: float, skip: torch.Tensor) -> None:
        """Take one step of `share` of the highest step size.

        Where `skip`, a float scalar on the device, is 1, nothing changes; it is never read by the
        host, which would have to wait for the device.
        """
        for optimizer in self._all.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share
            optimizer.found_inf = skip  # type: ignore[attr-defined]  # as GradScaler tells fused optimisers
            optimizer.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, dict[str, dict[str, torch.Tensor]]]:
        """Whole state on the CPU: optimiser, parameter name, quantity; every process must call it."""
        return {
            kind: {
                self._names[id(parameter)]: {
                    key: whole(value).detach().cpu().clone() for key, value in values.items()
                }
                for parameter, values in optimizer.state.items()
            }
            for kind, optimizer in self._all.items()
        }

    def load_state(self, state: dict[str, dict[str, dict[str, torch.Tensor]]]) -> None:
        """Take over what `state` returned, also from a run with another number of processes."""
        by_name = {self._names[id(p)]: p for p in self.parameters}
        for kind, optimizer in self._all.items():
            for name, values in state.get(kind, {}).items():
                parameter = by_name[name]
                optimizer.state[parameter] = {
                    key: split_like(value, parameter)
                    if value.shape == parameter.shape
                    else value.to(parameter.device)
                    for key, value in values.items()
                }


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Split parameters into matrices, which decay, and biases, norms and other vectors, which don't."""
    everything = list(parameters)
    groups = [
        {"params": [p for p in everything if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in everything if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Muon(torch.optim.Optimizer):
    """Momentum whose singular values are all brought near 1 (Jordan 2024, "Muon").

    Unlike `torch.optim.Muon` it works on all matrices of a shape at once, on the query, key and
    value parts of a joined projection apart, and on parameters that FSDP2 has split. Updates are
    scaled by 0.2 sqrt(larger side), AdamW's usual size (arXiv 2502.16982).
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        groups: list[Any] = list(parameters)
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.found_inf: torch.Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step; nothing changes where `found_inf` is 1."""
        for group in self.param_groups:
            updates: list[tuple[nn.Parameter, torch.Tensor]] = [
                (parameter, self._momentum_of(parameter, group["momentum"]))
                for parameter in group["params"]
                if parameter.grad is not None
            ]
            for parameter, direction in _orthogonal_all(updates):
                scale = group["lr"] * (1.0 if self.found_inf is None else 1.0 - self.found_inf)
                weights = local_part(parameter.detach())
                weights.mul_(1.0 - scale * group["weight_decay"])
                weights.sub_(local_part(split_like(direction, parameter)) * scale)

    def _momentum_of(self, parameter: nn.Parameter, momentum: float) -> torch.Tensor:
        """Update the momentum with the gradient; return Nesterov's direction, whole and finite."""
        state = self.state[parameter]
        gradient = local_part(parameter.grad)  # type: ignore[arg-type]
        if "momentum" not in state:
            state["momentum"] = joined_like(torch.zeros_like(gradient), parameter)
        average = local_part(state["momentum"])
        if self.found_inf is not None:
            gradient = torch.where(self.found_inf > 0, average, gradient)  # then lerp changes nothing
        average.lerp_(gradient, 1.0 - momentum)
        return whole(joined_like(gradient.lerp(average, momentum), parameter))


def _orthogonal_all(
    updates: list[tuple[nn.Parameter, torch.Tensor]],
) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """Orthogonalise every update, those of one shape in one batch of matrix products."""
    pieces: dict[torch.Size, list[tuple[int, torch.Tensor]]] = {}
    for index, (_, update) in enumerate(updates):
        rows, columns = update.shape
        parts = 3 if rows == 3 * columns else 1  # queries, keys and values
        for piece in update.chunk(parts):
            pieces.setdefault(piece.shape, []).append((index, piece))
    done: dict[int, list[torch.Tensor]] = {}
    for shape, items in pieces.items():
        results = orthogonal(torch.stack([piece for _, piece in items])) * (0.2 * math.sqrt(max(shape)))
        for (index, _), result in zip(items, results.unbind(), strict=True):
            done.setdefault(index, []).append(result)
    return [(parameter, torch.cat(done[index])) for index, (parameter, _) in enumerate(updates)]


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Bring the singular values of [n, rows, columns] near 1 by five Newton-Schulz steps.

    The quintic's coefficients are Jordan's; it runs in bfloat16 on a GPU, where that suffices.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    result: torch.Tensor = (x.mT if tall else x).float()
    return result


def _by_scale(
    named: dict[str, nn.Parameter], scale: Callable[[str], float]
) -> list[tuple[float, list[nn.Parameter]]]:
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named.items():
        groups.setdefault(scale(name), []).append(parameter)
    return list(groups.items())


def _is_layer_matrix(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and name.startswith(_LAYERS)
