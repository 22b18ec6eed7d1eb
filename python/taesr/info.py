"""Facts about this installation."""

import os
import platform
from pathlib import Path

import taesr
from taesr.errors import IoError


def cmake_dir() -> Path:
    """Folder of taesrConfig.cmake inside this package, for CMAKE_PREFIX_PATH or taesr_DIR.

    Raises
    ------
    IoError
        The package was not built with CMake files (a bare checkout on PYTHONPATH, for example).
    """
    folder = Path(taesr.__file__).parent / "lib" / "cmake" / "taesr"
    if not (folder / "taesrConfig.cmake").is_file():
        raise IoError(f"no CMake package at '{folder}': install taesr with pip to get it")
    return folder


def build_info() -> dict[str, str | int | bool]:
    """Version, build and machine, as `taesr info` prints them."""
    import torch

    from taesr._native import core

    return {
        "version": taesr.__version__,
        "torch": torch.__version__,
        "built_for_torch": core.__torch_version__,
        "compiler": core.__compiler__,
        "python": platform.python_version(),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 1,
        "bfloat16": core.cpu_multiplies_bfloat16(),
        "default_model": str(core.default_model_path()),
    }
