"""Writes training data for grounded answers: a file to train on and one to validate with."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from taesr.errors import InvalidArgument, IoError
from taesr.evaluation.squad import Paragraph
from taesr.training.grounded import CountTokens, GroundedExamples, GroundedOptions

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Written:
    """Examples of one file by kind, and questions that none could be made of."""

    path: Path
    kinds: dict[str, int]
    skipped: int


def write_examples(
    paragraphs: Sequence[Paragraph],
    folder: str | Path,
    count_tokens: CountTokens,
    *,
    examples: int,
    validation: int = 0,
    options: GroundedOptions | None = None,
    progress: Progress | None = None,
) -> list[Written]:
    """Write `train.jsonl` and, of articles that it has nothing of, `valid.jsonl`.

    Each line is {"messages": [system, user, assistant]}. The files appear when they are complete.

    Parameters
    ----------
    examples, validation
        Lines of the two files, at most: fewer when the questions run out.

    Raises
    ------
    InvalidArgument
        There are no questions, or too few articles to hold some back.
    IoError
        The folder cannot be written.
    """
    held_back, rest = split_articles(paragraphs, validation, seed=(options or GroundedOptions()).seed)
    parts = [("train", rest, examples)] + ([("valid", held_back, validation)] if validation else [])
    written = []
    for name, part, count in parts:
        maker = GroundedExamples(part, count_tokens, options)
        written.append(_write(Path(folder) / f"{name}.jsonl", maker, count, progress))
    return written


def split_articles(
    paragraphs: Sequence[Paragraph], wanted: int, *, seed: int
) -> tuple[list[Paragraph], list[Paragraph]]:
    """Paragraphs of articles that have a quarter more than `wanted` questions together, and all others."""
    sizes = Counter[str]()
    for paragraph in paragraphs:
        sizes[paragraph.title] += len(paragraph.questions)
    if not sum(sizes.values()):
        raise InvalidArgument("there are no questions; give a file in SQuAD's manner, a paragraph a line")
    titles = sorted(sizes)
    random.Random(seed).shuffle(titles)
    chosen: set[str] = set()
    for title in titles if wanted else []:
        if sum(sizes[t] for t in chosen) >= 1.25 * wanted:
            break
        chosen.add(title)
    if len(chosen) == len(titles):
        raise InvalidArgument(
            f"{len(titles)} articles are too few to hold {wanted} questions back; ask for fewer, or for none"
        )
    return [p for p in paragraphs if p.title in chosen], [p for p in paragraphs if p.title not in chosen]


def _write(path: Path, maker: GroundedExamples, count: int, progress: Progress | None) -> Written:
    kinds, skipped = Counter[str](), 0
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            for example in maker.make():
                if kinds.total() == count:
                    break
                if example is None:
                    skipped += 1
                    continue
                file.write(json.dumps({"messages": example.messages}, ensure_ascii=False) + "\n")
                kinds[example.kind] += 1
                if progress:
                    progress(path.name, kinds.total(), count)
        partial.replace(path)
    except OSError as error:
        raise IoError(f"{path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return Written(path, dict(sorted(kinds.items())), skipped)
