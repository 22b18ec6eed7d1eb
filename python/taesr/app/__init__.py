"""The chat in a browser. `run` serves it; the pages are in `main.py`, what they do in `service.py`."""

from taesr.app.launch import run

__all__ = ["run"]
