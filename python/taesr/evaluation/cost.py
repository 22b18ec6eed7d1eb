"""What an embedding costs: arithmetic, time and memory."""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

_WARM_UP = 5
_LATENCY_SAMPLE = 200


class EncoderShape(Protocol):
    """The fields of `taesr.TAESRConfig` that decide the amount of arithmetic."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def shared_layers(self) -> int: ...
    @property
    def embedding_size(self) -> int: ...
    @property
    def max_position_embeddings(self) -> int: ...


def mean_flops(config: EncoderShape, token_counts: Sequence[int], depths: Sequence[int]) -> float:
    """Return the mean floating-point operations of one pass for each text, an addition counting as one.

    Matrix products only: norms, activations and softmax are below one percent. Counts are without
    the two special tokens; what is beyond the model's longest pass is not read and not counted.
    """
    if len(token_counts) == 0:
        return 0.0
    tokens = np.minimum(np.asarray(token_counts, dtype=np.float64) + 2, config.max_position_embeddings)
    layers = 2 + config.shared_layers * np.asarray(depths, dtype=np.float64)  # entry and exit
    hidden = config.hidden_size
    products = 8 * tokens * hidden**2 + 4 * tokens * hidden * config.intermediate_size
    attention = 4 * tokens**2 * hidden
    head = 2 * hidden * config.embedding_size
    return float(np.mean(layers * (products + attention) + head))


def latencies_ms(call: Callable[[str], object], texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Time `call` on at most 200 evenly spaced texts, one at a time after a warm-up, in milliseconds."""
    step = max(1, len(texts) // _LATENCY_SAMPLE)
    sample = texts[::step][:_LATENCY_SAMPLE]
    for text in sample[:_WARM_UP]:
        call(text)
    times = []
    for text in sample:
        begin = time.perf_counter()
        call(text)
        times.append(1000 * (time.perf_counter() - begin))
    return np.array(times, dtype=np.float64)


def peak_memory_bytes() -> int:
    """Return the largest resident size that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
