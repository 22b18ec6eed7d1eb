"""Choosing what to quote."""

from taesr.answer import ExtractiveGenerator, Passage, Statement
from taesr.answer.units import split_units

GENERATOR = ExtractiveGenerator()


def passage(
    text: str, scores: dict[str, float], *, section: str = "Guide", document: str = "guide.md"
) -> Passage:
    """A passage whose units that contain a key of `scores` have its value."""
    units = tuple(split_units(text, section))
    values = tuple(max((s for key, s in scores.items() if key in unit.text), default=0.0) for unit in units)
    return Passage(document, section, "Guide", f"/docs/{document}", text, 1.0, units, values)


def answer(*passages: Passage, limit: int = 3) -> list[Statement]:
    return GENERATOR.generate("a question", passages, max_statements=limit)


def texts(statements: list[Statement]) -> list[str]:
    return [statement.text for statement in statements]


LONG = "Nothing here helps with what was asked about, it only makes the section long. " * 9


def test_the_best_sentence_is_quoted_alone_where_nothing_else_is_near_it() -> None:
    text = f"{LONG} Reset it with the red button. The cable is blue."
    assert texts(answer(passage(text, {"red": 0.9, "blue": 0.3}))) == ["Reset it with the red button."]


def test_sentences_come_in_document_order_not_in_score_order() -> None:
    text = f"Open the lid. {LONG} Press the red button firmly."
    assert texts(answer(passage(text, {"lid": 0.8, "red": 0.9}))) == [
        "Open the lid.",
        "Press the red button firmly.",
    ]


def test_near_duplicates_are_quoted_once() -> None:
    a = passage(f"Press the red button to reset the router. {LONG}", {"red": 0.9}, document="a.md")
    b = passage(f"To reset the router, press the red button. {LONG}", {"red": 0.89}, document="b.md")
    assert texts(answer(a, b)) == ["Press the red button to reset the router."]


def test_a_procedure_is_whole_and_opened_by_its_introduction_whichever_part_is_best() -> None:
    steps = "To reset it, do this:\n\n1. Open the lid.\n2. Press the button.\n3. Close the lid."
    text = f"{LONG}\n\n{steps}\n\n{LONG}"
    whole = ["To reset it, do this:", "Open the lid.", "Press the button.", "Close the lid."]
    assert texts(answer(passage(text, {"To reset": 0.9}))) == whole
    assert texts(answer(passage(text, {"Press": 0.9}))) == whole
    assert [s.label for s in answer(passage(text, {"Press": 0.9}))] == ["", "1.", "2.", "3."]


def test_code_after_the_sentence_that_announces_it_is_kept() -> None:
    text = f"{LONG}\n\nRun this command:\n\n```\nmake demo\n```\n\n{LONG}"
    assert texts(answer(passage(text, {"Run": 0.9}))) == ["Run this command:", "make demo"]


def test_steps_that_lost_their_list_follow_the_sentence_that_announces_them() -> None:
    steps = "To do this, follow these steps: Open the panel. Click Remove. Restart."
    text = f"{LONG}\n\nRemove the credentials. {steps}"
    found = texts(answer(passage(text, {"Remove the": 0.9})))
    assert found[0] == "Remove the credentials."
    assert " ".join(found).endswith(steps)


def test_a_sentence_that_refers_back_brings_the_one_before() -> None:
    text = f"{LONG}\n\nThe cache may be stale. It must then be cleared by hand."
    assert texts(answer(passage(text, {"cleared": 0.9}))) == [
        "The cache may be stale.",
        "It must then be cleared by hand.",
    ]


def test_a_short_section_of_its_own_is_quoted_whole() -> None:
    text = "In the folder, run:\n\n```\nmake build\n```\n\nThis takes a minute."
    found = texts(answer(passage(text, {"folder": 0.9}, section="Guide > Install")))
    assert found == ["In the folder, run:", "make build", "This takes a minute."]


def test_the_limit_holds_for_sentences() -> None:
    words = ("cables need copper", "lamps glow warm", "doors open outwards", "pipes carry water")
    text = " ".join(f"Fact: {word}." for word in words)
    assert len(answer(passage(f"{text} {LONG}", {"Fact": 0.9}), limit=2)) == 2


def test_a_very_long_procedure_says_that_it_goes_on() -> None:
    steps = "\n".join(f"{n}. Step {n} {'does something ' * 10}." for n in range(1, 40))
    found = answer(passage(f"Do this:\n\n{steps}", {"Do this": 0.9}))
    assert found[-1].text == "The source continues."
    assert sum(len(text) for text in texts(found)) < 2500


def test_no_scores_mean_no_answer() -> None:
    assert answer() == []
    assert answer(passage("Something.", {})) == []
