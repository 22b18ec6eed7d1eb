"""Markdown files become text with headings as sections."""

import random
import time
from pathlib import Path

import pytest
from section_checks import check_sections

from taesr.ingest import load_folder


def test_headings_are_sections_with_paths(read, section_texts):
    document = read(
        "a.md", "Intro.\n\n# Title\n\nBody é.\n\nSetext\n------\n\n文字.\n\n### Deep > down #\n\nEnd.\n"
    )
    assert document.text == "Intro.\n\n# Title\n\nBody é.\n\n## Setext\n\n文字.\n\n### Deep > down\n\nEnd."
    assert section_texts(document) == {
        "": "Intro.",
        "Title": "# Title\n\nBody é.",
        "Title > Setext": "## Setext\n\n文字.",
        "Title > Setext > Deep \u203a down": "### Deep > down\n\nEnd.",
    }
    assert document.title == "Title"


def test_heading_without_text_belongs_to_the_section_below(read, section_texts):
    document = read("a.md", "# Title\n\n## One\n\nText.\n\n## Empty\n\n## Two\n\nText.\n")
    assert section_texts(document) == {
        "Title > One": "# Title\n\n## One\n\nText.",
        "Title > Empty": "## Empty",
        "Title > Two": "## Two\n\nText.",
    }


def test_title_comes_from_front_matter_then_heading_then_name(read):
    assert read("a.md", '---\ntitle: "From: front"\n---\n# Heading\n\ntext').title == "From: front"
    assert read("a.md", "## Second\n\n# First\n\ntext").title == "First"
    assert read("reset-the_password.md", "text").title == "reset the password"


def test_front_matter_is_metadata_and_not_text(read):
    document = read(
        "a.md",
        "---\ntitle: T\nproduct: Outlook\ntags: [mail, sync]\nyear: 2024\n"
        "nested: {a: 1}\nformat: x\n---\ntext",
    )
    assert document.text == "text"
    assert document.metadata == {
        "product": "Outlook",
        "tags": "mail, sync",
        "year": 2024,
        "format": "markdown",
        "size": 93,
    }


def test_front_matter_that_is_no_yaml_is_kept_as_text(load):
    loaded = load("a.md", "---\na: [1\n---\n\ntext")
    assert "a: [1" in loaded.document.text
    assert loaded.notes[0].startswith("front matter read as text: not valid YAML")
    assert load("a.md", "---\njust a rule\n---\n\ntext").document.text.endswith("text")


def test_code_keeps_its_layout_and_its_hashes(read):
    code = "# no heading\ndef f():\n    return  1"
    document = read("a.md", f"# T\n\n```python\n{code}\n```\n\n    indented # code\n    more\n")
    assert document.text == f"# T\n\n```\n{code}\n```\n\n```\nindented # code\nmore\n```"
    assert [section.path for section in document.sections] == ["T"]


def test_code_that_shows_fences_gets_other_fences(read):
    assert read("a.md", "````\n```\nx\n```\n````").text == "~~~\n```\nx\n```\n~~~"


def test_links_images_and_emphasis_leave_their_words(read):
    document = read(
        "a.md",
        'See [the *guide*](http://a.example/x "title"), [ref][r], <http://b.example>, ![a chart](c.png),\n'
        "**bold**, ~~old~~, `co*de`, `` a`b `` and snake_case \\* 2 &amp; 3.\n\n[r]: http://c.example\n",
    )
    assert document.text == (
        "See the guide, ref, http://b.example, a chart, bold, old, `co*de`, ``a`b`` and snake_case * 2 & 3."
    )


def test_lists_keep_markers_and_nesting(read):
    document = read("a.md", "Do:\n\n3. one\n4. two\n   wrapped\n   - inner\n\n     second paragraph\n\nDone.")
    assert document.text == "Do:\n\n3. one\n4. two wrapped\n  - inner\n\nsecond paragraph\n\nDone."
    assert read("b.md", "* a\n* b\n\n\n+ c").text == "- a\n- b\n- c"


def test_tables_stay_tables(read):
    document = read("a.md", "| Code | Meaning |\n|:--|--:|\n| `a` | x \\| y |\n| only |\n")
    assert document.text.split("\n")[0:2] == ["| Code | Meaning |", "| --- | --- |"]
    assert "x \\| y" in document.text
    assert "| only | |" in document.text


@pytest.mark.parametrize(
    "hidden",
    [
        "<!-- SECRET -->",
        "text <!-- SECRET --> text",
        "<!--\n\nSECRET\n\n-->",
        "<!-- never closed\n\nSECRET",
        '<div style="display:none">SECRET</div>',
        '<div style="display: none">\n\nSECRET **x**\n\n# SECRET\n\n- SECRET\n\n</div>',
        "<div hidden><div>\n\nSECRET\n\n</div>\n\nSECRET\n\n</div>",
        "a <span hidden>SECRET</span> b",
        'a <span style="font-size:0px">SECRET <b>SECRET</b></span> b',
        "<script>SECRET</script>",
        "a <script>SECRET</script> b",
        '<p aria-hidden="true">SECRET</p>',
        "[//]: # (SECRET)",
        "[ref]: http://a.example 'SECRET'",
        '[link](http://a.example "SECRET")',
        "<details><summary>shown</summary><template>SECRET</template></details>",
        "| a | b |\n|---|---|\n| <span hidden>SECRET</span> | c |",
        "# <span hidden>SECRET</span> heading",
    ],
)
def test_hidden_text_is_left_out(load, hidden):
    document = load("a.md", f"Before.\n\n{hidden}\n\nAfter.").document
    assert "SECRET" not in document.text + document.title + str(document.sections)
    assert "Before." in document.text
    if "never closed" not in hidden:
        assert "After." in document.text


def test_hidden_text_is_told(load):
    assert load("a.md", "x <!-- a --> <span hidden>b</span>").notes == (
        "hidden text left out: 2 HTML comments and elements",
    )
    assert load("a.md", "nothing hidden, a < b").notes == ()


def test_span_left_open_hides_its_paragraph_only(read):
    assert read("a.md", "a <span hidden>b\n\nc").text == "a\n\nc"


def test_shown_html_is_read_and_placeholders_are_kept(read):
    document = read(
        "a.md",
        '<h2 align="center">Logo</h2>\n\nType <your name> or <UserName>, then<br>press <kbd>Enter</kbd>.\n\n'
        "<ServerName>\n\n<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>\n",
    )
    assert document.text == (
        "## Logo\n\nType <your name> or <UserName>, then\npress Enter.\n\n<ServerName>\n\n"
        "| a | b |\n| --- | --- |\n| 1 | 2 |"
    )


def test_every_visible_word_of_random_markdown_is_kept(tmp_path):
    random_ = random.Random(5)
    pieces = [
        "# ",
        "- ",
        "1. ",
        "> ",
        "\n",
        "\n\n",
        "**",
        "*",
        "`",
        "```\n",
        "    ",
        "[",
        "](x)",
        "|",
        "\\",
        "  ",
        "a ",
    ]
    words = [f"word{number}" for number in range(30)]
    for number in range(300):
        source = "start " + "".join(random_.choice(pieces) + word + " " for word in words)
        (tmp_path / f"{number}.md").write_text(source)
    report = load_folder(tmp_path)
    assert len(report.documents) == 300
    for document in report.documents:
        check_sections(document)
        for word in words:
            assert word in document.text, Path(document.source).read_text()


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("nested lists", "".join("  " * level + "- a\n" for level in range(2000))),
        ("nested lists in a line", "- " * 10_000 + "a"),
        ("nested quotes", ">" * 10_000 + "a"),
        ("brackets", "[" * 10_000),
        ("links", "[a](" * 10_000),
        ("images", "![" * 10_000),
        ("emphasis", "**a *b " * 5_000),
        ("backticks", " ".join("`" * length for length in range(1, 300))),
        ("tags", "<a b='" * 10_000),
        ("tags in a block", "<div>\n" + "<b c='" * 10_000),
        ("comments", "text\n\n" + "<!--" * 10_000),
        ("hidden elements", "<div hidden>" * 10_000 + "\n\nx"),
        ("front matter", "---\n" + "[" * 10_000 + "\n---\nx"),
    ],
)
def test_hostile_markdown_ends_in_time(load, name, source):
    begin = time.monotonic()
    loaded = load("a.md", source)
    assert time.monotonic() - begin < 20, name
    assert loaded.status in ("loaded", "failed")
    assert loaded.document is not None or loaded.reason


def test_lists_too_deep_for_the_parser_are_refused_and_not_cut(load):
    deep = "".join("  " * level + f"- item{level}\n" for level in range(45))
    assert "item44" in load("a.md", deep).document.text
    deeper = "".join("  " * level + f"- item{level}\n" for level in range(60))
    assert load("a.md", deeper).reason == "lists or quotes nested more than 50 deep"
