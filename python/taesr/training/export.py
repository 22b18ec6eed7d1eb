"""The model folder that a run leaves behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from taesr.errors import IoError
from taesr.nn import TAESRModel
from taesr.training.config import ExportOptions


def export_model(folder: Path, model: TAESRModel, tokenizer: Path, options: ExportOptions) -> None:
    """Write config.json, model.safetensors and tokenizer.model, in the place of an older model there."""
    dtype = torch.float16 if options.weights == "float16" else torch.float32

    def write(into: Path) -> None:
        model.save_pretrained(into, dtype=dtype, token_table=options.token_table)
        shutil.copyfile(tokenizer, into / "tokenizer.model")

    replace_folder(folder, write)


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a model folder, in the place of an older one there.

    The folder is written under another name first, so that it is never half a model. Raises IoError
    where it cannot be written.
    """
    partial, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("partial", "old"))
    try:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        write(partial)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if isinstance(error, IoError):
            raise
        raise IoError(f"cannot write the model folder '{folder}': {error.strerror}") from error
