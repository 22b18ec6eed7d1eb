"""Fits the model that tells an answerable question from one that the documents do not answer.

    python benchmarks/calibrate_confidence.py --squad squad-dev-v2.jsonl.xz --faq stackexchange.jsonl.xz \
        --off-topic clinc150.json.xz --write

Half of SQuAD's articles and half of the FAQ's entries are made into collections. Their questions are
answerable if their own passage was among those read; the questions of the other half and the off-topic
utterances are not, nor are SQuAD 2.0's own unanswerable questions, which were written to fit a paragraph
and are told apart by reading, not by retrieval: they count little in the fit and are reported for honesty.

The model is a logistic regression over `taesr.answer.confidence.FEATURES`, fitted on half of the
questions; the figures are of the other half.
"""

import argparse
import json
import lzma
import random
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import numpy.typing as npt

import taesr
from taesr.answer import confidence
from taesr.answer.bot import POOL
from taesr.answer.evidence import read
from taesr.evaluation.plots import require_matplotlib

READ = 6  # passages, as AnswerOptions.k
# Weight of each kind of question in the fit; the answerable and the other ones add up to the same.
WEIGHTS = {"answerable": 1.0, "left out": 0.45, "off topic": 0.45, "adversarial": 0.1}
RIDGE = 1e-3
THRESHOLDS = (0.3, 0.4, 0.5, 0.6)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A question, its kind, and the document that answers it (empty: none does)."""

    question: str
    kind: str
    document: str = ""


@dataclass(frozen=True)
class Source:
    """Documents to retrieve from, and questions to ask."""

    name: str
    documents: list[taesr.Document]
    cases: list[Case]


class RememberingEncoder:
    """Embeds a text once: many questions are about the same paragraphs."""

    def __init__(self, encoder: taesr.Encoder) -> None:
        self._encoder = encoder
        self._known: dict[tuple[str, str, str | int], npt.NDArray[np.float32]] = {}

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: Literal["query", "passage"] = "passage",
        depth: str | int = "auto",
    ) -> npt.NDArray[np.float32]:
        """As `taesr.Encoder.encode`."""
        new = [text for text in dict.fromkeys(texts) if (text, role, depth) not in self._known]
        if new:
            vectors = self._encoder.encode(new, role=role, depth=depth)
            self._known |= {(text, role, depth): row for text, row in zip(new, vectors, strict=True)}
        return np.stack([self._known[text, role, depth] for text in texts])


def open_text(path: Path) -> TextIO:
    """Open a text file, compressed with xz or not."""
    return lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8")


def read_squad(path: Path, draw: random.Random) -> Source:
    """Paragraphs as documents; JSON lines with title, para, context and qas[question, answers]."""
    with open_text(path) as file:
        rows = [json.loads(line) for line in file]
    titles = sorted({row["title"] for row in rows})
    kept = set(draw.sample(titles, len(titles) // 2))
    documents, cases = [], []
    for row in rows:
        name = f"{row['title']}/{row['para']}"
        if row["title"] in kept:
            title = row["title"].replace("_", " ")
            documents.append(taesr.Document(id=name, title=title, text=row["context"]))
        for entry in row["qas"]:
            answered = "answerable" if entry["answers"] else "adversarial"
            kind = answered if row["title"] in kept else "left out"
            cases.append(Case(entry["question"], kind, name if kind == "answerable" else ""))
    return Source(path.name, documents, cases)


def read_faq(path: Path, draw: random.Random) -> Source:
    """Best answers as documents; JSON lines with question or title, and answer or answers[text]."""
    documents, cases = [], []
    with open_text(path) as file:
        for number, row in enumerate(map(json.loads, file)):
            answer = row.get("answer") or next((entry["text"] for entry in row["answers"]), "")
            question = row.get("question") or row["title"]
            if not answer.strip():
                continue
            name = f"{number}"
            if draw.random() < 0.5:
                documents.append(taesr.Document(id=name, title="", text=answer))
                cases.append(Case(question, "answerable", name))
            else:
                cases.append(Case(question, "left out"))
    return Source(path.name, documents, cases)


def read_off_topic(path: Path) -> list[Case]:
    """Out-of-scope utterances of CLINC150: JSON with lists of [utterance, intent]."""
    with open_text(path) as file:
        groups = json.load(file)
    return [
        Case(text, "off topic") for name in sorted(groups) for text, intent in groups[name] if intent == "oos"
    ]


def measure(
    source: Source, encoder: taesr.Encoder, limit: int, draw: random.Random
) -> Iterator[tuple[str, bool, Floats]]:
    """Kind, whether the answer was read, and the features, of up to `limit` questions of each kind."""
    by_kind: dict[str, list[Case]] = {}
    for case in source.cases:
        by_kind.setdefault(case.kind, []).append(case)
    with (
        tempfile.TemporaryDirectory() as folder,
        taesr.Collection.open(folder, encoder=encoder) as collection,
    ):
        collection.add(source.documents)
        reader = RememberingEncoder(encoder)
        for kind in sorted(by_kind):
            cases = draw.sample(by_kind[kind], min(limit, len(by_kind[kind])))
            for number, case in enumerate(cases):
                hits = collection.search(case.question, k=POOL).hits
                evidence = read(case.question, hits, reader, k=READ)
                values = confidence.features(hits, evidence)
                was_read = any(passage.document == case.document for passage in evidence.passages)
                yield kind, was_read, np.array([values[name] for name in confidence.FEATURES])
                if number % 100 == 0:
                    print(f"{source.name}: {kind} {number}/{len(cases)}", file=sys.stderr)


def fit(values: Floats, labels: Floats, weights: Floats) -> tuple[float, Floats]:
    """Logistic regression whose slopes are not negative: every feature speaks for an answer.

    Where two features say nearly the same, a free fit plays them off against each other, and a better
    match can then lower the probability. The feature with the lowest slope is left out until none is.
    """
    used = list(range(values.shape[1]))
    while True:
        intercept, slopes = fit_freely(values[:, used], labels, weights)
        if slopes.min() >= 0:
            break
        used.pop(int(slopes.argmin()))
    spread = np.zeros(values.shape[1])
    spread[used] = slopes
    return intercept, spread


def fit_freely(values: Floats, labels: Floats, weights: Floats) -> tuple[float, Floats]:
    """Logistic regression with a small ridge, by Newton's method on standardised features."""
    mean, spread = values.mean(0), values.std(0) + 1e-9
    design = np.c_[np.ones(len(values)), (values - mean) / spread]
    weights = weights / weights.sum()
    ridge = RIDGE * np.diag([0.0] + [1.0] * values.shape[1])
    theta = np.zeros(design.shape[1])
    for _ in range(50):
        predicted = 1 / (1 + np.exp(-design @ theta))
        slope = design.T @ (weights * (predicted - labels)) + ridge @ theta
        curve = (design * (weights * predicted * (1 - predicted))[:, None]).T @ design + ridge
        step = np.linalg.solve(curve, slope)
        theta -= step
        if np.abs(step).max() < 1e-9:
            break
    slopes = theta[1:] / spread
    return float(theta[0] - slopes @ mean), slopes


def area_under_roc(positive: Floats, negative: Floats) -> float:
    """Probability that a positive one scores higher than a negative one, ties counting half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left")
    upto = np.searchsorted(ordered, positive, "right")
    return float((below + upto).mean() / 2 / len(negative))


def report(kinds: npt.NDArray[np.str_], labels: Floats, scores: Floats) -> dict[str, Any]:
    """For each kind of question: the share answered by threshold, and ROC AUC of the unanswerable ones."""
    positive = scores[labels == 1]
    figures: dict[str, Any] = {"answerable": {"n": len(positive), "answered": answered(positive)}}
    for kind in ("left out", "off topic", "adversarial"):
        negative = scores[(kinds == kind) & (labels == 0)]
        if len(negative):
            auc = round(area_under_roc(positive, negative), 4)
            figures[kind] = {"n": len(negative), "auc": auc, "answered": answered(negative)}
    return figures


def draw_roc(path: Path, kinds: npt.NDArray[np.str_], labels: Floats, scores: Floats) -> None:
    """Draw the ROC curve of the answerable questions against each kind of unanswerable ones, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    positive = np.sort(scores[labels == 1])
    for kind in ("off topic", "left out", "adversarial"):
        negative = np.sort(scores[(kinds == kind) & (labels == 0)])
        if len(negative) == 0:
            continue
        cuts = np.r_[-np.inf, np.unique(scores), np.inf]
        kept = 1 - np.searchsorted(positive, cuts) / len(positive)
        let_through = 1 - np.searchsorted(negative, cuts) / len(negative)
        auc = area_under_roc(positive, negative)
        axes.plot(let_through, kept, label=f"{kind}: AUC {auc:.3f}, {len(negative)} questions")
    axes.plot([0, 1], [0, 1], ":", color="#999999")
    axes.set_xlabel("unanswerable questions that are answered")
    axes.set_ylabel("answerable questions that are answered")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def answered(scores: Floats) -> dict[str, float]:
    """Share of the questions that a bot with this threshold answers."""
    return {str(threshold): round(float((scores >= threshold).mean()), 4) for threshold in THRESHOLDS}


def calibration(labels: Floats, scores: Floats, weights: Floats) -> list[dict[str, float]]:
    """Mean probability and share of answerable questions in five bins of equal width."""
    bins = np.minimum((scores * 5).astype(int), 4)
    return [
        {
            "probability": round(float(np.average(scores[bins == b], weights=weights[bins == b])), 3),
            "answerable": round(float(np.average(labels[bins == b], weights=weights[bins == b])), 3),
        }
        for b in range(5)
        if (bins == b).any()
    ]


def balance(kinds: npt.NDArray[np.str_], labels: Floats) -> Floats:
    """Weights that make the kinds count as `WEIGHTS` says, whatever their numbers."""
    weights = np.zeros(len(kinds))
    weights[labels == 1] = WEIGHTS["answerable"] / max(1, (labels == 1).sum())
    for kind in ("left out", "off topic", "adversarial"):
        chosen = (kinds == kind) & (labels == 0)
        weights[chosen] = WEIGHTS[kind] / max(1, chosen.sum())
    return weights


def main() -> None:
    """Measure, fit, report and, if asked to, store."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--squad", type=Path, required=True, help="SQuAD 2.0, one paragraph a line")
    parser.add_argument(
        "--faq", type=Path, action="append", default=[], help="questions with answers, one a line"
    )
    parser.add_argument("--off-topic", type=Path, required=True, help="CLINC150")
    parser.add_argument(
        "--questions", type=int, default=600, help="most of each kind and source (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="store the model in the package")
    parser.add_argument("--plot", type=Path, help="draw the ROC curves to this PNG file")
    arguments = parser.parse_args()
    if arguments.plot:
        require_matplotlib()

    draw = random.Random(arguments.seed)
    encoder = taesr.Encoder.load()
    sources = [read_squad(arguments.squad, draw), *(read_faq(path, draw) for path in arguments.faq)]
    for source in sources:
        source.cases.extend(read_off_topic(arguments.off_topic))
    measured = [row for source in sources for row in measure(source, encoder, arguments.questions, draw)]
    # An answerable question whose passage was not found is not answerable from what was found, but it
    # is no example of the other kinds either.
    measured = [
        (kind, was_read, values) for kind, was_read, values in measured if was_read or kind != "answerable"
    ]
    draw.shuffle(measured)
    kinds = np.array([kind for kind, _, _ in measured])
    labels = np.array([float(kind == "answerable") for kind in kinds])
    values = np.stack([row for _, _, row in measured])
    weights = balance(kinds, labels)
    train = np.arange(len(measured)) % 2 == 0
    intercept, slopes = fit(values[train], labels[train], weights[train])
    scores = 1 / (1 + np.exp(-(intercept + values[~train] @ slopes)))
    stored = {
        "intercept": round(intercept, 4),
        "weights": {name: round(float(w), 4) for name, w in zip(confidence.FEATURES, slopes, strict=True)},
        "command": " ".join(
            ["python", "benchmarks/calibrate_confidence.py", *map(shlex.quote, _public_arguments())]
        ),
        "encoder": encoder.fingerprint,
        "held_out": report(kinds[~train], labels[~train], scores),
        "calibration": calibration(labels[~train], scores, weights[~train]),
    }
    text = json.dumps(stored, indent=2)
    print(text)
    if arguments.plot:
        draw_roc(arguments.plot, kinds[~train], labels[~train], scores)
    if arguments.write:
        Path(confidence.__file__).with_name("confidence.json").write_text(text + "\n", encoding="utf-8")


def _public_arguments() -> list[str]:
    """The command's arguments, files by their names only."""
    return [Path(argument).name if "/" in argument else argument for argument in sys.argv[1:]]


if __name__ == "__main__":
    main()
