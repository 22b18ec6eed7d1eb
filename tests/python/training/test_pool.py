"""Reading pools of training texts."""

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from tests.python.training.pools import RULES, TOKENIZER, make_records, write_pool

from taesr import FormatError, InvalidArgument, IoError
from taesr._native import core
from taesr.training.long_texts import append_long_texts, choose_neighbours
from taesr.training.options import LongTextOptions
from taesr.training.pool import iter_texts, parse_block, read_blocks
from taesr.training.tokenize_pool import tokenise

GOOD = '{"text": "bread", "role": "passage", "parent": null, "document": 3}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "blank line"),
        ("{", "not JSON"),
        ("[1]", "not an object"),
        ("[" * 100_000, "not JSON"),
        ('{"role": "query"}', '"text" must be a string'),
        ('{"text": " \\t", "role": "query"}', '"text" must be a string that is not blank'),
        ('{"text": 4, "role": "query"}', '"text" must be a string'),
        ('{"text": "\\ud800", "role": "query"}', "surrogate"),
        ('{"text": "a", "role": "Query"}', "\"role\" is 'Query'; allowed"),
        ('{"text": "a"}', '"role" is None; allowed'),
        ('{"text": "a", "role": "query", "parent": "1"}', "\"parent\" is '1'; allowed"),
        ('{"text": "a", "role": "query", "parent": true}', '"parent" is True; allowed'),
        ('{"text": "a", "role": "query", "parent": 0}', '"parent" is 0; allowed'),
        ('{"text": "a", "role": "query", "parent": 1e0}', '"parent" is 1.0; allowed'),
        ('{"text": "a", "role": "passage", "parent": 1}', 'a passage has a "parent"'),
        ('{"text": "a", "role": "passage", "document": [1]}', '"document" is [1]; allowed'),
        ('{"text": "a", "role": "query", "parent": 9}', '"parent" is 9, but the pool has 3 lines'),
        ('{"text": "a", "role": "query", "parent": 3}', '"parent" is 3, but that line is a query'),
    ],
)
def test_a_bad_line_is_refused_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text(f"{GOOD}\n{GOOD}\n{line}\n")
    with pytest.raises(FormatError) as caught:
        tokenise([path], RULES, processes=1)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert message in str(caught.value)


def test_lines_are_counted_across_files_for_parents_and_within_a_file_for_errors(tmp_path: Path) -> None:
    first = tmp_path / "a.jsonl"
    first.write_text(f"{GOOD}\n{GOOD}")  # its last line has no end
    second = tmp_path / "b.jsonl"
    second.write_text('{"text": "loaf", "role": "query", "parent": 2}\n')
    pool = tokenise([first, second], RULES, processes=1)
    assert pool.parent.tolist() == [-1, -1, 1]
    second.write_text('{"text": "loaf", "role": "query", "parent": 4}\n')
    with pytest.raises(FormatError, match=r"b\.jsonl:1: .* the pool has 3 lines"):
        tokenise([first, second], RULES, processes=1)


def test_compressed_and_plain_files_give_the_same_pool(tmp_path: Path) -> None:
    records = make_records()
    plain = write_pool(tmp_path / "pool.jsonl", records)
    data = Path(plain).read_bytes()
    (tmp_path / "pool.jsonl.gz").write_bytes(gzip.compress(data))
    (tmp_path / "pool.jsonl.xz").write_bytes(lzma.compress(data))
    expected = tokenise([plain], RULES, processes=1)
    for suffix in (".gz", ".xz"):
        pool = tokenise([plain + suffix], RULES, processes=1)
        assert np.array_equal(pool.tokens, expected.tokens)
        assert np.array_equal(pool.parent, expected.parent)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_a_compressed_file_cut_short_is_named(tmp_path: Path, suffix: str, compress) -> None:
    path = tmp_path / f"pool.jsonl{suffix}"
    path.write_bytes(compress((GOOD + "\n").encode() * 100)[:-12])
    with pytest.raises(FormatError, match=r"pool\.jsonl.*damaged or cut short"):
        list(read_blocks(path))


def test_a_missing_file_and_pools_without_passages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IoError, match=r"none\.jsonl"):
        tokenise([tmp_path / "none.jsonl"], RULES, processes=1)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(FormatError, match="holds no text"):
        tokenise([empty], RULES, processes=1)
    empty.write_text('{"text": "a", "role": "query"}\n')
    with pytest.raises(FormatError, match="holds no passage"):
        tokenise([empty], RULES, processes=1)


def test_blocks_of_any_size_hold_every_line_once(tmp_path: Path) -> None:
    path = write_pool(tmp_path / "pool.jsonl", make_records())
    lines = Path(path).read_bytes().splitlines(keepends=True)
    for size in (1, 100, 10_000_000):
        blocks = list(read_blocks(path, block_bytes=size))
        assert b"".join(block.data for block in blocks) == b"".join(lines)
        for block in blocks:
            assert block.data.startswith(lines[block.first_line - 1])


def test_token_ids_are_the_tokenizers_between_their_marks_and_cut_at_the_limit(tmp_path: Path) -> None:
    long = "winter " * 200
    records = [
        {"text": "A copper river, näive ☂.", "role": "passage"},
        {"text": long, "role": "passage"},
        {"text": long, "role": "query", "parent": 2},
    ]
    pool = tokenise([write_pool(tmp_path / "pool.jsonl", records)], RULES, processes=1)
    tokenizer = core.Tokenizer.load(TOKENIZER)
    rows = [pool.tokens[pool.starts[i] : pool.starts[i + 1]].tolist() for i in range(3)]
    assert rows[0] == [0, *tokenizer.encode(records[0]["text"]), 2]
    assert rows[1] == [0, *tokenizer.encode(long)[:62], 2]
    assert rows[2] == [0, *tokenizer.encode(long)[:14], 2]
    assert pool.role.tolist() == [0, 0, 1]


def test_several_processes_give_what_one_gives_and_their_errors_name_the_line(tmp_path: Path) -> None:
    records = make_records(topics=20)
    path = write_pool(tmp_path / "pool.jsonl", records)
    one, two = (tokenise([path, path], RULES, processes=n) for n in (1, 2))
    for name in ("tokens", "starts", "role", "parent", "document"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    with open(path, "a") as file:
        file.write("nonsense\n")
    with pytest.raises(FormatError, match=rf"pool\.jsonl:{len(records) + 1}: not JSON"):
        tokenise([path], RULES, processes=2)


def test_documents_are_equal_where_their_names_are(tmp_path: Path) -> None:
    names = ["a", "a", "1", 1, None, 1]
    path = write_pool(
        tmp_path / "pool.jsonl", [{"text": "x", "role": "passage", "document": n} for n in names]
    )
    (block,) = read_blocks(path)
    found = parse_block(block).document
    assert found[0] == found[1]
    assert found[3] == found[5]
    assert len({int(found[i]) for i in (0, 2, 3, 4)}) == 4
    assert found[4] == -1
    assert (found[[0, 2, 3]] >= 0).all()


def test_texts_come_in_the_order_of_rows(tmp_path: Path) -> None:
    records = make_records()
    path = write_pool(tmp_path / "pool.jsonl", records)
    texts = [text for part, _ in iter_texts([path, path]) for text in part]
    assert texts == [record["text"] for record in records] * 2


def test_long_texts_join_neighbours_of_one_document_within_the_wanted_length(tmp_path: Path) -> None:
    pool = tokenise([write_pool(tmp_path / "pool.jsonl", make_records(topics=30))], RULES, processes=1)
    options = LongTextOptions(count=12, min_tokens=60, max_tokens=150)
    long = choose_neighbours(pool, options, seed=1)
    assert len(long) == 12
    grown = append_long_texts(pool, long, RULES)
    for i in range(len(long)):
        rows = long.members[long.starts[i] : long.starts[i + 1]]
        assert len(rows) >= 2
        assert (np.diff(rows) == 1).all()
        assert len(set(pool.document[rows])) == 1
        begin, end = grown.starts[len(pool.role) + i], grown.starts[len(pool.role) + i + 1]
        tokens = grown.tokens[begin:end].tolist()
        inner = [
            t for row in rows for t in pool.tokens[pool.starts[row] + 1 : pool.starts[row + 1] - 1].tolist()
        ]
        assert tokens == [0, *inner, 2]
        assert len(tokens) <= 150
    assert np.array_equal(choose_neighbours(pool, options, seed=1).members, long.members)


def test_option_errors_name_value_and_range() -> None:
    with pytest.raises(InvalidArgument, match="max_tokens is 100; allowed: at least 280"):
        LongTextOptions(max_tokens=100)


def test_records_of_a_pool_may_say_more(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text(json.dumps({"text": "x", "role": "passage", "source": "here"}) + "\n")
    assert len(tokenise([path], RULES, processes=1).role) == 1
