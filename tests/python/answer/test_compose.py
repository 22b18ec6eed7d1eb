"""Numbers and text of answers."""

import re

from taesr.answer import Passage, Statement
from taesr.answer.compose import cite, not_sure, render
from taesr.answer.units import split_units


def passage(text: str, document: str) -> Passage:
    units = tuple(split_units(text))
    return Passage(document, "", "", "", text, 1.0, units, tuple(0.5 for _ in units))


PASSAGES = [passage("First thing. Second thing.", "a.md"), passage("Third thing.", "b.md")]


def test_numbers_follow_the_order_of_use_and_each_has_its_source() -> None:
    statements, citations = cite([Statement("Third thing.", (1,)), Statement("First thing.", (0,))], PASSAGES)
    assert [statement.sources for statement in statements] == [(1,), (2,)]
    assert [(c.number, c.document) for c in citations] == [(1, "b.md"), (2, "a.md")]


def test_invented_sources_and_statements_without_any_are_dropped() -> None:
    made_up = [
        Statement("No source.", ()),
        Statement("Wrong.", (7,)),
        Statement("Good.", (0, 99)),
        Statement(" ", (0,)),
    ]
    statements, citations = cite(made_up, PASSAGES)
    assert [(s.text, s.sources) for s in statements] == [("Good.", (1,))]
    assert len(citations) == 1


def test_highlights_join_where_only_white_space_lies_between() -> None:
    spans = [(0, 12), (13, 26)]
    statements = [Statement("x", (0,), span=span) for span in spans]
    _, citations = cite(statements, PASSAGES)
    assert citations[0].highlights == ((0, 26),)
    assert citations[0].quote == "First thing. Second thing."


def test_every_statement_is_marked_and_code_can_be_copied() -> None:
    text = render(
        [
            Statement("Run this:", (1,), block=1),
            Statement("make demo\nmake test", (1,), "code", block=2),
            Statement("Open it.", (2,), "step", "1.", block=3),
            Statement("Close it.", (2,), "step", "2.", block=3),
        ]
    )
    assert text == "Run this: [1]\n\n    make demo\n    make test\n\n1. Open it. [2]\n2. Close it. [2]"


def test_code_without_a_sentence_before_it_is_marked_on_a_line_of_its_own() -> None:
    assert render([Statement("make demo", (1,), "code")]) == "    make demo\n\n[1]"


def test_not_sure_names_as_many_sources_as_there_are() -> None:
    _, citations = cite([Statement("a", (0,)), Statement("b", (1,))], PASSAGES)
    assert not_sure("Why.", []) == "I'm not sure. Why."
    assert not_sure("Why.", citations[:1]) == "I'm not sure. Why. The closest source is [1]."
    assert re.findall(r"\[(\d)\]", not_sure("Why.", citations)) == ["1", "2"]
