"""Small runs, for tests of the training loop."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.python.training.pools import SmallPool, small_pool

import taesr
from taesr.training import TrainConfig
from taesr.training.fields import to_dict, with_value

MODEL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "embedding_size": 16,
    "matryoshka_dimensions": [8, 16],
    "recursion_steps": {"easy": 1, "medium": 2, "hard": 3},
}


def document_of(pool: SmallPool, output: Path, **changes: Any) -> dict[str, Any]:
    """A configuration as JSON; changes are named with double underscores for dots."""
    document: dict[str, Any] = {
        "output": str(output),
        "device": "cpu",
        "model": {"config": MODEL},
        "data": to_dict(pool.options),
        "teachers": to_dict(pool.teachers),
        "space": to_dict(pool.space),
        "depths": [{"depths": [1, 3], "share": 0.5}, {"depths": [1], "share": 0.5}],
        "optimizer": {"lr": 2e-3},
        "schedule": {"warmup": 3, "steps": 6},
        "precision": "fp32",
        "ema": 0.9,
        "log": {"every": 1},
    }
    for name, value in changes.items():
        document = with_value(document, name.replace("__", "."), value)
    return document


def config_of(pool: SmallPool, output: Path, **changes: Any) -> TrainConfig:
    return TrainConfig.from_dict(document_of(pool, output, **changes))


def rows_of(output: Path, event: str = "step") -> list[dict[str, Any]]:
    lines = (output / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == event]


def losses_of(output: Path) -> dict[int, dict[str, float]]:
    """Losses and gradient norms by step; of a step that was repeated, the last ones."""
    names = ("loss", "cosine", "kl", "gradient_norm")
    return {row["step"]: {name: row[name] for name in names} for row in rows_of(output)}


def python(*arguments: str, processes: int = 1, **options: Any) -> subprocess.Popen[str]:
    """Start Python with this package, under torchrun for several processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    paths = [str(Path(taesr.__file__).parents[1]), str(Path(__file__).parents[3])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *(launcher if processes > 1 else []), *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


__all__ = ["MODEL", "SmallPool", "config_of", "document_of", "losses_of", "python", "rows_of", "small_pool"]
