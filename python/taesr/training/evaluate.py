"""Retrieval measured with the model that is being trained, on its own device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taesr._native import core
from taesr.config import TAESRConfig
from taesr.errors import Error, InvalidArgument
from taesr.evaluation import RetrievalDataset, evaluate_rankings, load_beir
from taesr.evaluation.exact import Floats, make_store, search
from taesr.evaluation.metrics import mean_of, ranking_depth
from taesr.nn import PackedBatch, TAESRModel
from taesr.training.config import EvaluateOptions

_SCORE = "ndcg@10"


@dataclass(frozen=True)
class EvaluationResult:
    """Figures of all sets.

    Attributes
    ----------
    score : float
        Mean nDCG@10 of the sets at the first depth, all dimensions.
    figures : dict
        Set, "mean" among them, to depth to dimensions to measure, 0 to 1.
    """

    score: float
    figures: dict[str, dict[str, dict[str, dict[str, float]]]]

    def summary(self) -> str:
        """Write the score and the means at each depth and slice in one line."""
        parts = []
        for depth, dims in self.figures["mean"].items():
            values = " ".join(f"{dim}: {figures[_SCORE]:.4f}" for dim, figures in dims.items())
            parts.append(f"{depth} {values}")
        return f"mean {_SCORE}  " + "  ".join(parts)


@dataclass(frozen=True)
class _TokenisedSet:
    dataset: RetrievalDataset
    queries: list[list[int]]
    documents: list[list[int]]


class Evaluator:
    """Sets in BEIR layout, tokenised once.

    All depths come from one forward pass. Long texts are cut at one pass, as published figures do.

    Parameters
    ----------
    options
        What to measure.
    config
        Of the model.
    tokenizer
        File tokenizer.model.

    Raises
    ------
    IoError, FormatError
        A set cannot be read.
    ImportError
        pytrec_eval is not installed.
    """

    def __init__(self, options: EvaluateOptions, config: TAESRConfig, tokenizer: Path) -> None:
        import pytrec_eval  # noqa: F401 -- missing, it should be missed now and not in an hour

        self._options = options
        self._config = config
        self._depths = {str(depth): config.recursions(depth) for depth in options.depths}
        self._dims = [dim for dim in options.dims if dim != config.embedding_size]
        longest = config.max_position_embeddings
        self._room = min(options.max_tokens or longest, longest) - 2
        native = core.Tokenizer.load(tokenizer)
        self._sets = [self._tokenise(load_beir(folder), native) for folder in options.sets]
        names = [item.dataset.name for item in self._sets]
        if len(set(names)) < len(names):
            raise InvalidArgument(f"evaluate.sets has two folders of one name: {', '.join(names)}")

    def measure(self, model: TAESRModel, *, dtype: torch.dtype | None = None) -> EvaluationResult:
        """Measure a model on its device, its matrix products in `dtype`."""
        figures: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
        for item in self._sets:
            queries = self._encode(model, item.queries, 1, dtype)
            documents = self._encode(model, item.documents, 0, dtype)
            figures[item.dataset.name] = {
                name: {
                    str(dim): _figures(item.dataset, queries[r][:, :dim], documents[r][:, :dim])
                    for dim in (self._config.embedding_size, *self._dims)
                }
                for name, r in self._depths.items()
            }
        first = next(iter(figures.values()))
        figures["mean"] = {
            depth: {dim: mean_of([item[depth][dim] for item in list(figures.values())]) for dim in dims}
            for depth, dims in first.items()
        }
        depth = str(self._options.depths[0])
        return EvaluationResult(figures["mean"][depth][str(self._config.embedding_size)][_SCORE], figures)

    @torch.inference_mode()
    def _encode(
        self, model: TAESRModel, texts: Sequence[list[int]], role: int, dtype: torch.dtype | None
    ) -> dict[int, Floats]:
        """Embed tokenised texts at every depth: float32 [texts, dim]."""
        device = next(model.parameters()).device
        depths = sorted(set(self._depths.values()))
        result = {
            depth: np.empty((len(texts), self._config.embedding_size), dtype=np.float32) for depth in depths
        }
        for rows in _groups([len(text) for text in texts], self._options.batch_tokens):
            outputs = model.packed(
                _packed([texts[row] for row in rows], role).to(device), depths, dtype=dtype
            )
            for depth in depths:
                result[depth][rows] = outputs[depth].dense.float().cpu().numpy()
        if not all(np.isfinite(vectors).all() for vectors in result.values()):
            raise Error("the model gives vectors that are not finite; lower optimizer.lr or start anew")
        return result

    def _tokenise(self, dataset: RetrievalDataset, tokenizer: Any) -> _TokenisedSet:
        begin, end = self._config.bos_id, self._config.eos_id

        def ids(texts: list[str]) -> list[list[int]]:
            return [[begin, *tokenizer.encode(text)[: self._room], end] for text in texts]

        return _TokenisedSet(dataset, ids(dataset.queries), ids(dataset.documents))


def _figures(dataset: RetrievalDataset, queries: Floats, documents: Floats) -> dict[str, float]:
    found = search(make_store(_unit(documents), "float32"), _unit(queries), ranking_depth(dataset.qrels))
    rankings = {
        query: [dataset.document_ids[position] for position in row]
        for query, row in zip(dataset.query_ids, found, strict=True)
    }
    return mean_of(list(evaluate_rankings(dataset.qrels, rankings).values()))


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, np.float32(1e-12))
    return unit


def _groups(lengths: list[int], budget: int) -> list[list[int]]:
    """Positions in groups of at most `budget` tokens, longest texts first; a group has one at least."""
    groups: list[list[int]] = []
    used = budget
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if not groups or used + lengths[row] > budget:
            groups.append([])
            used = 0
        groups[-1].append(row)
        used += lengths[row]
    return groups


def _packed(texts: list[list[int]], role: int) -> PackedBatch:
    offsets = [0, *np.cumsum([len(text) for text in texts]).tolist()]
    tokens = torch.tensor([token for text in texts for token in text], dtype=torch.int64)
    return PackedBatch(tokens, offsets, torch.full((len(texts),), role, dtype=torch.int64))
