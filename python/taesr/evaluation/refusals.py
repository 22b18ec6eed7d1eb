"""How readily should a model refuse? The bias of its refusals at which so many answerable questions go."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taesr.answer.local_model import LocalModel
from taesr.answer.prompt import MOST_BIAS, Message
from taesr.errors import InvalidArgument

SHARES = (0.05, 0.1, 0.15, 0.2, 0.3)


@dataclass(frozen=True)
class GroundedPrompt:
    """A question with its sources, as the model is asked, and whether they answer it."""

    messages: Sequence[Message]
    answerable: bool


@dataclass(frozen=True)
class RefusalCurve:
    """`LocalModel.refusal_margin` of questions of both kinds: a bias above a question's margin refuses it."""

    answerable: tuple[float, ...]
    unanswerable: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.answerable or not self.unanswerable:
            raise InvalidArgument(
                f"there are {len(self.answerable)} answerable and {len(self.unanswerable)} unanswerable "
                "questions; give some of both"
            )

    def bias(self, share: float) -> float:
        """The largest bias, in thousandths of a nat, that refuses at most `share` of answerable questions."""
        if not 0 <= share <= 1:
            raise InvalidArgument(f"the share is {share}; allowed: 0 to 1")
        margins = [*sorted(self.answerable), math.inf]
        first_kept = min(margins[math.floor(share * len(self.answerable) + 1e-9)], MOST_BIAS)
        # Below it, for of two equally probable tokens either may be taken.
        return max(math.ceil(first_kept * 1000 - 1) / 1000, -MOST_BIAS)

    def refused(self, bias: float) -> tuple[float, float]:
        """Shares of answerable and of unanswerable questions that the bias refuses."""
        answerable, unanswerable = (np.array(side) < bias for side in (self.answerable, self.unanswerable))
        return float(answerable.mean()), float(unanswerable.mean())

    @property
    def auroc(self) -> float:
        """Probability that an unanswerable question is nearer to a refusal than an answerable one."""
        difference = np.array(self.answerable)[:, None] - np.array(self.unanswerable)
        return float((difference > 0).mean() + (difference == 0).mean() / 2)

    def to_dict(self, share: float) -> dict[str, Any]:
        """Values for JSON: the bias for `share`, and the curve with it, with no bias and with others."""
        biases = sorted({0.0} | {self.bias(s) for s in (share, *SHARES)})
        points = [(bias, *self.refused(bias)) for bias in biases]
        names = ("refusal_bias", "refused_answerable", "refused_unanswerable")
        return {
            "refusal_bias": self.bias(share),
            "answerable": len(self.answerable),
            "unanswerable": len(self.unanswerable),
            "auroc": self.auroc,
            "curve": [dict(zip(names, point, strict=True)) for point in points],
        }


def measure_refusals(
    model: LocalModel,
    prompts: Iterable[GroundedPrompt],
    *,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> RefusalCurve:
    """The margin of every prompt; the model's own refusal_bias does not count."""
    margins: dict[bool, list[float]] = {True: [], False: []}
    for n, prompt in enumerate(prompts, 1):
        margins[prompt.answerable].append(model.refusal_margin(prompt.messages))
        if progress:
            progress("questions", n, None)
    return RefusalCurve(tuple(margins[True]), tuple(margins[False]))
