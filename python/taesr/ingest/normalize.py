"""Makes text from anywhere uniform, and visible throughout.

Characters that readers do not see can carry instructions to language models and break words for
search. They are removed here, in one place that the text of every format passes through.
"""

import re
import unicodedata

_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Controls, soft hyphens, zero-width and direction marks, tags, noncharacters.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff]"
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")  # what is invisible in ASCII
# Joiners shape Arabic and Indic words and emoji; elsewhere they are only invisible.
_STRAY_JOINER = re.compile("(?<![\u0600-\u109f\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]+")
_BLANK = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# More marks on one letter than any language has; normalising long runs of them takes quadratic time.
_MARK = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]"
_MARK_RUN = re.compile(f"({_MARK}{{30}}){_MARK}+")
_BLANK_RUN = re.compile("[ \t]+")
_LONG_BLANK_RUN = re.compile("[ \t]{65,}")
_EMPTY_LINES = re.compile("\n{3,}")


def clean(text: str) -> str:
    """Same text in NFC with line feeds as line ends, plain blanks, and no character that does not show.

    Tabs, runs of blanks and empty lines stay. Lone surrogates become U+FFFD.
    """
    text = _LINE_END.sub("\n", text)
    if text.isascii():
        return _CONTROL.sub("", text)
    text = _BLANK.sub(" ", _SURROGATE.sub("\ufffd", text))
    text = unicodedata.normalize("NFC", _MARK_RUN.sub(r"\1", text))
    return _INVISIBLE.sub("", _STRAY_JOINER.sub("", text))


def squeeze(text: str) -> str:
    """Prose: `clean`, and each run of blanks one blank, none at the ends of lines, one empty line at most."""
    text = _BLANK_RUN.sub(" ", clean(text)).replace(" \n", "\n").replace("\n ", "\n")
    return _EMPTY_LINES.sub("\n\n", text).strip()


def squeeze_line(text: str) -> str:
    """A heading or the cell of a table: one line of `squeeze`."""
    return " ".join(clean(text).split())


def keep_layout(text: str) -> str:
    """Code and plain text: `clean`, with indentation and columns kept.

    Only blanks that show nothing go: at line ends, beyond 64 in a row, and empty lines after another.
    """
    text = _EMPTY_LINES.sub("\n\n", _LONG_BLANK_RUN.sub(" " * 64, clean(text)))
    lines = (line.rstrip() for line in text.split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip("\n")


def printable(name: str) -> str:
    """A file name or path as one line of valid Unicode: bytes and characters that do not show are escaped."""
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _LINE_END.sub(_escape, _INVISIBLE.sub(_escape, name.replace("\n", "\\n").replace("\t", "\\t")))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
