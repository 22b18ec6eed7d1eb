"""SentencePiece models as Python sees them: the optional packages, and the pieces of a model file."""

import importlib
import io
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from taesr.errors import FormatError, IoError

BOS, PAD, EOS, UNK = "<s>", "<pad>", "</s>", "<unk>"  # ids 0 to 3
SPECIALS = (BOS, PAD, EOS, UNK)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # ModelProto.SentencePiece.Type
UNIGRAM, BPE = 1, 2  # TrainerSpec.ModelType


def sentencepiece() -> ModuleType:
    """The sentencepiece package; raises ImportError with the remedy."""
    return _import("sentencepiece")


def model_proto() -> Any:
    """An empty ModelProto; raises ImportError with the remedy."""
    return _import("sentencepiece.sentencepiece_model_pb2").ModelProto()


def read_model(path: Path) -> Any:
    """ModelProto of a .model file; raises IoError or FormatError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IoError(f"{path}: {error.strerror}") from error
    model = model_proto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # the class differs between protobuf's implementations
        raise FormatError(f"{path}: not a SentencePiece model, or damaged") from error
    if not model.pieces:
        raise FormatError(f"{path}: not a SentencePiece model, or damaged")
    return model


def processor(model: Any) -> Any:
    """Processor of a ModelProto."""
    return sentencepiece().SentencePieceProcessor(model_proto=model.SerializeToString())


def with_rules(rules: str) -> Any:
    """A ModelProto with nothing but a normaliser compiled from normalization_rule_tsv lines.

    Training a model of a few characters is the way to compile rules that every version has.
    """
    written = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as file:
        file.write(rules)
        file.flush()
        sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=iter(["a b"]), model_writer=written, model_type="char", vocab_size=8,
            hard_vocab_limit=False, normalization_rule_tsv=file.name, bos_id=0, pad_id=1, eos_id=2,
            unk_id=3, minloglevel=2,
        )  # fmt: skip
    model = model_proto()
    model.ParseFromString(written.getvalue())
    model.trainer_spec.model_type = UNIGRAM
    model.normalizer_spec.name = "rules"
    model.normalizer_spec.normalization_rule_tsv = ""  # the path of a temporary file
    set_pieces(model, [("\u2581", 0.0, NORMAL)])
    return model


def set_pieces(model: Any, pieces: list[tuple[str, float, int]]) -> None:
    """Replace a model's pieces by the four special ones and then `pieces`: (text, score, type)."""
    del model.pieces[:]
    for name in SPECIALS:
        model.pieces.add(piece=name, score=0.0, type=UNKNOWN if name == UNK else CONTROL)
    for text, score, kind in pieces:
        model.pieces.add(piece=text, score=score, type=kind)
    spec = model.trainer_spec
    spec.vocab_size = len(model.pieces)
    spec.bos_id, spec.pad_id, spec.eos_id, spec.unk_id = 0, 1, 2, 3
    spec.bos_piece, spec.pad_piece, spec.eos_piece, spec.unk_piece = SPECIALS


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"tokenizers are made with the packages sentencepiece and protobuf ({error}); "
            f"remedy: pip install sentencepiece protobuf"
        ) from error
