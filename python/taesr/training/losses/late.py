"""Late interaction (ColBERT, arXiv 2004.12832): MaxSim scores in bounded memory."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from taesr.training.losses.kl import at_least_float32


class _Tile(NamedTuple):
    """Passages compared at a time, padded to their longest."""

    first: int  # passage
    size: int  # passages
    longest: int
    begin: int  # of their tokens
    end: int


def maxsim_scores(
    queries: Tensor,
    query_lengths: Sequence[int],
    passages: Tensor,
    passage_lengths: Sequence[int],
    *,
    tile_tokens: int,
) -> Tensor:
    """Mean over a query's tokens of the greatest similarity to a token of the passage, [Q, P].

    The mean, not the sum of the paper: queries of all lengths then share one temperature, and the
    order of a query's passages is the same.

    Parameters
    ----------
    queries, passages
        [all query tokens, d], [all passage tokens, d]: unit rows, text after text.
    query_lengths, passage_lengths
        Tokens of each text, at least 1; memory is least when passages of like length are neighbours.
    tile_tokens
        Passage tokens, padding included, compared with all query tokens at a time.
    """
    queries, passages = at_least_float32(queries), at_least_float32(passages)
    tiles = _tiles(passage_lengths, tile_tokens)
    best: Tensor = _MaxSim.apply(queries, passages, tuple(passage_lengths), tiles)  # type: ignore[no-untyped-call]
    counts = torch.tensor(query_lengths)
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    weights = (1 / counts.to(best.dtype))[owner]
    if best.is_cuda:
        owner, weights = owner.pin_memory(), weights.pin_memory()
    owner, weights = owner.to(best.device, non_blocking=True), weights.to(best.device, non_blocking=True)
    scores = best.new_zeros(len(query_lengths), len(passage_lengths))
    return scores.index_add(0, owner, best * weights.unsqueeze(1))


class _MaxSim(torch.autograd.Function):
    """Greatest similarity of each query token to each passage, [query tokens, P]; keeps only where it lay."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, passages: Tensor, lengths: tuple[int, ...], tiles: list[_Tile]
    ) -> Tensor:
        best = queries.new_empty(len(queries), len(lengths))
        place = torch.empty(best.shape, dtype=torch.int32, device=best.device)
        sizes = _to_device(torch.tensor(lengths), queries)
        for tile in tiles:
            span = slice(tile.first, tile.first + tile.size)
            local = sizes[span]
            starts = (local.cumsum(0) - local).unsqueeze(1)  # of each passage, from the tile's first token
            column = torch.arange(tile.longest, device=queries.device)
            inside = column < local.unsqueeze(1)
            index = (starts + column).clamp(max=tile.end - tile.begin - 1)
            padded = passages[tile.begin : tile.end][index.flatten()]
            similarity = (queries @ padded.T).view(len(queries), tile.size, tile.longest)
            values, where = similarity.masked_fill_(~inside, -torch.inf).max(2)
            best[:, span] = values
            place[:, span] = (where + starts.T).int()
        ctx.save_for_backward(queries, passages, place)
        ctx.tiles = tiles
        return best

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None, None]:
        queries, passages, place = ctx.saved_tensors
        to_queries, to_passages = torch.zeros_like(queries), torch.zeros_like(passages)
        for tile in ctx.tiles:
            # A token pair's slope: passages have distinct tokens, so no two entries of a row meet.
            span = slice(tile.first, tile.first + tile.size)
            slope = queries.new_zeros(len(queries), tile.end - tile.begin)
            slope.scatter_(1, place[:, span].long(), grads[0][:, span])
            to_queries.addmm_(slope, passages[tile.begin : tile.end])
            to_passages[tile.begin : tile.end] = slope.T @ queries
        return to_queries, to_passages, None, None


def _tiles(lengths: Sequence[int], tile_tokens: int) -> list[_Tile]:
    """Neighbouring passages whose number times the longest stays within tile_tokens, at least one a tile."""
    tiles: list[_Tile] = []
    first, longest, begin, end = 0, 0, 0, 0
    for number, length in enumerate(lengths):
        grown = max(longest, length)
        if number > first and (number - first + 1) * grown > tile_tokens:
            tiles.append(_Tile(first, number - first, longest, begin, end))
            first, grown, begin = number, length, end
        longest, end = grown, end + length
    tiles.append(_Tile(first, len(lengths) - first, longest, begin, end))
    return tiles


def _to_device(values: Tensor, like: Tensor) -> Tensor:
    return (values.pin_memory() if like.is_cuda else values).to(like.device, non_blocking=True)
