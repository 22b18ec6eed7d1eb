"""Collections of retrieval sets, kept between runs: embedding a corpus is what takes time."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import taesr
from taesr.evaluation import RetrievalDataset


@contextmanager
def filled(
    folder: Path,
    dataset: RetrievalDataset,
    encoder: taesr.Encoder,
    depth: str | int,
    heads: Sequence[str] = (),
) -> Iterator[taesr.Collection]:
    """Open the collection of a set below `folder`, with all its documents in it.

    A new one gets these heads beside dense and keyword; of one that is there they are asked for.
    """

    def report(done: int, total: int) -> None:
        print(f"\r{dataset.name}: {done}/{total} documents", end="", file=sys.stderr)

    with taesr.Collection.open(folder / dataset.name, encoder=encoder, heads=heads) as collection:
        pairs = zip(dataset.document_ids, dataset.documents, strict=True)
        collection.add([taesr.Document(name, text) for name, text in pairs], depth=depth, progress=report)
        print(file=sys.stderr)
        yield collection
