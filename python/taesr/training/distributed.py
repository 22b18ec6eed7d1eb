"""One process or several: torchrun, DDP, FSDP2."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Self

import torch
import torch.distributed as dist
from torch import nn

from taesr.errors import Error, InvalidArgument

# One process makes the cache of teachers' vectors, or evaluates, while the others wait for it.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class World:
    """The processes of a run, and this one's place among them.

    Attributes
    ----------
    rank, size : int
        Of this process, and how many there are.
    device : torch.device
        Of this process.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    @contextlib.contextmanager
    def join(cls, device: Literal["auto", "cpu", "cuda"] = "auto") -> Iterator[Self]:
        """Join the processes that torchrun started; without torchrun, be the only one.

        Tensors on the CPU go through gloo, those on GPUs through NCCL, so that small facts can be
        agreed on without waiting for a GPU.
        """
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        place = _device(device, int(os.environ.get("LOCAL_RANK", 0)))
        launched = "WORLD_SIZE" in os.environ and "MASTER_ADDR" in os.environ
        started = launched and not dist.is_initialized()
        if started:
            backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=_PATIENCE)
        try:
            yield cls(rank, size, place)
        finally:
            if started:
                dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def agree(self, values: Sequence[float]) -> list[float]:
        """Return the leader's values in every process."""
        if self.size == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(shared, 0)
        result: list[float] = shared.tolist()
        return result

    def total(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all processes."""
        if self.size == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(shared)
        result: list[float] = shared.tolist()
        return result

    def wait(self) -> None:
        """Wait for every process to come here."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """Run a block in the leader, then in the others, which end with it when it fails."""
        if self.leads:
            failed = 1.0
            try:
                yield
                failed = 0.0
            finally:
                self.agree([failed])
        else:
            if self.agree([0.0]) != [0.0]:
                raise Error(f"process {self.rank} ends because process 0 failed")
            yield


def share_work(module: nn.Module, world: World, strategy: Literal["auto", "ddp", "fsdp2"]) -> nn.Module:
    """Wrap the module whose forward pass makes the losses, so that gradients are means over processes.

    Parameters
    ----------
    module
        On `world.device`, equal in every process.
    strategy
        "ddp" keeps whole parameters in every process; "fsdp2" splits parameters, gradients and
        optimiser state over them; "auto" is "ddp" under torchrun.
    """
    if strategy == "auto":
        strategy = "ddp"
    if not dist.is_initialized():
        if strategy == "fsdp2":
            raise InvalidArgument(
                "distributed.strategy is fsdp2, which needs torchrun: "
                "torchrun --nproc-per-node N -m taesr train CONFIG.json"
            )
        return module
    if strategy == "fsdp2":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        fully_shard(module, mesh=init_device_mesh(world.device.type, (world.size,)))
        return module
    return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)


@contextlib.contextmanager
def accumulating(module: nn.Module, *, last: bool) -> Iterator[None]:
    """Keep gradients in this process until the `last` batch of a step."""
    if isinstance(module, nn.parallel.DistributedDataParallel) and not last:
        with module.no_sync():
            yield
        return
    set_sync: Any = getattr(module, "set_requires_gradient_sync", None)  # of FSDP2
    if set_sync is not None:
        set_sync(last)
    yield


def _device(wanted: Literal["auto", "cpu", "cuda"], local_rank: int) -> torch.device:
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InvalidArgument("device is cuda, but PyTorch sees no GPU here; allowed: auto, cpu")
    if local_rank >= torch.cuda.device_count():
        raise InvalidArgument(
            f"process {local_rank} of this machine has no GPU of its own; there are "
            f"{torch.cuda.device_count()}"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
