"""Whether a text's vector depends on its batch, its processor or its arithmetic.

    python benchmarks/batch_invariance.py scifact --device cuda --precisions float32 bfloat16

Every query and a share of the documents of a BEIR folder are encoded alone and in large batches; the vectors
are compared, and the ten best documents of every query. The second table compares each setting with float32
on the CPU. "margin" is the largest difference of scores between the tenth and the eleventh document of a
query whose ten best are not the same: what lies nearer together may change places.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import machine
import numpy as np
import numpy.typing as npt
import torch

from taesr import Encoder
from taesr.evaluation import evaluate_rankings, load_beir
from taesr.evaluation.beir import RetrievalDataset

Vectors = npt.NDArray[np.float32]
Role = Literal["query", "passage"]
MAX_TOKENS = 256
TOP = 10


@dataclass(frozen=True)
class Encoded:
    """Queries [Q, d] and documents [D, d] of one setting."""

    queries: Vectors
    documents: Vectors

    def best(self) -> tuple[npt.NDArray[np.int64], Vectors]:
        """Columns and scores [Q, 11] of the best documents."""
        scores = self.queries @ self.documents.T
        columns = np.argsort(-scores, axis=1, kind="stable")[:, : TOP + 1]
        return columns, np.take_along_axis(scores, columns, 1)


def main() -> int:
    options = parse()
    print(machine.headline(machine.describe(torch.get_num_threads())))
    if options.device.startswith("cuda"):
        print(f"cuda: {torch.cuda.get_device_name()}")
    data = load_beir(options.folder)
    settings: dict[tuple[str, str], Encoded] = {}
    print("\n| alone against in a batch | depth | 1 - least cosine | same ten best | same order | margin |")
    print("|---|---|---|---|---|---|")
    for precision in options.precisions:
        encoder = Encoder.load(options.model, device=options.device, precision=precision)
        for depth in options.depths:
            together = encode(encoder, data, depth, alone_every=0)
            alone = encode(encoder, data, depth, alone_every=options.every, rest=together)
            settings[precision, depth] = together
            print(row(f"{options.device} {precision}", depth, together, alone), flush=True)
    print("\n| against float32 on the CPU | depth | 1 - least cosine | same ten best | same order | margin |")
    print("|---|---|---|---|---|---|")
    reference = Encoder.load(options.model, precision="float32")
    figures = []
    for depth in options.depths:
        exact = encode(reference, data, depth, alone_every=0)
        figures.append(("cpu float32", depth, ndcg(data, exact)))
        for (precision, of_depth), found in settings.items():
            if of_depth == depth:
                print(row(f"{options.device} {precision}", depth, exact, found), flush=True)
                figures.append((f"{options.device} {precision}", depth, ndcg(data, found)))
    print("\n| | depth | nDCG@10 x 100 |\n|---|---|---|")
    for name, depth, value in figures:
        print(f"| {name} | {depth} | {100 * value:.2f} |")
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="BEIR folder")
    parser.add_argument("--model", type=Path, help="model folder (the bundled one)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], help="%(default)s")
    parser.add_argument("--depths", nargs="+", default=["easy", "hard"], help="%(default)s")
    parser.add_argument("--every", type=int, default=13, help="each how many-th document alone (%(default)s)")
    return parser.parse_args()


def encode(
    encoder: Encoder, data: RetrievalDataset, depth: str, *, alone_every: int, rest: Encoded | None = None
) -> Encoded:
    """Encode in batches; with `alone_every` all queries and each so many-th document by itself."""

    def vectors(texts: list[str], role: Role) -> Vectors:
        return encoder.encode(texts, role=role, depth=depth, on_overflow="truncate", max_tokens=MAX_TOKENS)

    if rest is None:
        return Encoded(vectors(data.queries, "query"), vectors(data.documents, "passage"))
    documents = rest.documents.copy()
    for place in range(0, len(documents), alone_every):
        documents[place] = vectors([data.documents[place]], "passage")[0]
    return Encoded(np.vstack([vectors([query], "query") for query in data.queries]), documents)


def row(name: str, depth: str, expected: Encoded, found: Encoded) -> str:
    """One line of a table."""
    products = [
        (a * b).sum(1, dtype=np.float64)
        for a, b in ((expected.queries, found.queries), (expected.documents, found.documents))
    ]
    least = 1 - min(float(p.min()) for p in products)
    (wanted, scores), (got, _) = expected.best(), found.best()
    same = np.array([set(a[:TOP]) == set(b[:TOP]) for a, b in zip(wanted, got, strict=True)])
    ordered = (wanted[:, :TOP] == got[:, :TOP]).all(1)
    margins = (scores[:, TOP - 1] - scores[:, TOP])[~same]
    margin = f"{margins.max():.1e}" if len(margins) else "-"
    return f"| {name} | {depth} | {least:.1e} | {same.mean():.1%} | {ordered.mean():.1%} | {margin} |"


def ndcg(data: RetrievalDataset, encoded: Encoded) -> float:
    """Mean nDCG@10."""
    columns, _ = encoded.best()
    run = {
        query: [data.document_ids[column] for column in best[:TOP]]
        for query, best in zip(data.query_ids, columns, strict=True)
    }
    return float(np.mean([v["ndcg@10"] for v in evaluate_rankings(data.qrels, run).values()]))


if __name__ == "__main__":
    sys.exit(main())
