"""Pruning a teacher's vocabulary: the pieces that a corpus needs, with their rows of the embedding table."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from taesr._native import core
from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.training import sentencepiece_model as spm
from taesr.training.corpus import Report, sample_texts
from taesr.training.wordpiece import (
    SPACE,
    WordPieceVocabulary,
    count_words,
    greedy_pieces,
    read_json,
)

_BATCH = 1024
_MOST_WORDS = 2_000_000  # distinct words in memory; beyond, those seen once are forgotten
_SENTENCEPIECE_FILES = ("tokenizer.model", "sentencepiece.bpe.model", "spiece.model")
_FAIRSEQ = ("xlm-roberta", "camembert", "xmod")  # their ids are SentencePiece's plus one
_TABLES = ("embeddings.word_embeddings.weight", "embeddings.token.weight", "shared.weight")


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """How to prune.

    Parameters
    ----------
    size
        Pieces to keep, the four special ones included.
    sample_bytes
        Text of the corpus to count on, in bytes.
    character_coverage
        Share of the corpus' characters that must stay spellable, whatever the counts of the pieces.
    """

    size: int
    sample_bytes: int = 64 << 20
    character_coverage: float = 0.9999

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 1_000_000:
            raise InvalidArgument(f"size is {self.size}; allowed: 8 to 1000000 pieces")
        if self.sample_bytes < 1:
            raise InvalidArgument(f"sample_bytes is {self.sample_bytes}; allowed: 1 and more")
        if not 0.0 <= self.character_coverage <= 1.0:
            raise InvalidArgument(f"character_coverage is {self.character_coverage}; allowed: 0 to 1")


@dataclass(frozen=True)
class PrunedVocabulary:
    """A vocabulary cut to size.

    Attributes
    ----------
    tokenizer
        SentencePiece model, serialised.
    rows
        int64 [V]: row of the teacher's table for each new id.
    coverage
        Share of the teacher's tokens on the corpus that are still pieces.
    """

    tokenizer: bytes
    rows: torch.Tensor
    coverage: float

    def table(self, teacher_table: torch.Tensor) -> torch.Tensor:
        """Rows of the kept pieces, [V, H] of the teacher's [W, H]."""
        if self.rows.max() >= len(teacher_table):
            raise FormatError(
                f"the teacher's table has {len(teacher_table)} rows, its tokenizer needs "
                f"{int(self.rows.max()) + 1}"
            )
        return teacher_table[self.rows]

    def save(self, folder: str | Path, table: torch.Tensor) -> None:
        """Write tokenizer.model and embeddings.safetensors (`embeddings.token.weight`); raises IoError."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "tokenizer.model").write_bytes(self.tokenizer)
        except OSError as error:
            raise IoError(f"{folder}: {error.strerror}") from error
        core.save_weights(
            str(folder / "embeddings.safetensors"), {"embeddings.token.weight": table.contiguous()}
        )


def prune_vocabulary(
    teacher: str | Path,
    corpus: Sequence[str | Path],
    options: PruneOptions,
    *,
    report: Report | None = None,
) -> PrunedVocabulary:
    """Keep the pieces of a teacher's tokenizer that a corpus uses most.

    Parameters
    ----------
    teacher
        Hugging Face model folder with a SentencePiece model, or with a WordPiece vocabulary
        (tokenizer.json or vocab.txt). WordPiece becomes SentencePiece; `taesr.training.wordpiece` says how.
    corpus
        Text files, a text a line, or JSON lines with "text"; also .gz and .xz.

    Raises
    ------
    InvalidArgument, FormatError, IoError
        Name the option or file.
    """
    folder = Path(teacher)
    if not folder.is_dir():
        raise IoError(f"'{folder}' is not a model folder")
    for name in _SENTENCEPIECE_FILES:
        if (folder / name).is_file():
            return _prune_sentencepiece(folder / name, corpus, options, report)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise FormatError(
            f"'{folder}' has no tokenizer; read are {', '.join(_SENTENCEPIECE_FILES)}, tokenizer.json and "
            f"vocab.txt"
        )
    return _prune_wordpiece(WordPieceVocabulary.load(folder), corpus, options, report)


def teacher_table(folder: str | Path) -> torch.Tensor:
    """The token embedding table of a model folder, float32 [W, H]; raises IoError or FormatError."""
    path = Path(folder) / "model.safetensors"
    weights: dict[str, torch.Tensor] = core.load_weights(str(path))
    for name, weight in weights.items():
        if name.endswith(_TABLES) and weight.dim() == 2:
            return weight.float()
    raise FormatError(f"{path}: no token embedding table; looked for {', '.join(_TABLES)}")


def _prune_wordpiece(
    vocabulary: WordPieceVocabulary,
    corpus: Sequence[str | Path],
    options: PruneOptions,
    report: Report | None,
) -> PrunedVocabulary:
    spellings = vocabulary.spellings()
    model = spm.with_rules(vocabulary.normalization_rules(frozenset("".join(spellings))))
    words = _corpus_words(spm.processor(model), corpus, options, report)
    counts: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for piece in greedy_pieces(word, spellings) or ():
            counts[piece] += count
        for character in word[1:]:
            characters[character] += count
    needed = _needed_characters(characters, options.character_coverage)
    required = {s for c in needed for s in (c, SPACE + c) if s in spellings}
    kept = _most_frequent(spellings, counts, required, options.size - len(spm.SPECIALS))
    # Compiled again: most rules are for characters that the kept pieces cannot spell.
    model = spm.with_rules(vocabulary.normalization_rules(frozenset("".join(kept))))
    model.trainer_spec.model_type = spm.BPE
    spm.set_pieces(model, [(piece, 0.0, spm.USER_DEFINED) for piece in kept])
    special = [vocabulary.special(name) for name in ("[CLS]", "[PAD]", "[SEP]", "[UNK]")]
    rows = torch.tensor(special + [spellings[piece] for piece in kept])
    total = sum(counts.values())
    coverage = sum(counts[piece] for piece in kept) / max(1, total)
    return PrunedVocabulary(model.SerializeToString(), rows, coverage)


def _corpus_words(
    processor: Any, corpus: Sequence[str | Path], options: PruneOptions, report: Report | None
) -> Counter[str]:
    words: Counter[str] = Counter()
    for texts in _batches(sample_texts(corpus, max_bytes=options.sample_bytes, report=report)):
        words.update(count_words(processor.normalize(texts)))
        if len(words) > _MOST_WORDS:
            words = Counter({word: count for word, count in words.items() if count > 1})
    if not words:
        raise InvalidArgument("the corpus has no text to count on")
    return words


def _prune_sentencepiece(
    path: Path, corpus: Sequence[str | Path], options: PruneOptions, report: Report | None
) -> PrunedVocabulary:
    model = spm.read_model(path)
    if model.trainer_spec.model_type != spm.UNIGRAM:
        raise FormatError(
            f"{path}: not a unigram model; pieces of others are merged from one another and cannot be pruned "
            f"singly (read are unigram models and BERT's WordPiece)"
        )
    processor = spm.processor(model)
    counts: Counter[int] = Counter()
    characters: Counter[str] = Counter()
    for texts in _batches(sample_texts(corpus, max_bytes=options.sample_bytes, report=report)):
        for ids in processor.encode(texts, out_type=int):
            counts.update(ids)
        for text in processor.normalize(texts):
            characters.update(text)
    if not counts:
        raise InvalidArgument("the corpus has no text to count on")
    pieces = {p.piece: i for i, p in enumerate(model.pieces) if p.type not in (spm.CONTROL, spm.UNKNOWN)}
    required = _needed_characters(characters, options.character_coverage) & set(pieces)
    required |= {p.piece for p in model.pieces if p.type in (spm.BYTE, spm.USER_DEFINED)}
    by_name = Counter({name: counts[i] for name, i in pieces.items()})
    kept = _most_frequent(pieces, by_name, required, options.size - len(spm.SPECIALS))
    content = [(n, model.pieces[pieces[n]].score, model.pieces[pieces[n]].type) for n in kept]
    shift, special = _special_rows(path.parent, model)
    spm.set_pieces(model, content)
    rows = torch.tensor(special + [pieces[name] + shift for name in kept])
    known = sum(by_name.values())
    coverage = sum(by_name[name] for name in kept) / max(1, known)
    return PrunedVocabulary(model.SerializeToString(), rows, coverage)


def _special_rows(folder: Path, model: Any) -> tuple[int, list[int]]:
    """What to add to an id for its row, and the rows of <s>, <pad>, </s> and <unk>."""
    kind = ""
    if (folder / "config.json").is_file():
        kind = str(read_json(folder / "config.json").get("model_type", ""))
    if kind in _FAIRSEQ:
        return 1, [0, 1, 2, 3]
    spec = model.trainer_spec
    unknown = spec.unk_id
    ids = [spec.bos_id, spec.pad_id, spec.eos_id, unknown]
    return 0, [i if 0 <= i < len(model.pieces) else unknown for i in ids]


def _needed_characters(characters: Counter[str], coverage: float) -> set[str]:
    """The most frequent characters that make up a share of all."""
    needed: set[str] = set()
    left = coverage * characters.total()
    for character, count in characters.most_common():
        if left <= 0:
            break
        needed.add(character)
        left -= count
    return needed


def _most_frequent(pieces: dict[str, int], counts: Counter[str], required: set[str], size: int) -> list[str]:
    """The required pieces and then the most frequent ones, in the teacher's order."""
    if len(required) > size:
        raise InvalidArgument(
            f"size leaves {size} pieces and {len(required)} are required (characters, bytes, merges); "
            f"remedy: a larger size or a smaller character_coverage"
        )
    if len(pieces) < size:
        raise InvalidArgument(
            f"size asks for {size} pieces beside the special ones; the teacher has {len(pieces)}"
        )
    chosen = set(required)
    by_count = sorted(pieces, key=lambda piece: (-counts[piece], pieces[piece]))
    chosen.update(islice((p for p in by_count if p not in required), size - len(required)))
    return sorted(chosen, key=pieces.__getitem__)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
