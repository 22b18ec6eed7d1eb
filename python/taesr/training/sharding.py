"""One vocabulary for parameters that FSDP2 has split over the processes and for those that are whole."""

import torch
from torch.distributed.tensor import DTensor, Replicate


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return all of a tensor; where it is split, every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return the part of a tensor that this process holds; it shares the tensor's memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def split_like(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Split a whole tensor, equal on all processes, as `parameter` is; on its device, nothing is sent."""
    tensor = tensor.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return tensor
    mesh = parameter.device_mesh
    everywhere = DTensor.from_local(tensor, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return everywhere.redistribute(placements=parameter.placements)


def joined_like(part: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Wrap this process's part of a tensor that is split as `parameter` is."""
    if not isinstance(parameter, DTensor):
        return part
    return DTensor.from_local(
        part,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
