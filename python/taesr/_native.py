"""Loads the compiled extension, with a readable error where it can't be."""

import torch

try:
    import taesr._core as core
except ImportError as error:
    from taesr._build import TORCH_VERSION  # written by the build; itself absent from a bare checkout

    raise ImportError(
        f"taesr's compiled extension does not load: {error}\n"
        f"It was built for torch {TORCH_VERSION}; this is torch {torch.__version__}, and LibTorch's binary "
        f"interface differs between minor versions.\n"
        f"Remedy: pip install 'torch=={TORCH_VERSION}', or reinstall taesr against this torch: "
        f"pip install --force-reinstall --no-build-isolation --no-deps taesr"
    ) from error

__all__ = ["core"]
