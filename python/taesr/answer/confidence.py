"""How likely is it that the answer to a question is in the retrieved text?"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from taesr.answer.evidence import Evidence
from taesr.errors import FormatError

if TYPE_CHECKING:
    from taesr.collection import Hit

FEATURES = (
    "top_cosine",  # of the best passage with the question
    "margin",  # of that over the mean of the other passages
    "sentence_cosine",  # of the best sentence with the question
    "sentence_coverage",  # share of the question's terms, by weight, in the best sentence and its headings
    "passage_coverage",  # the same in the best passage
    "pool_coverage",  # the same in everything retrieved
    "agreement",  # 1 / the better passage's worse rank by the dense and the keyword head
)


def features(hits: Sequence["Hit"], evidence: Evidence) -> dict[str, float]:
    """Values of `FEATURES`, each from 0 to about 1, of one search and what reading its hits showed."""
    cosines = sorted((hit.scores["dense"] for hit in hits if "dense" in hit.scores), reverse=True)
    # Keyword search brings no cosines of passages; the best sentence's is the nearest thing to them.
    top = cosines[0] if cosines else evidence.best_cosine
    others = cosines[1:] or [top]
    both = [[hit.ranks[head] for head in ("dense", "keyword") if head in hit.ranks] for hit in hits]
    ranks = [max(pair) for pair in both if len(pair) == 2]
    return {
        "top_cosine": top,
        "margin": top - sum(others) / len(others),
        "sentence_cosine": evidence.best_cosine,
        "sentence_coverage": evidence.unit_coverage,
        "passage_coverage": evidence.passage_coverage,
        "pool_coverage": evidence.pool_coverage,
        "agreement": 1 / min(ranks) if ranks else 0.0,
    }


@dataclass(frozen=True)
class ConfidenceModel:
    """Logistic regression over `FEATURES`; `benchmarks/calibrate_confidence.py` fits it."""

    intercept: float
    weights: Mapping[str, float]

    def probability(self, values: Mapping[str, float]) -> float:
        """Probability, 0 to 1, for the values of `features`."""
        z = self.intercept + sum(self.weights[name] * values[name] for name in FEATURES)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, z))))


@cache
def default_model() -> ConfidenceModel:
    """The model in `confidence.json`, which also says how it was fitted."""
    stored = json.loads(resources.files("taesr.answer").joinpath("confidence.json").read_text("utf-8"))
    if set(stored["weights"]) != set(FEATURES):
        raise FormatError(
            "taesr/answer/confidence.json has other features than this version; install taesr again"
        )
    return ConfidenceModel(stored["intercept"], stored["weights"])
