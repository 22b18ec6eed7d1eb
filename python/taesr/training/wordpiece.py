"""BERT's WordPiece vocabulary as a SentencePiece model that cuts texts into the same pieces.

BERT's cleaning (lower case, no accents, punctuation and ideographs words of their own) becomes a
normalisation table that puts spaces around such characters; "word" becomes "\u2581word" and "##piece"
becomes "piece". WordPiece takes the longest piece from the left. So does SentencePiece with
user-defined pieces in a model of type BPE, which matches these before any merge; hence that type.
Words that WordPiece reads as unknown as a whole keep the pieces around the unknown character.
"""

import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taesr.errors import FormatError, IoError

SPACE = "\u2581"
MAX_WORD = 100  # BERT reads a longer word as unknown
_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


@dataclass(frozen=True)
class WordPieceVocabulary:
    """Pieces in the order of the embedding table, and how the text is cleaned before."""

    pieces: list[str]
    lowercase: bool = True
    strip_accents: bool = True
    split_ideographs: bool = True

    @classmethod
    def load(cls, folder: Path) -> "WordPieceVocabulary":
        """Read tokenizer.json, or vocab.txt with tokenizer_config.json; raises IoError or FormatError."""
        if (folder / "tokenizer.json").is_file():
            return _from_tokenizer_json(folder / "tokenizer.json")
        pieces = _read(folder / "vocab.txt").removesuffix("\n").split("\n")
        options: dict[str, Any] = {}
        if (folder / "tokenizer_config.json").is_file():
            options = read_json(folder / "tokenizer_config.json")
        return _checked(
            pieces,
            options.get("do_lower_case", True),
            options.get("strip_accents"),
            options.get("tokenize_chinese_chars", True),
            folder / "vocab.txt",
        )

    def special(self, name: str) -> int:
        """Row of "[CLS]" and the like."""
        return self.pieces.index(name)

    def spellings(self) -> dict[str, int]:
        """SentencePiece spelling of every piece that text can give, and its row."""
        found: dict[str, int] = {}
        for row, piece in enumerate(self.pieces):
            if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
                continue  # [PAD], [unused12]
            inner = piece.startswith("##") and len(piece) > 2
            content = piece[2:] if inner else piece
            cleaned = "".join(map(self._cleaned, content))
            # Others (a bracket inside a word, a capital) cannot come out of the cleaning.
            if cleaned == content if inner else cleaned.split() == [content]:
                found.setdefault(content if inner else SPACE + content, row)
        return found

    def normalization_rules(self, characters: frozenset[str]) -> str:
        """What BERT does to each character, as SentencePiece's normalization_rule_tsv.

        Rules that give none of `characters`, those of the pieces, are left out: such text is unknown
        with them and without, and there are over 100,000 (ideographs, Hangul).
        """
        lines = []
        for code in range(1, sys.maxunicode + 1):
            if 0xD800 <= code <= 0xDFFF:
                continue
            character = chr(code)
            cleaned = self._cleaned(character)
            if cleaned != character and (not cleaned.strip() or not characters.isdisjoint(cleaned)):
                target = " ".join(f"{ord(c):X}" for c in cleaned)
                lines.append(f"{code:X}\t{target}")
        return "\n".join(lines) + "\n"

    def _cleaned(self, character: str) -> str:
        category = unicodedata.category(character)
        if character in "\t\n\r" or category.startswith("Z") or character == SPACE:
            return " "
        if character == "\ufffd" or category in ("Cc", "Cf") or "\ue000" <= character <= "\uf8ff":
            return ""  # the private use area: bullets of PDF files, mostly
        if category in ("Cn", "Co"):
            return character
        if self.split_ideographs and any(a <= ord(character) <= b for a, b in _CJK):
            return f" {character} "
        text = character.lower() if self.lowercase else character
        if self.strip_accents:
            text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        return "".join(f" {c} " if _is_punctuation(c) else c for c in text)


def greedy_pieces(word: str, pieces: Mapping[str, object] | frozenset[str]) -> list[str] | None:
    """Cut a word ("\u2581word") as WordPiece does: the longest piece from the left; None: unknown."""
    if len(word) > MAX_WORD + 1:
        return None
    result = []
    begin = 0
    while begin < len(word):
        # A lone marker is no piece: the first one has a character after it.
        end = len(word)
        while end > begin and word[begin:end] not in pieces:
            end -= 1
        if end == begin:
            return None
        result.append(word[begin:end])
        begin = end
    return result


def count_words(normalised: Iterable[str]) -> Counter[str]:
    """Count the words ("\u2581word") of normalised texts, in which the marker begins each."""
    counts: Counter[str] = Counter()
    for text in normalised:
        counts.update(text.split(SPACE))
    del counts[""]
    return Counter({SPACE + word: count for word, count in counts.items()})


def _is_punctuation(character: str) -> bool:
    return character in _ASCII_PUNCTUATION or unicodedata.category(character).startswith("P")


def _from_tokenizer_json(path: Path) -> WordPieceVocabulary:
    document = read_json(path)
    model = document.get("model") or {}
    vocabulary = model.get("vocab")
    if model.get("type", "WordPiece") != "WordPiece" or not isinstance(vocabulary, dict):
        raise FormatError(
            f"{path}: not a WordPiece tokenizer; read are BERT's, or a SentencePiece .model file"
        )
    rows = {row: piece for piece, row in vocabulary.items()}
    if set(rows) != set(range(len(vocabulary))):
        raise FormatError(f"{path}: the ids of the vocabulary are not 0 to {len(vocabulary) - 1}")
    options = document.get("normalizer") or {}
    return _checked(
        [rows[i] for i in range(len(rows))],
        options.get("lowercase", True),
        options.get("strip_accents"),
        options.get("handle_chinese_chars", True),
        path,
    )


def _checked(
    pieces: list[str], lowercase: bool, strip_accents: bool | None, ideographs: bool, path: Path
) -> WordPieceVocabulary:
    for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"):
        if name not in pieces:
            raise FormatError(f"{path}: the vocabulary has no {name}")
    strip = lowercase if strip_accents is None else strip_accents  # BERT's rule
    return WordPieceVocabulary(pieces, lowercase, strip, ideographs)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not valid UTF-8 (byte {error.start + 1})") from None
    except OSError as error:
        raise IoError(f"{path}: {error.strerror}") from error


def read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_read(path))
    except ValueError as error:
        raise FormatError(f"{path}: not JSON ({error})") from None
    if not isinstance(document, dict):
        raise FormatError(f"{path}: not a JSON object")
    return document
