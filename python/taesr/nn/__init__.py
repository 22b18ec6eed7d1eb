"""The encoder as a `torch.nn.Module`: parameters live in Python, the arithmetic in C++."""

from taesr.nn.batch import PackedBatch
from taesr.nn.heads import late_embedding, sparse_embedding
from taesr.nn.model import DepthOutput, TAESRModel, TAESROutput
from taesr.nn.pooled_heads import router_features, router_logits, subspace_embedding

__all__ = [
    "DepthOutput",
    "PackedBatch",
    "TAESRModel",
    "TAESROutput",
    "late_embedding",
    "router_features",
    "router_logits",
    "sparse_embedding",
    "subspace_embedding",
]
