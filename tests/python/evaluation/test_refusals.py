"""The bias of refusals, against curves worked out by hand and what a decoder then does."""

import random
from pathlib import Path

import pytest
from tests.python import small_gguf

from taesr.answer import GeneratorOptions, ModelGenerator, create_generator
from taesr.answer.local_model import LocalModel
from taesr.answer.prompt import REFUSAL
from taesr.errors import InvalidArgument
from taesr.evaluation.answers import Trial, draw_prompts, evaluate_answers
from taesr.evaluation.refusals import RefusalCurve, measure_refusals
from taesr.evaluation.squad import Paragraph, Question

CURVE = RefusalCurve((4.0, 1.0, 3.0, 2.0), (0.5, 2.5))


@pytest.mark.parametrize(
    ("share", "bias", "refused"),
    [
        (0, 0.999, (0, 0.5)),
        (0.24, 0.999, (0, 0.5)),
        (0.25, 1.999, (0.25, 0.5)),
        (0.5, 2.999, (0.5, 1)),
        (0.75, 3.999, (0.75, 1)),
        (1, 99.999, (1, 1)),
    ],
)
def test_the_largest_bias_that_refuses_no_more_than_the_share(
    share: float, bias: float, refused: tuple[float, float]
) -> None:
    assert CURVE.bias(share) == bias
    assert CURVE.refused(bias) == refused


def test_the_share_is_kept_and_a_larger_bias_breaks_it() -> None:
    draw = random.Random(5)
    for count in (1, 7, 100):
        margins = tuple(round(draw.gauss(1, 2), 2) for _ in range(count))  # many are equal
        curve = RefusalCurve(margins, (0.0,))
        for share in (0, 0.1, 0.15, 0.2, 0.5):
            bias = curve.bias(share)
            assert curve.refused(bias)[0] <= share
            assert curve.refused(bias + 0.002)[0] > share


def test_auroc_counts_pairs() -> None:
    assert CURVE.auroc == (4 + 2) / 8
    assert RefusalCurve((1.0,), (1.0,)).auroc == 0.5
    assert RefusalCurve((2.0, 3.0), (0.0, 1.0)).auroc == 1


def test_both_kinds_are_needed_and_shares_are_shares() -> None:
    sides: tuple[tuple[float, ...], tuple[float, ...]] = ((), (1.0,))
    for answerable, unanswerable in (sides, sides[::-1]):
        with pytest.raises(InvalidArgument, match="give some of both"):
            RefusalCurve(answerable, unanswerable)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidArgument, match="allowed: 0 to 1"):
            CURVE.bias(share)


def test_answers_begin_with_the_refusal_exactly_where_the_curve_says(tmp_path: Path) -> None:
    file = small_gguf.write(tmp_path / "small.gguf", positions=4096)
    asked = [
        Paragraph(
            f"Lamp {n}",
            f"The works in Corby made lamp {n} in {1900 + n}.",
            (Question(f"When was lamp {n} made?", (str(1900 + n),)), Question(f"Who drew lamp {n}?", ())),
        )
        for n in range(6)
    ]

    def generator(bias: float) -> ModelGenerator:
        options = GeneratorOptions(model=str(file), context_tokens=4000, max_tokens=1, refusal_bias=bias)
        made = create_generator("mor", options)
        assert isinstance(made, ModelGenerator)
        return made

    biased = generator(50)
    assert isinstance(biased.model, LocalModel)
    curve = measure_refusals(biased.model, draw_prompts(biased, asked, sources=2))
    assert len(curve.answerable) == len(curve.unanswerable) == 6
    for share in (0.2, 0.5, 0.9):
        bias = curve.bias(share)
        trials: list[Trial] = []
        evaluate_answers(generator(bias), asked, sources=2, on_trial=trials.append)
        begun = [sum(t.text == REFUSAL[0] and bool(t.gold) == kind for t in trials) for kind in (True, False)]
        assert (begun[0] / 6, begun[1] / 6) == pytest.approx(curve.refused(bias))
