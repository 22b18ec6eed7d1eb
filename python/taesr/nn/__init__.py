"""Models as `torch.nn.Module`s, for training.

The encoder's parameters live in Python and its arithmetic in C++; the decoder is plain PyTorch, and
`taesr.Decoder` runs what it saves.
"""

from taesr.nn.batch import PackedBatch
from taesr.nn.decoder import DecoderConfig, DecoderOutput, RecursiveDecoder
from taesr.nn.heads import late_embedding, sparse_embedding
from taesr.nn.layer_sharing import shared_weights
from taesr.nn.model import DepthOutput, TAESRModel, TAESROutput
from taesr.nn.pooled_heads import router_features, router_logits, subspace_embedding

__all__ = [
    "DecoderConfig",
    "DecoderOutput",
    "DepthOutput",
    "PackedBatch",
    "RecursiveDecoder",
    "TAESRModel",
    "TAESROutput",
    "late_embedding",
    "router_features",
    "router_logits",
    "shared_weights",
    "sparse_embedding",
    "subspace_embedding",
]
