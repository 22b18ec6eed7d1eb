"""How much one file may cost."""

from dataclasses import dataclass, fields

from taesr.errors import InvalidArgument

_MIB = 1 << 20

# Longest line of a document's text, in characters: ten times the longest paragraph of any novel. What
# is longer is a dump or a generated file, and would take hours to embed to no use.
MAX_LINE = 1_000_000

_RANGES = {
    "file_bytes": (1, 1024 * _MIB),
    "pages": (1, 1_000_000),
    "seconds": (0.1, 3600.0),
    "memory_bytes": (256 * _MIB, 64 * 1024 * _MIB),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for each file; one that needs more is reported as failed, and the rest goes on.

    Attributes
    ----------
    file_bytes
        Largest file, 1 byte to 1 GiB.
    pages
        Most pages of a PDF, 1 to 1,000,000.
    seconds
        Longest time to parse, 0.1 to 3600.
    memory_bytes
        Address space of the parsing process, 256 MiB to 64 GiB.

    Raises
    ------
    InvalidArgument
        For a value out of its range.
    """

    file_bytes: int = 64 * _MIB
    pages: int = 5_000
    seconds: float = 30.0
    memory_bytes: int = 1024 * _MIB

    def __post_init__(self) -> None:
        for item in fields(self):
            low, high = _RANGES[item.name]
            value = getattr(self, item.name)
            if not low <= value <= high:
                raise InvalidArgument(f"Limits.{item.name} is {value}, allowed are {low} to {high}")


def megabytes(size: int) -> str:
    """A size for people: ``"64.0 MB"``."""
    return f"{size / _MIB:.1f} MB"
