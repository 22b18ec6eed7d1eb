from pathlib import Path

import pytest
import sentencepiece
from tests.python.training.teachers import SENTENCES

from taesr._native import core
from taesr.cli import main
from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.training.tokenizer_training import TokenizerOptions, train_tokenizer


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(SENTENCES))
    return path


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_trained_model_has_the_size_and_the_ids_asked_for(
    tmp_path: Path, corpus: Path, kind: str
) -> None:
    options = TokenizerOptions(vocab_size=110, kind=kind, threads=1)  # type: ignore[arg-type]
    seen: list[tuple[str, int, int | None]] = []
    assert train_tokenizer([corpus], tmp_path / "t.model", options, report=lambda *a: seen.append(a)) == 110
    tokens = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "t.model"))
    assert [tokens.bos_id(), tokens.pad_id(), tokens.eos_id(), tokens.unk_id()] == [0, 1, 2, 3]
    assert tokens.decode(tokens.encode("The Engineers")) == "the engineers"
    library = core.Tokenizer.load(tmp_path / "t.model")
    assert library.encode(SENTENCES[3]) == tokens.encode(SENTENCES[3])
    assert {label for label, _, _ in seen} == {"read", "train"}


def test_capitals_are_kept_where_asked(tmp_path: Path, corpus: Path) -> None:
    options = TokenizerOptions(vocab_size=110, normalizer="nmt_nfkc", threads=1)
    train_tokenizer([corpus], tmp_path / "t.model", options)
    tokens = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "t.model"))
    assert tokens.decode(tokens.encode("The Engineers")) == "The Engineers"


def test_byte_fallback_leaves_nothing_unknown(tmp_path: Path, corpus: Path) -> None:
    options = TokenizerOptions(vocab_size=340, byte_fallback=True, threads=1)
    train_tokenizer([corpus], tmp_path / "t.model", options)
    tokens = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "t.model"))
    assert 3 not in tokens.encode("東京 😀 Ж")
    assert tokens.decode(tokens.encode("東京 😀")) == "東京 😀"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 3}, "vocab_size is 3; allowed: 8"),
        ({"vocab_size": 200, "byte_fallback": True}, "vocab_size is 200; allowed: 264"),
        ({"vocab_size": 100, "kind": "word"}, "kind is 'word'; allowed: unigram, bpe"),
        ({"vocab_size": 100, "normalizer": "none"}, "normalizer is 'none'"),
        ({"vocab_size": 100, "character_coverage": 0.5}, r"character_coverage is 0\.5"),
        ({"vocab_size": 100, "threads": 0}, "threads is 0"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        TokenizerOptions(**options)  # type: ignore[arg-type]


def test_what_is_wrong_with_the_corpus_is_said(tmp_path: Path, corpus: Path) -> None:
    options = TokenizerOptions(vocab_size=5000, threads=1)
    with pytest.raises(InvalidArgument, match="320 texts do not give a tokenizer of 5000 pieces"):
        train_tokenizer([corpus], tmp_path / "t.model", options)
    blank = tmp_path / "blank.txt"
    blank.write_text(" \n")
    with pytest.raises(InvalidArgument, match="no text to train on"):
        train_tokenizer([blank], tmp_path / "t.model", options)
    damaged = tmp_path / "damaged.txt"
    damaged.write_bytes(b"fine\n\xff\n")
    with pytest.raises(FormatError, match=r"damaged\.txt, line 2: not valid UTF-8"):
        train_tokenizer([damaged], tmp_path / "t.model", options)
    with pytest.raises(IoError, match="its folder does not exist"):
        train_tokenizer([corpus], tmp_path / "no/where/t.model", options)
    assert not (tmp_path / "t.model").exists()


def test_a_missing_package_is_named_with_its_remedy(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    def refuse(name: str, package: str | None = None) -> object:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ImportError, match="remedy: pip install sentencepiece protobuf"):
        train_tokenizer([corpus], tmp_path / "t.model", TokenizerOptions(vocab_size=110))


def test_the_command_writes_the_model(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "t.model"
    arguments = ["train-tokenizer", str(corpus), "--output", str(output), "--threads", "1", "--size"]
    assert main([*arguments, "110"]) == 0
    assert capsys.readouterr().out == f"110 pieces in {output}\n"
    assert len(core.Tokenizer.load(output)) == 110
    assert main([*arguments, "none"]) == 2
    assert main([*arguments, "9000"]) == 1
    assert "do not give a tokenizer of 9000 pieces" in capsys.readouterr().err
