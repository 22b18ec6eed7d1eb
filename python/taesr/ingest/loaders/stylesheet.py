"""Which elements a page's own style sheets hide."""

import re

from selectolax.lexbor import LexborHTMLParser, SelectolaxError

from taesr.ingest.loaders.visibility import style_hides

_MOST_RULES = 500
_LARGEST_SHEET = 1 << 20  # characters
_RULE = re.compile(r"([^{}@;]{1,500})\{([^{}]{1,2000})\}")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def hidden_elements(tree: LexborHTMLParser) -> set[int]:
    """Elements that rules such as ``.note { display: none }`` apply to, by `mem_id`."""
    hidden: set[int] = set()
    sheets = "\n".join(sheet.text()[:_LARGEST_SHEET] for sheet in tree.css("style"))
    rules = _RULE.findall(_always(_COMMENT.sub("", sheets)))
    hiding = [selector for selector, style in rules if style_hides(style)]
    for selector in hiding[:_MOST_RULES]:
        try:
            hidden.update(node.mem_id for node in tree.css(selector.strip()))
        except SelectolaxError:  # a selector that only browsers know
            continue
    return hidden


def _always(css: str) -> str:
    """The rules that hold always, without those inside ``@media print { ... }`` and its like."""
    kept: list[str] = []
    depth = 0
    conditional_depth = 0  # of the innermost braces that belong to an at-rule; 0 outside of one
    for piece in re.split(r"([{}])", css):
        if piece == "{":
            depth += 1
        elif piece == "}":
            depth = max(depth - 1, 0)
            if conditional_depth > depth:
                conditional_depth = 0
                continue
        elif not conditional_depth and "@" in piece.rpartition(";")[2]:
            conditional_depth = depth + 1
        if not conditional_depth:
            kept.append(piece)
    return "".join(kept)
