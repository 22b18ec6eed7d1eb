"""What taesr raises on purpose: the C++ library's error classes under their own names."""


class Error(Exception):
    """Root of everything that taesr raises on purpose. The message is one line."""


class InvalidArgument(Error, ValueError):
    """An argument, option or configuration value outside its allowed range."""


class IoError(Error, OSError):
    """The operating system refused: missing file, full disk, no permission, a lock held elsewhere."""


class FormatError(Error, ValueError):
    """A file's bytes do not follow the format that they claim."""


class VersionError(FormatError):
    """A file was made by a version of the format that this build does not read."""


class ChecksumError(FormatError):
    """A file's content does not match its checksum."""


class ModelMismatch(Error):
    """Data made with one model was opened with another."""


class Overloaded(Error):
    """More was asked for at once than fits: try again later, or raise the limit that the message names."""


__all__ = [
    "ChecksumError",
    "Error",
    "FormatError",
    "InvalidArgument",
    "IoError",
    "ModelMismatch",
    "Overloaded",
    "VersionError",
]
