"""Which HTML elements a reader does not see.

Text hidden in a page is read by retrieval and by language models all the same, which makes it the usual
way to plant instructions in documents.
"""

import re
from collections.abc import Mapping


def names(listed: str) -> frozenset[str]:
    """A set of names that are written with blanks between them."""
    return frozenset(listed.split())


# Never shown, or no part of what the page says.
DROPPED = names(
    "audio base canvas datalist embed head iframe link map meta nav noembed noframes noscript object param"
    " script select style svg template textarea title video"
)
VOID = names("area base br col embed hr img input link meta param source track wbr")
ELEMENTS = (
    DROPPED
    | VOID
    | names(
        "a abbr acronym address article aside b bdi bdo big blockquote body button caption center cite code"
        " colgroup data dd del details dfn dialog dir div dl dt em fieldset figcaption figure font footer"
        " form frame frameset h1 h2 h3 h4 h5 h6 header hgroup html i ins kbd label legend li main mark menu"
        " meter ol"
        " optgroup option output p picture pre progress q rp rt ruby s samp search section small span strike"
        " strong sub summary sup table tbody td tfoot th thead time tr tt u ul var"
    )
)

_HIDING_STYLE = re.compile(
    r"display:none|visibility:(?:hidden|collapse)|opacity:(?:0|0?\.0+|0%)(?![.\d])|font-size:0(?!\.?[1-9])"
    r"|content-visibility:hidden|(?:left|top|text-indent):-\d{3,}|clip:rect\(0"
    r"|(?:max-)?(?:height|width):0(?:px)?(?:;|!|$).*overflow:hidden"
    r"|overflow:hidden.*(?:^|;)(?:max-)?(?:height|width):0(?:px)?(?:;|!|$)"
)


def style_hides(style: str) -> bool:
    """Whether CSS declarations such as ``display: none`` keep an element from being seen."""
    return bool(_HIDING_STYLE.search(re.sub(r"/\*.*?\*/|\s+", "", style[:2000].lower())))


def is_hidden(tag: str, attributes: Mapping[str, str | None]) -> bool:
    """Whether an element and all inside it is dropped."""
    if tag in DROPPED or "hidden" in attributes:
        return True
    if tag == "dialog" and "open" not in attributes:
        return True
    if (attributes.get("aria-hidden") or "").strip().lower() == "true":
        return True
    if (attributes.get("role") or "").strip().lower() == "navigation":
        return True
    style = attributes.get("style")
    return bool(style) and style_hides(style or "")
