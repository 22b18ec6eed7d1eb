"""HTML files become their visible text."""

import time

import pytest


def page(body: str, head: str = "") -> str:
    return f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>"


def test_headings_paragraphs_and_title(read, section_texts):
    document = read(
        "a.html",
        page(
            "<h1>Reset</h1><p>One\n two&nbsp;<b>three</b>.</p><h2>How</h2>Loose<br>text"
            "<div>A</div><div>B</div>",
            "<title> The  page </title>",
        ),
    )
    assert document.title == "The page"
    assert section_texts(document) == {
        "Reset": "# Reset\n\nOne two three.",
        "Reset > How": "## How\n\nLoose\ntext\n\nA\n\nB",
    }


def test_title_falls_back_to_heading_then_name(read):
    assert read("a.html", page("<h2>Two</h2><p>x")).title == "Two"
    assert read("my-page.htm", page("<p>x")).title == "my page"


def test_lists_code_tables_and_images(read):
    document = read(
        "a.html",
        page(
            "<p>Do:</p><ol start=3><li>one<li><p>two</p><ul><li>in<b>ner</b></ul></ol>"
            "<pre>  def f():\n    # <b>x</b>\n</pre><p>Use <code>a_b</code>, <code></code>not.</p>"
            "<table><thead><tr><th>a<th>b|c</thead><tr><td><p>1</p><p>2</p><td>x<br>y</table>"
            "<img src=x alt='A chart'><img src=y>"
        ),
    )
    assert document.text == (
        "Do:\n\n3. one\n4. two\n  - inner\n\n```\n  def f():\n    # x\n```\n\nUse `a_b`, not.\n\n"
        "| a | b\\|c |\n| --- | --- |\n| 1 2 | x y |\n\nA chart"
    )


def test_tables_that_lay_out_the_page_are_paragraphs(read):
    document = read(
        "a.html",
        page(
            "<table><tr><td>Left<td><table><tr><td>a<td>b<tr><td>c<td>d</table>after<h2>H</h2>text</table>end"
        ),
    )
    assert document.text == "Left\n\n| a | b |\n| --- | --- |\n| c | d |\n\nafter\n\n## H\n\ntext\n\nend"


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>SECRET</script>",
        "<style>SECRET{}</style>",
        "<noscript>SECRET</noscript>",
        "<template><p>SECRET</p></template>",
        "<nav><a href=x>SECRET</a></nav>",
        "<div role=navigation>SECRET</div>",
        "<iframe srcdoc='SECRET'>SECRET</iframe>",
        "<!-- SECRET -->",
        "<p hidden>SECRET</p>",
        "<p hidden='until-found'>SECRET</p>",
        "<p aria-hidden=TRUE>SECRET</p>",
        "<dialog>SECRET</dialog>",
        "<textarea>SECRET</textarea>",
        "<select><option>SECRET</select>",
        "<svg><text>SECRET</text></svg>",
        "<p style='display:none'>SECRET</p>",
        "<p style='color:red; DISPLAY : None !important'>SECRET</p>",
        "<p style='display/**/:/**/none'>SECRET</p>",
        "<p style='visibility:hidden'>SECRET</p>",
        "<p style='opacity:0'>SECRET</p>",
        "<p style='opacity:0.0;'>SECRET</p>",
        "<p style='font-size: 0px'>SECRET</p>",
        "<p style='position:absolute;left:-9999px'>SECRET</p>",
        "<p style='text-indent:-1000em'>SECRET</p>",
        "<p style='height:0;overflow:hidden'>SECRET</p>",
        "<p style='clip: rect(0,0,0,0)'>SECRET</p>",
        "<style>.x, #y > p {display:none}</style><p class='a x'>SECRET</p><div id=y><p>SECRET</p></div>",
        "<style>/* .k{ */ p.z { visibility: hidden; color: red }</style><p class=z>SECRET</p>",
        "<style>@import 'a'; .x{opacity:0}</style><p class=x>SECRET</p>",
        "<div hidden><div><p>SECRET</p></div><p>SECRET</p></div>",
        "<input type=hidden value=SECRET><meta content=SECRET>",
        "<a title=SECRET data-x=SECRET href='javascript:SECRET'>link</a>",
    ],
)
def test_hidden_text_is_left_out(load, hidden):
    document = load("a.html", page(f"<p>Before</p>{hidden}<p>After</p>")).document
    assert "SECRET" not in document.text
    assert "Before" in document.text
    assert "After" in document.text


@pytest.mark.parametrize(
    "shown",
    [
        "<p style='opacity:0.5'>SHOWN</p>",
        "<p style='font-size:0.9em'>SHOWN</p>",
        "<p style='display:block'>SHOWN</p>",
        "<p style='left:-5px'>SHOWN</p>",
        "<p aria-hidden=false>SHOWN</p>",
        "<dialog open>SHOWN</dialog>",
        "<details><summary>x</summary>SHOWN</details>",
        "<style>@media print { .x {display:none} } @page{}</style><p class=x>SHOWN</p>",
        "<style>.y:hover:::broken {display:none} .x {color:red}</style><p class=x>SHOWN</p>",
        "<unknown-element>SHOWN</unknown-element>",
        "<header><h1>SHOWN</h1></header>",
        "<p>a</b></i>SHOWN",
    ],
)
def test_shown_text_is_kept(read, shown):
    assert "SHOWN" in read("a.html", page(shown)).text


def test_hidden_elements_are_counted(load):
    loaded = load(
        "a.html", page("<p hidden>x</p><p hidden></p><nav>y</nav>z<script>1</script>", "<title>t</title>")
    )
    assert loaded.notes == ("hidden text left out: 2 elements",)


def test_invisible_characters_of_entities_are_removed(read):
    assert (
        read("a.html", page("<p>pass&#8203;word &#x202E;abc&shy;def&#xE0041;</p>")).text == "password abcdef"
    )


def test_page_without_text_is_told(load):
    assert load("a.html", page("<script>x</script>")).reason == "no text in it"


@pytest.mark.parametrize(
    ("name", "html"),
    [
        ("div", "<div>" * 10_000 + "deep"),
        ("b", "<b>" * 10_000 + "deep"),
        ("table", "<table><tr><td>" * 10_000 + "deep"),
        ("list", "<ul><li>" * 5_000 + "deep"),
        ("hidden div", "<div hidden>" * 10_000 + "</div>" * 10_000 + "deep"),
        ("p in formatting", "<p><b><i><a>" * 3_000 + "deep"),
        ("attributes", "<p " + " ".join(f"a{number}=1" for number in range(5_000)) + ">deep"),
        ("rules", "<style>" + ".a .b p{display:none}" * 5_000 + "</style>" + "<p>deep</p>" * 2_000),
        ("unclosed comment", "<p>deep</p>" + "<!--" * 100_000),
    ],
)
def test_hostile_html_ends_in_time(load, name, html):
    begin = time.monotonic()
    loaded = load("a.html", html)
    assert time.monotonic() - begin < 25, name
    assert loaded.status == "loaded", loaded.reason
    assert "deep" in loaded.document.text
