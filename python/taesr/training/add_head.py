"""A model folder with one head more; everything that was in it stays as it is, to the bit."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from taesr._native import core
from taesr.config import TAESRConfig
from taesr.errors import InvalidArgument, IoError

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I8": torch.int8}
_WEIGHTS = "model.safetensors"


def check_output(folder: Path, output: Path) -> None:
    """Refuse, before the work, an output that is the model itself or holds something else than a model."""
    if output.resolve() == folder.resolve():
        raise InvalidArgument(f"output '{output}' is the model itself; name another folder")
    if (
        output.exists()
        and not (output / "config.json").is_file()
        and (output.is_file() or any(output.iterdir()))
    ):
        raise IoError(f"'{output}' exists and is no model folder; name another output")


def add_head(
    folder: Path, output: Path, fields: Mapping[str, Any], prefix: str, weights: Mapping[str, torch.Tensor]
) -> TAESRConfig:
    """Copy a model folder with other config fields and other weights under a prefix.

    Parameters
    ----------
    folder
        A model that can be loaded. Its other weights keep their stored dtypes.
    output
        Written under another name first, so that it is never half a model; replaces an older model.
    fields
        Config fields to set.
    prefix
        Of the weights to replace, such as "router.".
    weights
        By name, each beginning with `prefix`; stored as float32.

    Returns
    -------
    The new config.

    Raises
    ------
    IoError
        A folder cannot be read or written.
    """
    check_output(folder, output)
    config = dataclasses.replace(TAESRConfig.from_file(folder / "config.json"), **fields)
    partial = output.with_name(f".{output.name}.partial")
    try:
        stored = {
            name: w for name, w in _read_stored(folder / _WEIGHTS).items() if not name.startswith(prefix)
        }
        stored |= {name: w.detach().float().cpu().contiguous() for name, w in weights.items()}
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder, partial, ignore=shutil.ignore_patterns(_WEIGHTS, "config.json"))
        (partial / "config.json").write_text(config.to_json() + "\n")
        core.save_weights(str(partial / _WEIGHTS), stored)
        core.check_weights(config.native, core.load_weights(str(partial / _WEIGHTS)), str(partial / _WEIGHTS))
        if output.exists():
            shutil.rmtree(output)
        partial.rename(output)
    except OSError as error:
        raise IoError(f"cannot write the model folder '{output}': {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return config


def _read_stored(path: Path) -> dict[str, torch.Tensor]:
    """Tensors as they are stored; loading a model instead turns the integers of its token table to floats."""
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        raw = torch.frombuffer(data[begin + first : begin + last], dtype=torch.uint8)
        tensors[name] = raw.view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors
