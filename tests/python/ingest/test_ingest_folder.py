"""Folders are walked in a stable order, and every file ends in a state."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taesr.ingest
from taesr.document import Document, Section
from taesr.errors import InvalidArgument, IoError
from taesr.ingest import Limits, iterate, load_file, load_folder
from taesr.ingest.blocks import Block, assemble


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")


def states(paths) -> dict[str, str]:
    return {file.id: file.reason or file.status for file in iterate(paths)}


def test_ids_are_relative_paths_in_a_stable_order(tmp_path):
    write(tmp_path, "b/z.md", "b/a.txt", "a.md", "b/c/x.html", "B.txt", "ü/é.md")
    report = load_folder(tmp_path)
    ids = [document.id for document in report.documents]
    assert ids == ["B.txt", "a.md", "b/a.txt", "b/z.md", "b/c/x.html", "ü/é.md"]
    assert [document.id for document in load_folder(tmp_path).documents] == ids
    assert report.documents[1].source == str(tmp_path / "a.md")
    assert str(report) == "6 loaded, 0 unchanged, 0 skipped, 0 failed"


def test_relative_and_dotted_inputs_leave_no_trace_in_ids(tmp_path, monkeypatch):
    write(tmp_path, "docs/a.md", "other/b.md")
    monkeypatch.chdir(tmp_path / "other")
    files = list(iterate(["../docs", "../other/../other/b.md"]))
    assert [file.id for file in files] == ["a.md", "b.md"]
    assert all(os.path.isabs(file.document.source) and ".." not in file.document.source for file in files)


def test_hidden_and_unsupported_files(tmp_path):
    write(tmp_path, ".hidden.md", ".git/a.md", "a.png", "Makefile", "a.md", "b.MD")
    assert states([tmp_path]) == {
        "Makefile": "not a supported type (no extension)",
        "a.md": "loaded",
        "a.png": "not a supported type (.png)",
        "b.MD": "loaded",
    }
    assert [file.id for file in load_folder(tmp_path).skipped] == ["Makefile", "a.png"]


def test_file_named_by_the_user_is_taken_for_what_it_holds(tmp_path):
    write(tmp_path, "Makefile", ".hidden.md")
    (tmp_path / "image.dat").write_bytes(b"\x89PNG")
    assert load_file(tmp_path / "Makefile").document.metadata["format"] == "text"
    assert load_file(tmp_path / ".hidden.md").status == "loaded"
    assert load_file(tmp_path / "image.dat").reason == "binary data, not text (PNG image)"


def test_symbolic_links(tmp_path):
    docs, outside = tmp_path / "docs", tmp_path / "outside"
    write(docs, "sub/a.md", ".data/c.md")
    write(outside, "secret.md")
    (docs / "file.md").symlink_to(docs / "sub/a.md")
    (docs / "config.md").symlink_to(".data/c.md")
    (docs / "leaves.md").symlink_to(outside / "secret.md")
    (docs / "leaves-dir").symlink_to(outside)
    (docs / "sub/loop").symlink_to(docs)
    (docs / "self.md").symlink_to(docs / "self.md")
    (docs / "passwd.txt").symlink_to("../../../../../../../../etc/passwd")
    assert states([docs]) == {
        "config.md": "loaded",
        "file.md": "loaded",
        "leaves-dir": "symbolic link to a folder: not followed",
        "leaves.md": "symbolic link that leaves the folder: not followed",
        "passwd.txt": "symbolic link that leaves the folder: not followed",
        "self.md": "symbolic link to nothing, or to itself",
        "sub/a.md": "loaded",
        "sub/loop": "symbolic link to a folder: not followed",
    }


def test_folder_beside_with_the_same_beginning_is_outside(tmp_path):
    write(tmp_path, "docs/a.md", "docs-private/b.md")
    (tmp_path / "docs/b.md").symlink_to(tmp_path / "docs-private/b.md")
    assert "leaves the folder" in states([tmp_path / "docs"])["b.md"]


def test_folder_given_as_a_link_is_read(tmp_path):
    write(tmp_path, "docs/a.md")
    (tmp_path / "link").symlink_to(tmp_path / "docs")
    assert states([tmp_path / "link"]) == {"a.md": "loaded"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_folder_and_file_are_listed(tmp_path):
    write(tmp_path, "a.md", "locked/b.md", "c.md")
    (tmp_path / "locked").chmod(0)
    (tmp_path / "c.md").chmod(0)
    try:
        assert states([tmp_path]) == {
            "a.md": "loaded",
            "c.md": "cannot be opened: Permission denied",
            "locked/": "folder cannot be read: Permission denied",
        }
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_folder_that_cannot_be_read_is_listed_and_the_rest_goes_on(tmp_path, monkeypatch):
    write(tmp_path, "a.md", "locked/b.md", "z/c.md")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    files = {file.id: file for file in iterate([tmp_path])}
    assert files["locked/"].status == "failed"
    assert files["locked/"].reason == "folder cannot be read: Permission denied"
    assert files["a.md"].status == files["z/c.md"].status == "loaded"


def test_file_that_cannot_be_opened_or_vanishes_is_listed(tmp_path, monkeypatch):
    write(tmp_path, "a.md", "b.md")
    files = iterate([tmp_path])
    (tmp_path / "a.md").unlink()
    assert [file.reason for file in files] == ["cannot be opened: No such file or directory", ""]


def test_pipes_and_other_special_files_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    assert states([tmp_path]) == {"pipe.txt": "not a regular file"}
    assert load_file(tmp_path / "pipe.txt").reason == "not a regular file"
    assert load_file("/dev/zero").reason == "not a regular file"


def test_names_that_do_not_print_are_escaped(tmp_path):
    for name in (b"new\nline.md", b"latin-\xe9.md", b"esc\x1b[31m.md", "rtl\u202e.md".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("text")
    documents = load_folder(tmp_path).documents
    assert sorted(document.id for document in documents) == sorted(
        ["new\\nline.md", "latin-\\xe9.md", "esc\\x1b[31m.md", "rtl\\u202e.md"]
    )
    for document in documents:
        assert document.source.encode().isascii()
        assert "\n" not in document.source


def test_reasons_are_one_line_even_where_names_are_not(tmp_path):
    path = tmp_path / "a\nb.md"
    path.write_bytes(b"")
    assert load_file(path).reason == "empty file"
    with pytest.raises(IoError) as caught:
        load_file(tmp_path / "no\nsuch.md")
    assert "\n" not in str(caught.value)


def test_two_inputs_with_one_id_are_an_error_that_names_both(tmp_path):
    write(tmp_path, "a/same.md", "b/same.md")
    with pytest.raises(InvalidArgument) as caught:
        iterate([tmp_path / "a", tmp_path / "b"])
    for name in ("a/same.md", "b/same.md"):
        assert str(tmp_path / name) in str(caught.value)


def test_same_file_given_twice_is_read_once(tmp_path):
    write(tmp_path, "a.md", "b.md")
    assert states([tmp_path, tmp_path / "a.md", tmp_path]) == {"a.md": "loaded", "b.md": "loaded"}


def test_missing_inputs_are_errors(tmp_path):
    with pytest.raises(IoError, match=r"missing: no such file or folder"):
        iterate([tmp_path / "missing"])
    with pytest.raises(IoError, match="is a folder"):
        load_file(tmp_path)
    assert load_folder(tmp_path).files == ()


def test_files_over_the_limit_are_told(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (3 << 20))
    assert load_file(path, limits=Limits(file_bytes=2 << 20)).reason == (
        "3.0 MB, over the limit of 2.0 MB: split it"
    )


def test_limits_out_of_range_are_refused_by_name():
    with pytest.raises(InvalidArgument, match=r"Limits\.seconds is 0, allowed are 0\.1 to 3600"):
        Limits(seconds=0)
    with pytest.raises(InvalidArgument, match=r"Limits\.memory_bytes"):
        Limits(memory_bytes=1)


@pytest.mark.parametrize("text", [b"x" * 50_000_000, b"word " * 10_000_000])
def test_fifty_megabytes_in_one_line_are_named_as_data(load, text):
    loaded = load("a.txt", text)
    assert loaded.status == "failed"
    assert re.match(r"line 1 has [\d,]{10} characters, at most 1,000,000 are read", loaded.reason)


def test_a_long_line_behind_others_is_named_by_its_number(load):
    assert load("a.txt", b"fine\n" + b"y" * 1_000_001).reason.startswith("line 2 has 1,000,001")
    assert load("a.txt", b"fine\n" + b"y" * 1_000_000).status == "loaded"


def test_known_files_are_not_parsed_again(tmp_path):
    write(tmp_path, "a.md", "b.md")
    known = {document.id: document.content_hash for document in load_folder(tmp_path).documents}
    (tmp_path / "b.md").write_text("changed")
    assert {file.id: file.status for file in iterate([tmp_path], known=known)} == {
        "a.md": "unchanged",
        "b.md": "loaded",
    }


def test_hash_changes_with_content_and_loaders(tmp_path, monkeypatch):
    path = tmp_path / "a.md"
    hashes = set()
    for text in ("one", "two"):
        path.write_text(text)
        hashes.add(load_file(path).document.content_hash)
    monkeypatch.setattr(taesr.ingest, "LOADER_VERSION", "next")
    hashes.add(load_file(path).document.content_hash)
    assert len(hashes) == 3
    assert all(len(digest) == 64 for digest in hashes)


def test_progress_counts_every_file(tmp_path):
    write(tmp_path, "a.md", "b.png", "c.md")
    calls = []
    list(iterate([tmp_path], progress=lambda done, total: calls.append((done, total))))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_text_files_keep_their_layout(read):
    document = read("notes.txt", "Name    Size\na       1\n\n\n\n\tcode  \nlast\r\n# no heading")
    assert document.text == "Name    Size\na       1\n\n\tcode\nlast\n# no heading"
    assert document.sections == ()
    assert document.title == "notes"


def test_whitespace_only_is_told(load):
    assert load("a.txt", " \n\u200b\n").reason == "no text in it"


def test_importing_needs_neither_torch_nor_the_extension():
    root = Path(taesr.ingest.__file__).parents[1]
    code = (
        "import sys, types\n"
        f"package = types.ModuleType('taesr'); package.__path__ = [{str(root)!r}]\n"
        "sys.modules['taesr'] = package\n"
        "import taesr.ingest, taesr.ingest.loaders.markdown, taesr.ingest.loaders.pdf\n"
        "assert not {'torch', 'numpy', 'taesr._core'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_documents_are_checked():
    with pytest.raises(InvalidArgument, match="without an id"):
        Document(id="", text="x")
    with pytest.raises(InvalidArgument, match=r"text has a lone surrogate, U\+D800, at character 1"):
        Document(id="a", text="x\ud800")
    with pytest.raises(InvalidArgument, match="bytes 0 to 3"):
        Document(id="a", text="é", sections=(Section("A", 0, 3),))
    with pytest.raises(InvalidArgument, match="allowed are 2"):
        Document(id="a", text="abc", sections=(Section("A", 0, 2), Section("B", 1, 3)))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            Block,
            st.sampled_from(["text", "plain", "heading", "code", "border"]),
            st.text(max_size=20),
            level=st.just(0),
            tight=st.booleans(),
        ),
        max_size=12,
    ),
    st.lists(st.integers(1, 6), min_size=12, max_size=12),
)
def test_sections_of_any_blocks_partition_the_text(blocks, levels):
    blocks = [
        Block(block.kind, block.text, level=level, tight=block.tight)
        if block.kind in ("heading", "border")
        else block
        for block, level in zip(blocks, levels, strict=False)
    ]
    text, sections = assemble(blocks)
    Document(id="x", text=text or "x", sections=sections if text else ())
    size = len(text.encode())
    if sections:
        assert sections[0].begin == 0
        assert sections[-1].end == size
        assert all(a.end == b.begin for a, b in itertools.pairwise(sections))
    for block in blocks:
        assert block.render() in text
