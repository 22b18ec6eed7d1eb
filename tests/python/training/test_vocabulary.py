import gzip
import json
import lzma
from pathlib import Path

import pytest
import sentencepiece
import torch
from tests.python.training.teachers import (
    PIECES,
    SENTENCES,
    write_bert,
    write_sentencepiece,
    write_wordpiece,
)

from taesr._native import core
from taesr.cli import main
from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.training.corpus import iter_texts, sample_texts
from taesr.training.vocabulary import PrunedVocabulary, PruneOptions, prune_vocabulary, teacher_table
from taesr.training.wordpiece import WordPieceVocabulary

TEXTS = [
    "The café's naïve (unaffable) password re-set: STOP!",
    "Cafe\u0301 E\u0301te\u0301 Straße",
    "https://example.org/a?b=1.5",
    "東京 is not x東y京",
    "zero\u200bwidth soft\u00adhyphen \ue000bullet no\u00a0break\ttab\nline\u2028separator",
    "“quoted” … 100 €, 😀 😀😀",
    "",
    "   ",
    "\ufffd\x07",
    "unableableable passwords thecafe resetable",
    "İstanbul ǅ",
    "\u2581marker\u2581 already",
    "a" * 99,
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(" ".join(t.split()).replace("\x00", "") for t in TEXTS), encoding="utf-8")
    return path


def processor(pruned: PrunedVocabulary) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=pruned.tokenizer)


def whole(folder: Path, corpus: Path) -> PrunedVocabulary:
    """Every piece that text can give: nothing is pruned."""
    size = len(WordPieceVocabulary.load(folder).spellings()) + 4
    return prune_vocabulary(folder, [corpus], PruneOptions(size=size))


def test_wordpiece_texts_are_cut_as_the_tokenizers_package_cuts_them(tmp_path: Path, corpus: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    folder = write_wordpiece(tmp_path / "teacher")
    reference = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({p: i for i, p in enumerate(PIECES)}, unk_token="[UNK]")
    )
    reference.normalizer = tokenizers.normalizers.BertNormalizer()
    reference.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    pruned = whole(folder, corpus)
    compared = 0
    for text in TEXTS:
        wanted = reference.encode(text, add_special_tokens=False)
        if "[UNK]" in wanted.tokens:
            continue
        compared += 1
        assert [int(pruned.rows[i]) for i in processor(pruned).encode(text)] == wanted.ids, text
    assert compared >= 9


def test_wordpiece_is_matched_from_the_left_by_the_longest_piece(tmp_path: Path, corpus: Path) -> None:
    pruned = whole(write_wordpiece(tmp_path / "teacher"), corpus)
    cut = processor(pruned).encode("Unaffable, naïve (cafés)!", out_type=str)
    # "aff" wins over "a" although "##able" follows either way; brackets are words.
    assert cut == ["▁un", "aff", "able", "▁,", "▁naive", "▁(", "▁cafe", "s", "▁)", "▁!"]
    assert processor(pruned).encode("x東y京", out_type=str) == ["▁x", "▁東", "▁y", "▁京"]


def test_an_unknown_character_leaves_the_pieces_around_it(tmp_path: Path, corpus: Path) -> None:
    pruned = whole(write_wordpiece(tmp_path / "teacher"), corpus)
    assert processor(pruned).encode("stop Жs") == [
        *processor(pruned).encode("stop"), 3, processor(pruned).piece_to_id("s"),
    ]  # fmt: skip


def test_rows_of_kept_wordpieces_are_the_teachers(tmp_path: Path, corpus: Path) -> None:
    weights = write_bert(tmp_path / "teacher")
    pruned = prune_vocabulary(tmp_path / "teacher", [corpus], PruneOptions(size=60, character_coverage=0.5))
    table = weights["embeddings.word_embeddings.weight"]
    kept = pruned.table(teacher_table(tmp_path / "teacher"))
    tokens = processor(pruned)
    assert len(tokens) == len(kept) == 60
    special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
    for i in range(60):
        piece = tokens.id_to_piece(i)
        name = special[i] if i < 4 else piece[1:] if piece[0] == "▁" else "##" + piece
        assert torch.equal(kept[i], table[PIECES.index(name)]), piece
    assert [tokens.bos_id(), tokens.pad_id(), tokens.eos_id(), tokens.unk_id()] == [0, 1, 2, 3]
    assert 0 < pruned.coverage < 1


def test_ids_of_ugly_texts_are_in_range_and_the_library_gives_the_same(tmp_path: Path, corpus: Path) -> None:
    pruned = prune_vocabulary(
        write_wordpiece(tmp_path / "teacher"), [corpus], PruneOptions(size=60, character_coverage=0.5)
    )
    (tmp_path / "tokenizer.model").write_bytes(pruned.tokenizer)
    library = core.Tokenizer.load(tmp_path / "tokenizer.model")
    assert len(library) == 60
    for text in [*TEXTS, "nul\x00 character", "x" * 20_000]:
        ids = library.encode(text)
        assert all(0 <= i < 60 for i in ids)
        assert ids == processor(pruned).encode(text), text
    assert library.encode("") == library.encode("   ") == []


def test_cased_vocabularies_keep_capitals_and_accents(tmp_path: Path, corpus: Path) -> None:
    pruned = whole(write_wordpiece(tmp_path / "teacher", do_lower_case=False), corpus)
    assert processor(pruned).encode("É stop", out_type=str) == ["▁É", "▁stop"]


def test_sentencepiece_rows_are_the_teachers_and_frequent_words_are_cut_alike(tmp_path: Path) -> None:
    folder = write_sentencepiece(tmp_path / "teacher")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(SENTENCES[:80]))
    teacher = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pruned = prune_vocabulary(folder, [corpus], PruneOptions(size=90))
    tokens = processor(pruned)
    assert len(tokens) == 90
    assert [teacher.id_to_piece(int(r)) for r in pruned.rows] == [tokens.id_to_piece(i) for i in range(90)]
    same = [teacher.encode(t, out_type=str) == tokens.encode(t, out_type=str) for t in SENTENCES[:80]]
    assert sum(same) / len(same) > 0.5
    assert 3 not in [i for t in SENTENCES[:80] for i in tokens.encode(t)]


def test_fairseq_tables_have_their_ids_one_further(tmp_path: Path) -> None:
    folder = write_sentencepiece(tmp_path / "teacher")
    (folder / "config.json").write_text('{"model_type": "xlm-roberta"}')
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(SENTENCES))
    teacher = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pruned = prune_vocabulary(folder, [corpus], PruneOptions(size=90))
    assert pruned.rows[:4].tolist() == [0, 1, 2, 3]
    assert int(pruned.rows[40]) == teacher.piece_to_id(processor(pruned).id_to_piece(40)) + 1


def test_bpe_teachers_are_refused(tmp_path: Path, corpus: Path) -> None:
    folder = write_sentencepiece(tmp_path / "teacher", model_type="bpe")
    with pytest.raises(FormatError, match=r"tokenizer\.model: not a unigram model"):
        prune_vocabulary(folder, [corpus], PruneOptions(size=90))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 5}, "size is 5; allowed: 8 to"),
        ({"size": 50, "sample_bytes": 0}, "sample_bytes is 0"),
        ({"size": 50, "character_coverage": 1.5}, r"character_coverage is 1\.5; allowed: 0 to 1"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        PruneOptions(**options)  # type: ignore[arg-type]


def test_sizes_that_cannot_be_honoured_are_refused(tmp_path: Path, corpus: Path) -> None:
    folder = write_wordpiece(tmp_path / "teacher")
    with pytest.raises(InvalidArgument, match="the teacher has"):
        prune_vocabulary(folder, [corpus], PruneOptions(size=1000))
    with pytest.raises(InvalidArgument, match="are required"):
        prune_vocabulary(folder, [corpus], PruneOptions(size=10))


def test_wrong_folders_and_files_are_named(tmp_path: Path, corpus: Path) -> None:
    options = PruneOptions(size=20)
    with pytest.raises(IoError, match="nowhere"):
        prune_vocabulary(tmp_path / "nowhere", [corpus], options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="has no tokenizer"):
        prune_vocabulary(tmp_path / "empty", [corpus], options)
    with pytest.raises(FormatError, match=r"vocab\.txt: the vocabulary has no \[CLS\]"):
        prune_vocabulary(write_wordpiece(tmp_path / "other", ["[PAD]", "[UNK]", "a"]), [corpus], options)
    (tmp_path / "bpe").mkdir()
    (tmp_path / "bpe/tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {"a": 0}}}')
    with pytest.raises(FormatError, match="not a WordPiece tokenizer"):
        prune_vocabulary(tmp_path / "bpe", [corpus], options)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/tokenizer.model").write_bytes(b"\xff\xfenot a model")
    with pytest.raises(FormatError, match=r"tokenizer\.model: not a SentencePiece model, or damaged"):
        prune_vocabulary(tmp_path / "damaged", [corpus], options)
    blank = tmp_path / "blank.txt"
    blank.write_text("\n\n")
    with pytest.raises(InvalidArgument, match="no text"):
        prune_vocabulary(write_wordpiece(tmp_path / "teacher"), [blank], options)


def test_corpora_are_read_plain_compressed_and_as_json_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeffone\n\n two \n", encoding="utf-8")
    record = json.dumps({"text": "three", "role": "query"}).encode() + b"\n"
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(record))
    (tmp_path / "c.jsonl.xz").write_bytes(lzma.compress(b'{"text": "half \\ud800 pair"}\n'))
    files = [tmp_path / "a.txt", tmp_path / "b.jsonl.gz", tmp_path / "c.jsonl.xz"]
    assert list(iter_texts(files)) == ["one", "two", "three", "half ? pair"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"fine\n\xff\n", r"a\.txt, line 2: not valid UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 3}\n', r'a\.jsonl, line 2: no string "text"'),
        ("a.jsonl", b"{\n", r"a\.jsonl, line 1: not JSON"),
        ("a.txt.gz", b"not gzip", r"a\.txt\.gz: damaged or cut short"),
        ("a.txt.xz", lzma.compress(b"text\n" * 999)[:-20], r"a\.txt\.xz: damaged or cut short"),
    ],
)
def test_damaged_corpora_are_named_with_their_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=message):
        list(sample_texts([tmp_path / name], max_bytes=1 << 20))


def test_samples_are_spread_over_the_files_and_within_the_limit(tmp_path: Path) -> None:
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for file in files:
        file.write_text("".join(f"{file.stem}{i:06}\n" for i in range(2000)))
    texts = list(sample_texts(files, max_bytes=3200))
    assert 300 <= len(texts) <= 400
    assert {text[0] for text in texts} == {"a", "b"}
    assert sum(len(t.encode()) for t in texts) <= 3200
    assert max(int(text[1:]) for text in texts) > 1500  # not the beginnings only
    with pytest.raises(IoError, match=r"missing\.txt"):
        list(sample_texts([tmp_path / "missing.txt"], max_bytes=10))


def test_the_command_writes_tokenizer_and_rows(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bert(tmp_path / "teacher")
    arguments = [
        "prune-vocabulary",
        str(tmp_path / "teacher"),
        str(corpus),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*arguments, "--size", "90"]) == 0
    assert "90 of" in capsys.readouterr().out
    assert len(core.Tokenizer.load(tmp_path / "out/tokenizer.model")) == 90
    table = core.load_weights(str(tmp_path / "out/embeddings.safetensors"))["embeddings.token.weight"]
    assert table.shape == (90, 12)
    assert main([*arguments, "--size", "9000"]) == 1
    assert "the teacher has" in capsys.readouterr().err
