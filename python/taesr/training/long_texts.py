"""Long texts made of neighbouring passages of one document.

The teachers stop after a few hundred tokens, the student reads more: what a long text means to the
teachers is the mean of its passages' vectors, weighted by their lengths.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from taesr.training.options import LongTextOptions
from taesr.training.tokenize_pool import TokenisedPool, TokenRules

_MOST_PASSAGES = 64


@dataclass(frozen=True)
class LongTexts:
    """M texts by the rows of the passages that they join."""

    members: npt.NDArray[np.int64]  # rows, text after text
    starts: npt.NDArray[np.int64]  # [M + 1] into members

    def __len__(self) -> int:
        return len(self.starts) - 1


def choose_neighbours(pool: TokenisedPool, options: LongTextOptions, seed: int) -> LongTexts:
    """Draw runs of at least two passages that follow each other in one document and fit the wanted length."""
    rng = np.random.default_rng(seed)
    passages = np.flatnonzero(pool.role == 0)
    document = pool.document[passages]
    inner = pool.lengths[passages] - 2  # without their special tokens
    first = np.flatnonzero((document[:-1] >= 0) & (document[:-1] == document[1:]))
    runs: list[npt.NDArray[np.int64]] = []
    for at in rng.permutation(first):
        if len(runs) == options.count:
            break
        wanted = int(rng.integers(options.min_tokens, options.max_tokens + 1))
        window = slice(at, at + _MOST_PASSAGES)
        total = 2 + inner[window].cumsum()
        fits = (document[window] == document[at]) & (total <= wanted)
        many = len(fits) if fits.all() else int(fits.argmin())
        if many >= 2 and total[many - 1] >= min(options.min_tokens, wanted * 0.7):
            runs.append(passages[at : at + many])
    members = np.concatenate([np.empty(0, np.int64), *runs])
    return LongTexts(members, np.concatenate([[0], np.cumsum([len(r) for r in runs])]).astype(np.int64))


def append_long_texts(pool: TokenisedPool, long: LongTexts, rules: TokenRules) -> TokenisedPool:
    """The pool with the joined texts as further passages."""
    parts = [pool.tokens]
    lengths = np.empty(len(long), np.int64)
    for i in range(len(long)):
        rows = long.members[long.starts[i] : long.starts[i + 1]]
        inner = [pool.tokens[pool.starts[row] + 1 : pool.starts[row + 1] - 1] for row in rows]
        text = np.concatenate([[rules.bos_id], *inner, [rules.eos_id]]).astype(np.int32)
        lengths[i] = len(text)
        parts.append(text)
    return TokenisedPool(
        tokens=np.concatenate(parts),
        starts=np.concatenate([pool.starts, pool.starts[-1] + lengths.cumsum()]),
        role=np.concatenate([pool.role, np.zeros(len(long), np.uint8)]),
        parent=np.concatenate([pool.parent, np.full(len(long), -1)]),
        document=np.concatenate([pool.document, pool.document[long.members[long.starts[:-1]]]]),
    )
