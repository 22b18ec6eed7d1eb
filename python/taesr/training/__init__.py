"""Training the encoder: distillation from teachers at several depths and slices at once.

>>> from taesr.training import TrainConfig, train
>>> result = train(TrainConfig.from_file("configs/encoder-tiny.json"))  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taesr.training.config import TrainConfig
    from taesr.training.loop import Trainer, train
    from taesr.training.run import TrainResult

_HOMES = {"TrainConfig": "config", "TrainResult": "run", "Trainer": "loop", "train": "loop"}

__all__ = ["TrainConfig", "TrainResult", "Trainer", "train"]


def __getattr__(name: str) -> object:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'taesr.training' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"taesr.training.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
