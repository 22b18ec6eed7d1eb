"""Packages that only some users need."""

import importlib
from typing import Any

from taesr.errors import Error


def require(module: str, extra: str) -> Any:
    """Import a module of an optional package, or say which extra of taesr brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(extra, error) from error


def missing(extra: str, error: ImportError) -> Error:
    """What to raise where an optional package does not import."""
    return Error(f"taesr's {extra} integration needs a package ({error}): pip install 'taesr[{extra}]'")


__all__ = ["missing", "require"]
