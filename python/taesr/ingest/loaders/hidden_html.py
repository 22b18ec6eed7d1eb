"""Removes what HTML inside Markdown hides, tag by tag.

Markdown cuts HTML into pieces: ``<div hidden>`` may be one block, what it hides the next ones as Markdown,
and ``</div>`` another. A parser of whole documents cannot see that.
"""

import re

from taesr.ingest.loaders.visibility import ELEMENTS, VOID, is_hidden

_TAG = re.compile(
    r"<!--.*?(?:-->|\Z)|<[?!][^>]*>|<(/?)([A-Za-z][A-Za-z0-9-]*)((?:[^<>\"']|\"[^\"]*\"|'[^']*')*)>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"([^\s\"'<>/=]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'=<>`]+)))?")


class HiddenHtml:
    """Follows the tags of a Markdown file.

    Attributes
    ----------
    is_open
        Whether an element that hides its content is open.
    count
        Number of elements and comments that were hidden.
    """

    def __init__(self) -> None:
        self.count = 0
        self._open: list[str] = []

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    def close(self, depth: int = 0) -> None:
        """Forget the elements opened since `depth` of them were open."""
        del self._open[depth:]

    @property
    def depth(self) -> int:
        """How many elements are open, the first of which hides the others."""
        return len(self._open)

    def visible(self, html: str) -> str:
        """The part of `html` that shows. Names of no element, as in ``<your name>``, are text: ``&lt;``."""
        kept: list[str] = []
        end = 0
        for match in _TAG.finditer(html):
            if not self._open:
                kept.append(html[end : match.start()])
            end = match.end()
            kept.append(self._tag(match))
        if not self._open:
            kept.append(html[end:])
        return "".join(kept)

    def _tag(self, match: re.Match[str]) -> str:
        """Follow one tag or comment, and give what stays of it."""
        tag, name = match[0], (match[2] or "").lower()
        if not name:  # a comment or declaration
            self.count += tag.startswith("<!--") and not self._open
            return ""
        if name not in ELEMENTS:
            return "" if self._open else tag.replace("<", "&lt;")
        if match[1]:
            return self._end_tag(name, tag)
        if self._open:
            if name not in VOID:
                self._open.append(name)
            return ""
        attributes = {key.lower(): a or b or c for key, a, b, c in _ATTRIBUTE.findall(match[3])}
        if not is_hidden(name, attributes):
            return tag
        self.count += 1
        if name not in VOID:
            self._open.append(name)
        return ""

    def _end_tag(self, name: str, tag: str) -> str:
        if not self._open:
            return tag
        if name in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(name) :]
        return ""
