"""Opening a collection for a command that reads it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from taesr.cli.output import note
from taesr.errors import IoError

if TYPE_CHECKING:
    import taesr


def check_exists(directory: Path) -> None:
    """Refuse a folder that is not there, before anything is loaded."""
    if not directory.is_dir():
        what = "is not a folder" if directory.exists() else "does not exist"
        raise IoError(
            f"collection {directory} {what}; make one with: taesr ingest PATH --collection {directory}"
        )


def open_to_read(arguments: argparse.Namespace) -> "taesr.Collection":
    """Open ``--collection`` with the model of ``--model``; what opening had to repair goes to stderr."""
    check_exists(arguments.collection)
    import taesr

    collection = taesr.Collection.open(
        arguments.collection, encoder=load_encoder(arguments.model), create=False, read_only=True
    )
    for repair in collection.notes:
        note(repair)
    return collection


def load_encoder(model: Path | None) -> "taesr.Encoder | None":
    """Load the model that the user named; None leaves the choice to the library."""
    if model is None:
        return None
    import taesr

    return taesr.Encoder.load(model)
