"""Probes: what does a subspace know? Simple readers of frozen embeddings, measured on held-out data.

Data are JSON lines of one kind a file:

- ``order``: ``{"first", "second", "label": 0 | 1}``, 1 where the first comes earlier (temporal);
- ``pair``: ``{"first", "second", "label": 0 | 1}``, 1 where the two belong together;
- ``label``: ``{"text", "label": str}``, such as how-to against fact (procedural);
- ``triplet``: ``{"anchor", "positive", "negative"}``, such as a paragraph, its neighbour, and a random
  one of the same article (contextual);
- ``group``: ``{"text", "group": str}``, such as the decade of a dated sentence (temporal retrieval).

Each may have ``"source"``, such as the article: a source never lies on both sides of a split.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from taesr.errors import Error, FormatError, InvalidArgument, IoError

Floats = npt.NDArray[np.floating]
Embed = Callable[[list[str]], Floats]
Kind = Literal["order", "pair", "label", "triplet", "group"]

_TEXTS: dict[str, tuple[str, ...]] = {
    "order": ("first", "second"),
    "pair": ("first", "second"),
    "label": ("text",),
    "triplet": ("anchor", "positive", "negative"),
    "group": ("text",),
}
_ANSWERS = {"order": "label", "pair": "label", "label": "label", "group": "group"}
_TEST_SHARE = 0.3


@dataclass(frozen=True)
class ProbeData:
    """Items of one kind.

    Attributes
    ----------
    kind : str
    texts : dict of str to list of str
        By field of the kind, in one order of items.
    answers : list
        Labels or groups; empty for triplets.
    sources : list of str
        What must not be split; every item its own where the file names none.
    """

    kind: Kind
    texts: dict[str, list[str]]
    answers: list[Any]
    sources: list[str]


@dataclass(frozen=True)
class ProbeResult:
    """How well a probe answered.

    Attributes
    ----------
    score : float
        Accuracy, or for groups the precision of the nearest neighbours; mean over the splits.
    chance : float
        What needs no embedding: the most frequent answer, a coin, or a random neighbour.
    deviation : float
        Standard deviation over the splits; for triplets and groups, which need none, the standard
        error over the items.
    items : int
        Held out, by split on average.
    """

    score: float
    chance: float
    deviation: float
    items: int


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """How probes are fitted.

    Attributes
    ----------
    splits : int
        Random splits by source, 30 percent held out.
    regularisation : float
        C of the logistic regression, on standardised features.
    neighbours : int
        Of the retrieval of groups.
    seed : int
    """

    splits: int = 5
    regularisation: float = 1.0
    neighbours: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("splits", "neighbours"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.regularisation > 0:
            raise InvalidArgument(f"regularisation is {self.regularisation}; it must be above 0")


_DEFAULT = ProbeOptions()


def load_probe(path: str | Path, kind: Kind) -> ProbeData:
    """Read a file of JSON lines.

    Raises
    ------
    IoError
        The file is missing.
    FormatError
        A line does not fit the kind; the message starts with ``file:line``.
    """
    if kind not in _TEXTS:
        raise InvalidArgument(f"kind {kind!r} is not one of {', '.join(_TEXTS)}")
    source = Path(path)
    if not source.is_file():
        raise IoError(f"{source}: no such file")
    data = ProbeData(kind, {name: [] for name in _TEXTS[kind]}, [], [])
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                _append(data, f"{source}:{number}", line)
    if not data.sources:
        raise FormatError(f"{source}: no items")
    return data


def _append(data: ProbeData, where: str, line: bytes) -> None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise FormatError(f"{where}: not valid JSON in UTF-8") from None
    if not isinstance(record, dict):
        raise FormatError(f"{where}: must be one JSON object, got {type(record).__name__}")
    for name in _TEXTS[data.kind]:
        if not isinstance(record.get(name), str) or not record[name].strip():
            raise FormatError(f"{where}: {name!r} must be a text, got {record.get(name)!r}")
    answer = _ANSWERS.get(data.kind)
    if answer is not None:
        value = record.get(answer)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise FormatError(f"{where}: {answer!r} must be a name or a number, got {value!r}")
        binary = data.kind in ("order", "pair")
        if binary and value not in (0, 1):
            raise FormatError(f"{where}: {answer!r} must be 0 or 1, got {value!r}")
        data.answers.append(value if binary else str(value))
    for name in _TEXTS[data.kind]:
        data.texts[name].append(record[name])
    data.sources.append(str(record.get("source", where)))


def run_probes(
    data: ProbeData, embedders: Mapping[str, Embed], options: ProbeOptions = _DEFAULT
) -> dict[str, ProbeResult]:
    """Measure every embedding on the same items and splits.

    Parameters
    ----------
    data : ProbeData
    embedders : mapping
        Name, such as that of a subspace, to a function from texts to vectors [texts, dim].
    """
    results = {}
    for name, embed in embedders.items():
        vectors = {part: np.asarray(embed(texts), dtype=np.float64) for part, texts in data.texts.items()}
        results[name] = run_probe(data, vectors, options)
    return results


def run_probe(
    data: ProbeData, vectors: Mapping[str, Floats], options: ProbeOptions = _DEFAULT
) -> ProbeResult:
    """Measure vectors [items, dim], by field of the kind."""
    for part in data.texts:
        if len(vectors[part]) != len(data.sources) or not np.isfinite(vectors[part]).all():
            raise InvalidArgument(
                f"{part!r} needs {len(data.sources)} finite rows, got shape {vectors[part].shape}"
            )
    if data.kind == "triplet":
        return probe_triplets(vectors["anchor"], vectors["positive"], vectors["negative"])
    if data.kind == "group":
        return probe_groups(vectors["text"], data.answers, data.sources, options)
    if data.kind == "label":
        return probe_labels(vectors["text"], data.answers, data.sources, options)
    features = order_features if data.kind == "order" else pair_features
    return probe_labels(features(vectors["first"], vectors["second"]), data.answers, data.sources, options)


def order_features(first: Floats, second: Floats) -> Floats:
    """Return the difference: exchanging the two turns its sign and nothing else."""
    return first - second


def pair_features(first: Floats, second: Floats) -> Floats:
    """Return products and absolute differences: exchanging the two changes nothing."""
    return np.hstack([first * second, np.abs(first - second)])


def probe_labels(
    features: Floats, labels: Sequence[Any], sources: Sequence[str], options: ProbeOptions = _DEFAULT
) -> ProbeResult:
    """Fit a logistic regression on standardised `features` [items, n] and measure it on held-out sources.

    Raises
    ------
    InvalidArgument
        One label only, or too few sources to hold some out with every label on both sides.
    Error
        scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
        from sklearn.model_selection import GroupShuffleSplit  # type: ignore[import-untyped]
        from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
        from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]
    except ImportError:
        raise Error("probes need scikit-learn: pip install scikit-learn") from None

    answers = np.asarray(labels)
    if len(set(labels)) < 2 or len(set(sources)) < 4:
        raise InvalidArgument(
            f"{len(set(labels))} labels from {len(set(sources))} sources; a probe needs 2 and 4 at least"
        )
    splitter = GroupShuffleSplit(options.splits, test_size=_TEST_SHARE, random_state=options.seed)
    scores, chances, items = [], [], []
    for train, test in splitter.split(features, answers, sources):
        if len(set(answers[train])) < 2:
            raise InvalidArgument("a split has one label only to learn from; give more sources of each label")
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=options.regularisation, max_iter=2000)
        ).fit(features[train], answers[train])
        scores.append(float(np.mean(model.predict(features[test]) == answers[test])))
        values, counts = np.unique(answers[train], return_counts=True)
        chances.append(float(np.mean(answers[test] == values[np.argmax(counts)])))
        items.append(len(test))
    return ProbeResult(
        float(np.mean(scores)), float(np.mean(chances)), float(np.std(scores)), round(np.mean(items))
    )


def probe_triplets(anchor: Floats, positive: Floats, negative: Floats) -> ProbeResult:
    """How often an anchor's cosine with its positive is above that with its negative; ties count half."""
    unit_anchor, unit_positive, unit_negative = map(_unit, (anchor, positive, negative))
    margins = np.sum(unit_anchor * (unit_positive - unit_negative), axis=1)
    # Cosines that differ in their last bits are equal.
    right = np.where(np.abs(margins) < 1e-9, 0.5, np.where(margins > 0, 1.0, 0.0))
    return ProbeResult(float(right.mean()), 0.5, float(right.std() / np.sqrt(len(right))), len(right))


def probe_groups(
    vectors: Floats, groups: Sequence[Any], sources: Sequence[str], options: ProbeOptions = _DEFAULT
) -> ProbeResult:
    """Precision of the nearest neighbours by cosine: how many are of the item's group.

    Neighbours of an item's own source do not count, as their words give them away.

    Raises
    ------
    InvalidArgument
        One group only, or fewer candidates from other sources than neighbours for some item.
    """
    names, sources_array = np.asarray(groups), np.asarray(sources)
    if len(set(groups)) < 2:
        raise InvalidArgument("the items need at least two groups to tell apart")
    unit = _unit(vectors)
    precisions, chances = [], []
    for row in range(len(unit)):
        allowed = np.flatnonzero(sources_array != sources_array[row])
        if len(allowed) < options.neighbours:
            raise InvalidArgument(
                f"item {row + 1} has {len(allowed)} candidates from other sources; needs {options.neighbours}"
            )
        nearest = allowed[np.argsort(-(unit[allowed] @ unit[row]), kind="stable")[: options.neighbours]]
        precisions.append(float(np.mean(names[nearest] == names[row])))
        chances.append(float(np.mean(names[allowed] == names[row])))
    deviation = float(np.std(precisions) / np.sqrt(len(precisions)))
    return ProbeResult(float(np.mean(precisions)), float(np.mean(chances)), deviation, len(precisions))


def _unit(vectors: Floats) -> Floats:
    rows: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return rows
