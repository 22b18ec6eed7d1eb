"""Questions changed so that their paragraph no longer answers them: another year, name or direction."""

import random
import re
from collections import defaultdict
from collections.abc import Sequence

_OPPOSITES = """
first last; most least; before after; north south; northern southern; east west; eastern western; largest
smallest; highest lowest; oldest newest; earliest latest; more fewer; increase decrease; increased decreased;
begin end; began ended; start stop; started stopped; above below; minimum maximum; majority minority;
won lost; win lose; male female; men women; men's women's; largest smallest; longest shortest; can cannot;
allow forbid; allowed forbidden; accepted rejected; supported opposed; support oppose; public private;
internal external; rural urban; ancient modern; early late; upper lower; best worst; joined left; buy sell;
bought sold; gained lost; winter summer; victory defeat; arrive depart; arrived departed; rise fall;
rose fell; added removed; include exclude; included excluded; similar different; positive negative; rich poor;
"""
_PAIRS = [pair.split() for pair in " ".join(_OPPOSITES.split()).split(";") if pair.strip()]
_OPPOSITE = {a: b for pair in _PAIRS for a, b in (pair, reversed(pair))}
_NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?![\w.])")
_NAME = re.compile(r"[A-Z][\w'\u2019-]+(?: (?:of |the |de )?[A-Z][\w'\u2019-]+)*")
_OTHER_CAPITALS = """
A After All Also Although An And As At Before Both But By Did Do Does During For From Had Has He Her His How
However If In It Its Many More Most No Of On One Other She Since Some The Their There These They This Those To
Under Until Was Were What When Where Which While Who Whom Whose Why With
"""
_DAYS_AND_MONTHS = """
Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July August
September October November December
"""
_NOT_NAMES = frozenset((_OTHER_CAPITALS + _DAYS_AND_MONTHS).split())
_VERB = re.compile(r"(?<= )(did|does|do|is|are|was|were|has|have|can|could|would)(?= )")
_NEGATED = 0.3  # share of the questions that nothing else can be done to


class Alterations:
    """Alters questions with names from other paragraphs of the same article."""

    def __init__(self, paragraphs: Sequence[tuple[str, str]]) -> None:
        self._texts = [text for _, text in paragraphs]
        self._titles = [title for title, _ in paragraphs]
        self._names: dict[str, set[str]] = defaultdict(set)
        for title, text in paragraphs:
            self._names[title].update(_names(text))
        self._sorted = {title: sorted(names) for title, names in self._names.items()}

    def alter(self, question: str, paragraph: int, draw: random.Random) -> str | None:
        """The question with one number, name or word replaced, or negated; None where that cannot be done.

        Numbers and names that come in do not stand in the paragraph, and those that go out do.
        """
        ways = [self._other_number, self._other_name, self._opposite]
        draw.shuffle(ways)
        for way in ways:
            changed = way(question, paragraph, draw)
            if changed and changed != question:
                return changed
        verb = _VERB.search(question)
        if verb is None or draw.random() >= _NEGATED:
            return None
        negated = "can't" if verb[0] == "can" else f"{verb[0]}n't"
        return question[: verb.start()] + negated + question[verb.end() :]

    def _other_number(self, question: str, paragraph: int, draw: random.Random) -> str | None:
        text = self._texts[paragraph]
        found = [m for m in _NUMBER.finditer(question) if m[0] in text]
        if not found:
            return None
        match = draw.choice(found)
        value = int(match[0].replace(",", ""))
        reach = 40 if 1000 <= value <= 2100 else max(5, value // 2)
        other = value + draw.choice([-1, 1]) * draw.randint(1, reach)
        written = f"{other:,}" if "," in match[0] else str(other)
        if other <= 0 or other == value or written in text:
            return None
        return question[: match.start()] + written + question[match.end() :]

    def _other_name(self, question: str, paragraph: int, draw: random.Random) -> str | None:
        text, title = self._texts[paragraph], self._titles[paragraph]
        found = [
            m
            for m in _NAME.finditer(question)
            if m.start() > 0 and m[0] in text and m[0] not in title and m[0].split()[0] not in _NOT_NAMES
        ]
        if not found:
            return None
        match = draw.choice(found)
        words = len(match[0].split())
        names = [
            name
            for name in self._sorted[title]
            if name not in text and name not in question and len(name.split()) == words
        ]
        return question[: match.start()] + draw.choice(names) + question[match.end() :] if names else None

    def _opposite(self, question: str, paragraph: int, draw: random.Random) -> str | None:
        words = question.split(" ")
        places = [n for n, word in enumerate(words) if word in _OPPOSITE]
        if not places:
            return None
        place = draw.choice(places)
        words[place] = _OPPOSITE[words[place]]
        return " ".join(words)


def _names(text: str) -> set[str]:
    """Runs of capitalised words that do not just begin a sentence."""
    found = set()
    for match in _NAME.finditer(text):
        words = match[0].split()
        if (
            match.start() > 0
            and text[match.start() - 2 : match.start()] != ". "
            and words[0] not in _NOT_NAMES
        ):
            found.add(match[0].removesuffix("'s").removesuffix("\u2019s"))
    return found
