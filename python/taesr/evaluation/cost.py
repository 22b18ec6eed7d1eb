"""What an embedding costs: arithmetic, time and memory."""

import resource
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from taesr.evaluation.flops import text_flops

_WARM_UP = 5
_LATENCY_SAMPLE = 200


def mean_flops(
    config: Any,
    token_counts: Sequence[int],
    depths: Sequence[int],
    *,
    windows: Sequence[int] | None = None,
    outputs: Collection[str] = ("dense",),
) -> float:
    """Return the mean of `taesr.evaluation.flops.text_flops`, zero for no texts."""
    if len(token_counts) == 0:
        return 0.0
    return float(np.mean(text_flops(config, token_counts, depths, windows=windows, outputs=outputs)))


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
