"""Words of a text as search terms: lower case, without stop words, stemmed lightly."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

_WORD = re.compile(r"\d+(?:\.\d+)+|[^\W_]+(?:['\u2019][^\W_]+)?")

_STOP_WORDS = """
a about again all also am an and any are aren't as at be because been being but by can can't cannot could
couldn't did didn't do does doesn't doing don't each either else even ever every few for from further get
gets getting give given gives go goes got had has hasn't have haven't having he hello help hence her here
hers hi him his how i i'd i'll i'm i've if in into is isn't it it'd it'll it's its itself just let like
many may me might more most much must my myself need no nor not of off ok on once one only or other our
out over own please put really same shall she should shouldn't so some something such tell than thank
thanks that that's the their them then there these they thing things this those though through thus to too
under until up upon us very via want was wasn't way we well were what what's when where whether which
while who whom whose why will with within without won't would wouldn't yes yet you you'd you'll you're
you've your yours
"""
# Words that say little about the subject of a question; what the others mean depends on the documents.
_LIGHT_WORDS = """
add always anymore appear apply ask available bad become begin best better big bring call cause change
check choose click come contain correct correctly create different difference display end error everything
exactly example explain fail find first fix follow good great guy happen hard help important include issue
keep know large last left let long look lot main make mean message method name need never new next nothing
number old open option order part people person place point possible problem provide question quick
quickly read reason receive remove right run same say see seem select send set show simple since small start
stop suddenly support sure take think time today together trouble try turn two type understand use used user
useful usually wait way week window wonder word work write wrong year
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


@lru_cache(maxsize=16384)
def stem(word: str) -> str:
    """Cuts the common English endings, so that "asking", "asked" and "asks" are one term."""
    word = re.sub(r"['\u2019]s?$", "", word)
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-2] if word.endswith(("sses", "xes", "ches", "shes")) else word[:-1]
    for ending, shortest in (
        ("ations", 5),
        ("ation", 5),
        ("ition", 5),
        ("ing", 3),
        ("ed", 3),
        ("ion", 4),
        ("ly", 4),
    ):
        base = word[: -len(ending)]
        if word.endswith(ending) and len(base) >= shortest and re.search("[aeiouy]", base):
            if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz":
                base = base[:-1]
            word = base
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def terms(text: str) -> list[str]:
    """Terms of `text` in order, repeats kept."""
    words = (word.replace("\u2019", "'") for word in _WORD.findall(text.lower()))
    return [stem(word) for word in words if word not in STOP_WORDS]


LIGHT_TERMS = frozenset(stem(word) for word in _LIGHT_WORDS.split())


def term_weights(wanted: Iterable[str], texts: Sequence[frozenset[str]]) -> dict[str, float]:
    """How much each wanted term matters: 1 if all texts have it, up to 2 if none has.

    A light word counts a third of that, and a number or code twice: text on error 5.1.0 does not
    answer a question about error 5.7.1. The texts are what a search returned, so a subject's own word
    is in nearly all of them and its inverse frequency there is about 0: hence the sum.
    """
    rarest = math.log1p((len(texts) + 0.5) / 0.5)
    weights = {}
    for term in wanted:
        n = sum(term in text for text in texts)
        rarity = math.log1p((len(texts) - n + 0.5) / (n + 0.5)) / rarest
        kind = 1 / 3 if term in LIGHT_TERMS else 2 if re.search(r"\d", term) else 1
        weights[term] = (1 + rarity) * kind
    return weights


def coverage(weights: Mapping[str, float], found: frozenset[str] | set[str]) -> float:
    """Share, 0 to 1, of the weight of the terms that are in `found`; 0 when there are no terms."""
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in found) / total if total else 0.0
