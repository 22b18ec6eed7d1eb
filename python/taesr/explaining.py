"""What the sparse, the late-interaction head and the router of a model say about a query and its hits.

Computed from the texts when asked for, whether or not a collection holds these heads' embeddings.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from taesr._native import core
from taesr.encoded import Encoded, Output
from taesr.encoder import Encoder
from taesr.hits import Hit

MOST = 10  # pieces and pairs of a hit

Floats = npt.NDArray[np.float32]
Pairs = list[tuple[str, str, float]]


def explain_heads(query: str, hits: Sequence[Hit], encoder: Encoder, depth: str | int) -> list[Hit]:
    """`hits` with the top sparse pieces and token pairs of heads that the model has."""
    config = encoder.config
    has = {"sparse": config.sparse_head, "late": config.late_size > 0}
    outputs: list[Output] = [head for head, there in has.items() if there]
    if not outputs:
        return list(hits)
    texts = [core.passage_text(hit.title, hit.section, hit.text) for hit in hits]
    asked = encoder.encode_full([query], outputs=outputs, role="query", depth=depth)
    if config.sparse_head and config.sparse_queries == "table":
        asked = dataclasses.replace(asked, sparse=encoder.encode_sparse_query([query]))
    read = encoder.encode_full(texts, outputs=outputs, role="passage", depth="auto")
    explained = []
    for index, hit in enumerate(hits):
        assert hit.explanation is not None
        pieces = top_pieces(asked, read, index, encoder) if config.sparse_head else None
        pairs = top_pairs(query, asked, texts[index], read, index, encoder) if config.late_size else None
        explanation = dataclasses.replace(hit.explanation, pieces=pieces, token_pairs=pairs)
        explained.append(dataclasses.replace(hit, explanation=explanation))
    return explained


def top_pieces(asked: Encoded, read: Encoded, index: int, encoder: Encoder) -> list[tuple[str, float]]:
    """Vocabulary pieces with the largest part in the product of query 0 and passage `index`."""
    assert asked.sparse is not None
    assert read.sparse is not None
    pieces, weights = asked.sparse.row(0)
    others, other_weights = read.sparse.row(index)
    _, mine, its = np.intersect1d(pieces, others, assume_unique=True, return_indices=True)
    products = weights[mine] * other_weights[its]
    order = np.argsort(-products, kind="stable")[:MOST]
    tokenizer = encoder.native.tokenizer
    return [(tokenizer.piece(int(pieces[mine[i]])), float(products[i])) for i in order]


def top_pairs(
    query: str, asked: Encoded, text: str, read: Encoded, index: int, encoder: Encoder
) -> Pairs | None:
    """Each token of the query with the passage's nearest one; None where rows are not tokens one to one."""
    assert asked.late is not None
    assert read.late is not None
    mine, its = asked.late[0], read.late[index]
    names, other_names = _tokens(query, encoder), _tokens(text, encoder)
    if len(names) != len(mine) or len(other_names) != len(its) or len(its) == 0:
        return None
    cosines = mine @ its.T
    nearest = cosines.argmax(axis=1)
    best = cosines[np.arange(len(mine)), nearest]
    order = np.argsort(-best, kind="stable")[:MOST]
    return [(names[i], other_names[int(nearest[i])], float(best[i])) for i in order]


def _tokens(text: str, encoder: Encoder) -> list[str]:
    tokenizer = encoder.native.tokenizer
    return [tokenizer.piece(token) for token in tokenizer.encode(text)]


def router_probabilities(query: str, encoder: Encoder) -> dict[str, float] | None:
    """How probably each named depth is the least that is enough, or None for models without a router."""
    probabilities = encoder.encode_detailed([query], role="query", depth="auto").router_probabilities
    if probabilities is None:
        return None
    return dict(zip(("easy", "medium", "hard"), map(float, probabilities[0]), strict=True))
