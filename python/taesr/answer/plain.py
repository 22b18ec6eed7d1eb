"""Turns a document's text into plain text that is safe to show as part of an answer."""

import re
import unicodedata

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_HIDDEN_ELEMENT = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
# Elements only by name: "<folder>" in "taesr ingest <folder>" is a placeholder that readers need.
_TAG = re.compile(
    r"</?(?:a|b|br|center|code|details|div|em|font|form|h[1-6]|hr|i|iframe|img|input|kbd|li|link|meta|object"
    r"|ol|p|pre|s|script|small|span|strong|style|sub|summary|sup|svg|table|tbody|td|th|thead|tr|u|ul|video)"
    r"(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_IMAGE = re.compile(r"!\[[^\]]{0,500}\](?:\([^)]*\)|\[[^\]]*\])?")
_LINK = re.compile(r"\[([^\[\]]+)\](?:\([^)\s]*(?:\s+\"[^\"]*\")?\)|\[[^\]]*\])")
_LINK_TARGET = re.compile(r"^\s*\[[^\]]+\]:\s+\S+.*$", re.MULTILINE)
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*]+?)(?<=[^\s*])\*(?![\w*])")
CODE_SPAN = re.compile(r"((?<!`)`++[^`]+`++)")
_MARKER = re.compile(r"\[\s*(\d+(?:\s*[,;-]\s*\d+)*)\s*\]")
_INDEX = re.compile(r"(?<![\w\])])\[\s*(\d+(?:\s*[,;-]\s*\d+)*)\s*\]")


def visible(text: str) -> str:
    """Drops what a reader of the document would not see: control, zero-width and direction characters."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Co", "Cs"))


def plain(text: str) -> str:
    """One line of plain text: no Markdown, no HTML, no images, links by their words.

    Bracketed numbers become `(n)`, because in an answer `[n]` means "see source n" and only the bot
    may say that. Code spans keep their back quotes, and brackets that index a name (`` `hits[0]` ``).
    """
    text = _HIDDEN_ELEMENT.sub(" ", _COMMENT.sub(" ", visible(text)))
    parts = CODE_SPAN.split(_LINK_TARGET.sub(" ", text))
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = _INDEX.sub(r"(\1)", part)
            continue
        part = _LINK.sub(r"\1", _IMAGE.sub(" ", part))
        part = _EMPHASIS.sub(r"\1", _STRONG.sub(r"\2", _TAG.sub(" ", part)))
        parts[i] = _MARKER.sub(r"(\1)", part)
    return re.sub(r"\s+([.,;:!?])(?=\s|$)", r"\1", " ".join("".join(parts).split()))
