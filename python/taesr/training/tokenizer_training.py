"""Training a SentencePiece tokenizer on a corpus."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taesr.errors import InvalidArgument, IoError
from taesr.training import sentencepiece_model as spm
from taesr.training.corpus import Report, sample_texts

_LONGEST_TEXT = 65536  # bytes; the trainer passes over longer ones, so they are cut


@dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """How to train a tokenizer.

    Parameters
    ----------
    vocab_size
        Pieces, the four special ones included.
    kind
        "unigram" (Kudo 2018) or "bpe" (Sennrich et al. 2016).
    normalizer
        "nmt_nfkc" keeps capitals, "nmt_nfkc_cf" folds them.
    byte_fallback
        Spell unknown characters as bytes (256 pieces) instead of reading them as unknown.
    character_coverage
        Share of the corpus' characters that are pieces.
    sample_bytes
        Text of the corpus to train on, in bytes; the trainer holds it in memory several times over.
    threads
        Threads of the trainer.
    """

    vocab_size: int
    kind: Literal["unigram", "bpe"] = "unigram"
    normalizer: Literal["nmt_nfkc", "nmt_nfkc_cf"] = "nmt_nfkc_cf"
    byte_fallback: bool = False
    character_coverage: float = 0.9995
    sample_bytes: int = 256 << 20
    threads: int = 4

    def __post_init__(self) -> None:
        low = 8 + 256 * self.byte_fallback
        if not low <= self.vocab_size <= 1_000_000:
            raise InvalidArgument(f"vocab_size is {self.vocab_size}; allowed: {low} to 1000000 pieces")
        if self.kind not in ("unigram", "bpe"):
            raise InvalidArgument(f"kind is {self.kind!r}; allowed: unigram, bpe")
        if self.normalizer not in ("nmt_nfkc", "nmt_nfkc_cf"):
            raise InvalidArgument(f"normalizer is {self.normalizer!r}; allowed: nmt_nfkc, nmt_nfkc_cf")
        if not 0.98 <= self.character_coverage <= 1.0:
            raise InvalidArgument(f"character_coverage is {self.character_coverage}; allowed: 0.98 to 1")
        if self.sample_bytes < 1:
            raise InvalidArgument(f"sample_bytes is {self.sample_bytes}; allowed: 1 and more")
        if not 1 <= self.threads <= 128:
            raise InvalidArgument(f"threads is {self.threads}; allowed: 1 to 128")


def train_tokenizer(
    corpus: Sequence[str | Path],
    output: str | Path,
    options: TokenizerOptions,
    *,
    report: Report | None = None,
) -> int:
    """Train a tokenizer and write it as a SentencePiece model; returns its number of pieces.

    Ids are <s> 0, <pad> 1, </s> 2, <unk> 3, as the encoder expects them.

    Parameters
    ----------
    corpus
        Text files, a text a line, or JSON lines with "text"; also .gz and .xz.

    Raises
    ------
    InvalidArgument
        Options out of range, or a corpus too small for the size asked for.
    FormatError, IoError
        Name the file.
    """
    output = Path(output)
    if not output.absolute().parent.is_dir():
        raise IoError(f"{output}: its folder does not exist")
    texts = _Texts(sample_texts(corpus, max_bytes=options.sample_bytes, report=report), report)
    written = io.BytesIO()
    try:
        _train(texts, written, options)
    except (RuntimeError, ValueError, OSError) as error:
        if texts.failure is not None:
            raise texts.failure from None
        if texts.count == 0:
            raise InvalidArgument("the corpus has no text to train on") from None
        raise InvalidArgument(
            f"{texts.count} texts do not give a tokenizer of {options.vocab_size} pieces: "
            f"{_last_line(str(error))}; remedy: another vocab_size, or more text"
        ) from error
    model = spm.model_proto()
    model.ParseFromString(written.getvalue())
    try:
        output.write_bytes(written.getvalue())
    except OSError as error:
        raise IoError(f"{output}: {error.strerror}") from error
    return len(model.pieces)


class _Texts:
    """The texts for the trainer, which would swallow what goes wrong while it reads them."""

    def __init__(self, texts: Iterator[str], report: Report | None) -> None:
        self._texts, self._report = texts, report
        self.count = 0
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for text in self._texts:
                self.count += 1
                yield text.encode()[:_LONGEST_TEXT].decode(errors="ignore")
        except Exception as error:
            self.failure = error
            raise
        if self._report is not None:
            self._report("train", 0, None)


def _train(texts: _Texts, written: io.BytesIO, options: TokenizerOptions) -> None:
    spm.sentencepiece().SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=written,
        model_type=options.kind,
        vocab_size=options.vocab_size,
        normalization_rule_name=options.normalizer,
        byte_fallback=options.byte_fallback,
        character_coverage=options.character_coverage,
        max_sentence_length=_LONGEST_TEXT,
        num_threads=options.threads,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )


def _last_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    # What comes before the bracket is the trainer's source file and condition.
    return lines[-1].rpartition("] ")[2].rstrip(".") if lines else "unknown reason"
