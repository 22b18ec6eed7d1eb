"""The bundled recursive decoder, as the generator `mor`."""

import pytest
from writing import passage

from taesr import Decoder
from taesr.answer import ModelGenerator, create_generator
from taesr.answer.language_model import collect
from taesr.answer.local_model import find_mor
from taesr.answer.passages import Passage

LIGHTHOUSE = (
    "The lighthouse on Gull Rock was built in 1874 by Ann Marsh, an engineer from Ost. Its lamp can be seen "
    "from 31 kilometres away. The keeper's house beside it burned down in 1922 and was never rebuilt."
)
RYE = "Rye is grown in the valley below, and sold at two markets every Saturday."


@pytest.fixture(scope="module")
def mor() -> ModelGenerator:
    generator = create_generator("mor")
    assert isinstance(generator, ModelGenerator)
    return generator


@pytest.fixture(scope="module")
def sources() -> list[Passage]:
    return [passage(RYE, "Rye"), passage(LIGHTHOUSE, "Gull Rock")]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who built the lighthouse on Gull Rock?", "Ann Marsh"),
        ("In what year did the keeper's house burn down?", "1922"),
        ("From how far can the lamp be seen?", "31 kilometres"),
    ],
)
def test_it_answers_with_the_number_of_the_source(
    mor: ModelGenerator, sources: list[Passage], question: str, answer: str
) -> None:
    draft, text = collect(mor.stream(question, sources, max_statements=3))
    assert answer in text
    assert "[2]" in text
    assert [statement.sources for statement in draft.statements] == [(1,)]


@pytest.mark.parametrize("question", ["What is the capital of France?", "How do I reset my printer?"])
def test_it_refuses_what_no_source_answers(
    mor: ModelGenerator, sources: list[Passage], question: str
) -> None:
    draft, _ = collect(mor.stream(question, sources, max_statements=3))
    assert draft.statements == ()
    assert draft.reason == "The language model found no answer in the sources."


def test_it_is_a_routed_decoder_that_fits_the_repository() -> None:
    file = find_mor()
    assert file.stat().st_size < 60e6
    decoder = Decoder.load(file)
    config = decoder.config
    assert (config.sharing, config.recursions, config.routing) == ("middle_cycle", 2, "expert_choice")
    assert (config.layers, config.unique_layers) == (30, 16)
    passed = decoder.trace(decoder.encode(LIGHTHOUSE)).recursions
    assert {1, 2} == set(passed)
