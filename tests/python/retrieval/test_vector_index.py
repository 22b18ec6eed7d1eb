"""The index of vectors as Python sees it, which benchmarks use: what it finds is tested in C++."""

import numpy as np
import pytest

from taesr import InvalidArgument
from taesr._native import core


def make_index(rows: int) -> core.HnswIndex:
    index = core.HnswIndex(rows)
    index.stage(np.eye(rows, dtype=np.float32))
    index.link()
    return index


def test_positions_to_remove_or_to_choose_from_may_come_in_any_order() -> None:
    index = make_index(6)
    query = np.array([[0.6, 0.5, 0.4, 0.3, 0.2, 0.1]], np.float32)
    index.remove([3, 0, 2, 0])
    assert len(index) == 3
    assert index.search(query, 6).tolist() == [[1, 4, 5, -1, -1, -1]]
    assert index.search(query, 3, index.prepare_filter([5, 2, 4, 5])).tolist() == [[4, 5, -1]]


def test_the_share_of_deleted_rows_that_calls_for_a_new_index_is_an_option() -> None:
    index = core.HnswIndex(2, compact_beyond=0.5)
    index.stage(np.eye(2, dtype=np.float32))
    index.remove([0])
    assert not index.needs_compaction
    index.remove([1])
    assert index.needs_compaction
    with pytest.raises(InvalidArgument, match="compact_beyond"):
        core.HnswIndex(2, compact_beyond=1.5)
