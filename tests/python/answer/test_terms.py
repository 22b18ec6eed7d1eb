"""Terms of questions and texts."""

import pytest

from taesr.answer.terms import coverage, stem, term_weights, terms


@pytest.mark.parametrize(
    "forms",
    [
        ("ask", "asks", "asked", "asking"),
        ("password", "passwords"),
        ("install", "installs", "installed", "installing", "installation"),
        ("stop", "stopped", "stopping", "stops"),
        ("copy", "copies"),
        ("index", "indexes"),
        ("move", "moves", "moved", "moving"),
        ("process", "processes"),
    ],
)
def test_forms_of_a_word_are_one_term(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize("word", ["gas", "bus", "this", "red", "king", "https", "c", "42", "naïve", "日本語"])
def test_short_and_foreign_words_keep_a_stem(word: str) -> None:
    assert stem(word)


def test_stop_words_are_no_terms() -> None:
    assert terms("What is it that I can do with you?") == []
    assert terms("How do I reset my password?") == [stem("reset"), stem("password")]


def test_punctuation_and_typographic_apostrophes_do_not_matter() -> None:
    assert terms("The user\u2019s e-mail (again!)") == terms("the user's e mail, again")


def test_a_rare_term_weighs_more_and_a_light_word_less() -> None:
    texts = [frozenset({"outlook", "keep"})] * 9 + [frozenset({"outlook", "password"})]
    weights = term_weights(["outlook", "password", "keep", "absent"], texts)
    assert weights["outlook"] < weights["password"] < weights["absent"] <= 2
    assert weights["keep"] < weights["outlook"]


def test_a_code_is_one_term_and_weighs_more_than_a_word() -> None:
    assert terms("error 5.7.1 or 0x8004def7.") == ["error", "5.7.1", "0x8004def7"]
    weights = term_weights(["5.7.1", "bounce"], [frozenset()] * 5)
    assert weights["5.7.1"] == 2 * weights["bounce"]


def test_coverage_is_the_share_of_the_weight() -> None:
    assert coverage({"a": 1.0, "b": 3.0}, {"b", "c"}) == 0.75
    assert coverage({}, {"a"}) == 0.0
