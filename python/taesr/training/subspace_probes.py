"""Subspaces beside slices of the dense embedding that are as long, on held-out data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from taesr.errors import Error, InvalidArgument
from taesr.evaluation.ablation_cells import slice_vectors
from taesr.evaluation.exact import make_store, search
from taesr.evaluation.probes import ProbeResult, order_features, probe_labels, probe_triplets
from taesr.training.subspace_data import SubspaceData

Floats = npt.NDArray[np.float32]
_NEIGHBOURS = 10
_MOST_TEXTS = 3000  # of the search for neighbours


@dataclass(frozen=True)
class ProbeComparison:
    """One probe of one subspace.

    Attributes
    ----------
    score, dense : float
        Of the subspace, and of the first values of the dense embedding, as many.
    chance : float
        What needs no embedding.
    items : int
        Held out.
    """

    subspace: str
    probe: str
    score: float
    dense: float
    chance: float
    items: int


def require_probes() -> None:
    """Raise Error where scikit-learn is missing."""
    try:
        import sklearn  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise Error(
            "probes need scikit-learn: pip install scikit-learn; or train without *.heldout.jsonl"
        ) from None


def compare_probes(
    data: SubspaceData, subspaces: Mapping[str, Floats], dense: Floats
) -> list[ProbeComparison]:
    """Measure each subspace on its own probes.

    Parameters
    ----------
    data
        Held-out items.
    subspaces : mapping of str to float32 [texts, dim]
    dense : float32 [texts, embedding_size]
    """
    results = []
    for name, vectors in subspaces.items():
        beside = slice_vectors(dense, vectors.shape[1])
        for probe, measure in _probes(name, data, dense).items():
            ours, theirs = measure(vectors), measure(beside)
            results.append(ProbeComparison(name, probe, ours.score, theirs.score, ours.chance, ours.items))
    return results


def _probes(name: str, data: SubspaceData, dense: Floats) -> dict[str, Callable[[Floats], ProbeResult]]:
    """Probes of a subspace by what they ask; those without data are left out."""
    probes: dict[str, Callable[[Floats], ProbeResult]] = {}
    if name == "semantic":
        probes["ten nearest texts are those of the whole dense embedding"] = lambda x: _neighbours(x, dense)
    if name == "temporal" and data.orders:
        probes["which of two comes earlier, by a linear reader"] = lambda x: _order(x, data)
    if name == "temporal" and data.events:
        probes["text of the same decade is nearer than another"] = lambda x: _triplets(x, data.events)
    if name == "procedural" and len(set(data.labels.values())) == 2:
        probes["how-to or fact, by a linear reader"] = lambda x: _labels(x, data)
    if name == "contextual" and data.contexts:
        near = [(a, n, d) for a, n, d, _ in data.contexts]
        strange = [(a, n, r) for a, n, _, r in data.contexts]
        probes["next paragraph is nearer than a distant one"] = lambda x: _triplets(x, near)
        probes["next paragraph is nearer than another document's"] = lambda x: _triplets(x, strange)
    return probes


def _neighbours(vectors: Floats, dense: Floats) -> ProbeResult:
    rows = np.arange(len(dense))[:_MOST_TEXTS]
    if len(rows) <= _NEIGHBOURS + 1:
        raise InvalidArgument(
            f"{len(rows)} held-out texts; the semantic probe needs more than {_NEIGHBOURS + 1}"
        )
    found, wanted = (_nearest(np.ascontiguousarray(x[rows])) for x in (vectors, dense))
    shares = np.array([len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True)]) / _NEIGHBOURS
    error = float(shares.std() / np.sqrt(len(rows)))
    return ProbeResult(float(shares.mean()), _NEIGHBOURS / (len(rows) - 1), error, len(rows))


def _nearest(vectors: Floats) -> list[list[int]]:
    """Ten nearest others of each row."""
    found = search(make_store(vectors, "float32"), vectors, _NEIGHBOURS + 1)
    return [[int(i) for i in row if i != place][:_NEIGHBOURS] for place, row in enumerate(found)]


def _order(vectors: Floats, data: SubspaceData) -> ProbeResult:
    first, second = np.array(data.orders).T
    years = np.array([[data.years[a], data.years[b]] for a, b in data.orders])
    earlier = [int(a < b) for a, b in years]
    sources = [str(place) for place in first]
    return probe_labels(order_features(vectors[first], vectors[second]), earlier, sources)


def _triplets(vectors: Floats, triplets: list[tuple[int, int, int]]) -> ProbeResult:
    anchor, positive, negative = np.array(triplets).T
    return probe_triplets(vectors[anchor], vectors[positive], vectors[negative])


def _labels(vectors: Floats, data: SubspaceData) -> ProbeResult:
    places = list(data.labels)
    return probe_labels(vectors[places], list(data.labels.values()), [str(place) for place in places])
