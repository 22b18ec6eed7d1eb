"""What a language model's words must pass before they are an answer."""

import pytest
from writing import passage

from taesr.answer.draft import Draft, check, goes_in_circles, refuses
from taesr.answer.prompt import REFUSAL

SOURCES = [
    passage("Hold the red button for ten seconds until the lamp blinks. The reset removes all settings."),
    passage("The warranty lasts 24 months. Keep the receipt.", "Warranty"),
]


def checked(text: str, question: str = "How do I reset the router?") -> Draft:
    return check(text, question, SOURCES)


def claims(text: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(statement.text, statement.sources) for statement in checked(text).statements]


def test_a_statement_keeps_its_number_and_points_to_the_sentence_that_it_rests_on() -> None:
    draft = checked("Keep the red button pressed for ten seconds [1]")
    (statement,) = draft.statements
    assert (statement.text, statement.sources) == ("Keep the red button pressed for ten seconds", (0,))
    assert statement.span is not None
    assert SOURCES[0].text[slice(*statement.span)].startswith("Hold the red button")
    assert draft.notes == ()


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("Hold the red button [1].", (0,)),
        ("Hold the red button. [1]", (0,)),
        ("Hold the red button [1][7]", (0,)),
        ("Hold the red button [1, 9, 0]", (0,)),
        ("Hold the red button [Source 1]", (0,)),
        ("Answer: Hold the red button [1]", (0,)),
        ("The answer is: Hold the red button [1]", (0,)),
        ("**Hold** the [red](http://evil.example) button [1]", (0,)),
    ],
)
def test_numbers_are_read_as_models_write_them_and_others_are_removed(
    text: str, sources: tuple[int, ...]
) -> None:
    ((shown, found),) = claims(text)
    assert shown.rstrip(".").endswith("the red button")
    assert found == sources


def test_a_wrong_number_gives_way_to_the_source_that_holds_the_words() -> None:
    assert claims("Hold the red button for ten seconds [2]") == [
        ("Hold the red button for ten seconds", (0,))
    ]
    assert claims("Hold the red button for ten seconds [9]") == [
        ("Hold the red button for ten seconds", (0,))
    ]
    assert claims("Hold the red button for ten seconds") == [("Hold the red button for ten seconds", (0,))]


@pytest.mark.parametrize(
    "text",
    [
        "Call the hotline at once [1]",
        "Pigs fly over mountains.",
        "Hold the red button for 99 seconds [1]",
        "The warranty lasts 36 months [2]",
        "[1]",
        "[1] [2]",
        "...",
        "",
        "   \n ",
        "\u200b",
    ],
)
def test_what_no_source_supports_is_no_answer_and_the_reason_is_given(text: str) -> None:
    draft = checked(text)
    assert draft.statements == ()
    assert draft.reason


def test_a_figure_of_the_question_may_be_repeated() -> None:
    assert checked("Hold the red button of model 500 [1]", "How do I reset model 500?").statements


def test_unsupported_sentences_are_left_out_with_a_note() -> None:
    draft = checked("Hold the red button for ten seconds [1]. Pigs fly over mountains. Cows too [2].")
    assert [s.text for s in draft.statements] == ["Hold the red button for ten seconds."]
    assert draft.notes == ("2 statements that no source supports left out.",)


def test_a_number_at_a_paragraphs_end_is_of_its_sentences() -> None:
    assert claims("Press the red button. All settings go away. [1]") == [
        ("Press the red button.", (0,)),
        ("All settings go away.", (0,)),
    ]


def test_lists_and_code_keep_their_kind() -> None:
    listed = "1. Hold the red button [1]\n2. Keep the receipt [2]\n\n- the lamp blinks [1]\n"
    text = f"{listed}\n```\nreset settings\n```"
    found = [(s.kind, s.label, s.text) for s in checked(text).statements]
    assert found == [
        ("step", "1.", "Hold the red button"),
        ("step", "2.", "Keep the receipt"),
        ("item", "", "the lamp blinks"),
        ("code", "", "reset settings"),
    ]
    blocks = [s.block for s in checked(text).statements]
    assert blocks[0] == blocks[1] != blocks[2]


def test_a_sentence_said_twice_is_kept_once() -> None:
    assert len(claims("The lamp blinks. The lamp blinks. The lamp blinks.")) == 1


@pytest.mark.parametrize(
    "text",
    [
        REFUSAL,
        "I'm not sure.",
        "I\u2019m not sure about that [1].",
        "I am sorry, but I cannot answer this.",
        "I don't know.",
        "The sources do not say when it ends. [2]",
        "The provided context doesn't contain this information.",
        "This is not mentioned in the documents.",
        "There is no information about pigs.",
        "Answer: It cannot be determined from the text.",
        "**Answer:** I'm not sure: the sources do not answer this.",
    ],
)
def test_refusals_are_recognised(text: str) -> None:
    assert refuses(text)
    draft = checked(text)
    assert draft == Draft((), "The language model found no answer in the sources.")


@pytest.mark.parametrize(
    "text",
    [
        "Hold the red button [1]. The sources do not say for how long.",
        "If you are not sure, keep the receipt [2].",
        "The warranty is not limited to the lamp [2].",
        "The vaccine is not given in the first month [1].",
        "Text messages do not include tax [1].",
        "Do not hold the button longer than ten seconds [1].",
    ],
)
def test_answers_that_only_sound_like_refusals_are_none(text: str) -> None:
    assert not refuses(text)


def test_a_text_in_circles_is_noticed_and_a_list_is_not() -> None:
    assert goes_in_circles("The source of the information is the original source. " * 4)
    assert not goes_in_circles(
        "".join(f"{n}. Press button number {n} of the control panel.\n" for n in range(30))
    )
    assert not goes_in_circles("")


def test_hostile_text_is_checked_in_reasonable_time() -> None:
    for text in (
        "[" * 50_000,
        "[1]" * 20_000,
        "a [1] " * 10_000,
        "```" * 10_000,
        "1. " * 20_000,
        "." * 60_000,
    ):
        checked(text)
