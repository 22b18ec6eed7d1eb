"""The encoder as a `torch.nn.Module`: parameters live in Python, the arithmetic in C++."""

from taesr.nn.model import TAESRModel, TAESROutput

__all__ = ["TAESRModel", "TAESROutput"]
