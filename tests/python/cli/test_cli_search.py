"""taesr search, ask and chat."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_library import FakeCollection, FakeEncoder, Run, hit

from taesr.answer import Answer, AnswerStream, Citation
from taesr.hits import Explanation

pytestmark = pytest.mark.usefixtures("fake_library")

TIMINGS = {"encode": 1.0, "retrieve": 1.0, "read": 1.0, "generate": 0.1, "total": 3.1}


def test_json_is_the_documented_document_and_nothing_else(run: Run, tmp_path: Path) -> None:
    outcome = run("search", "reset", "--collection", tmp_path, "--json")
    document = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (0, "")
    assert set(document) == {"hits", "depth", "timings", "fusion"}
    assert document["fusion"] == {"method": "rrf", "k": 60.0}
    assert document["hits"][0] == {
        "document": "a.md",
        "section": "Account > Security",
        "text": "Choose  forgotten\npassword.",
        "score": 0.5,
        "ranks": {"dense": 1, "keyword": 2},
        "scores": {"dense": 0.75, "keyword": 4.5},
        "title": "A title",
        "source": "/docs/a.md",
        "metadata": {"format": "markdown"},
        "begin": 10,
        "end": 37,
    }
    assert document["timings"]["total"] == 1.5


def test_options_reach_the_collection(run: Run, tmp_path: Path) -> None:
    run(
        *("search", "reset", "--collection", tmp_path, "-k", "3", "--mode", "dense", "--depth", "6"),
        *("--dim", "64", "--filter", "product=word", "--filter", "note=a=b"),
        *("--fusion", "weighted", "--weights", "dense=0.6,keyword=0.4", "--mmr", "0.5", "--expand", "2"),
        *("--effort", "0.25", "--explain"),
    )
    assert FakeCollection.opened == [(tmp_path, {"encoder": None, "create": False, "read_only": True})]
    assert FakeCollection.calls == [
        (
            "search",
            "reset",
            {
                **{"k": 3, "mode": "dense", "depth": 6, "dim": 64},
                **{"filter": {"product": "word", "note": "a=b"}, "fusion": "weighted"},
                **{"weights": {"dense": 0.6, "keyword": 0.4}, "mmr": 0.5, "expand": 2},
                **{"effort": 0.25, "explain": True},
            },
        )
    ]


def test_defaults_are_ten_hybrid_hits_at_automatic_depth(run: Run, tmp_path: Path) -> None:
    run("search", "reset", "--collection", tmp_path)
    expected = {"k": 10, "mode": "hybrid", "depth": "auto", "dim": None, "filter": None}
    ranking = {"fusion": None, "weights": None, "mmr": None, "expand": 0, "effort": None, "explain": False}
    assert FakeCollection.calls[0][2] == {**expected, **ranking}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--mmr", "1.5"),
        ("--effort", "nan"),
        ("--effort", "much"),
        ("--expand", "-1"),
        ("--weights", "dense=-1"),
        ("--weights", "dense=1,dense=2"),
        ("--weights", "dense=x"),
    ],
)
def test_values_out_of_range_are_wrong_usage(run: Run, tmp_path: Path, option: str, value: str) -> None:
    outcome = run("search", "x", "--collection", tmp_path, f"{option}={value}")
    assert outcome.code == 2
    assert option in outcome.err


def test_weights_may_be_a_file(run: Run, tmp_path: Path) -> None:
    run("search", "x", "--collection", tmp_path, "--weights", "fitted.json")
    assert FakeCollection.calls[0][2]["weights"] == Path("fitted.json")


def test_explanations_are_told_to_people_and_programs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = hit("a.md", "Text.", 0.03)
    found.explanation = Explanation(
        {"dense": 0.0125, "keyword": 0.0175},
        [("reset", 4.5)],
        3,
        0.5,
        [("▁reset", 1.25)],
        [("▁reset", "▁set", 0.75)],
    )
    found.joined = (1, 2)
    monkeypatch.setattr(FakeCollection, "hits", [found])
    lines = run("search", "reset", "--collection", tmp_path, "--explain").out.splitlines()
    assert lines[2:7] == [
        "   heads: dense +0.0125 (score 0.7500), keyword +0.0175 (score 4.5000)",
        "   terms: reset 4.50",
        "   sparse: ▁reset 1.25",
        "   tokens: ▁reset ~ ▁set 0.75",
        "   passage depth 3, nearest earlier hit 0.50",
    ]
    document = json.loads(run("search", "reset", "--collection", tmp_path, "--explain", "--json").out)
    assert document["hits"][0]["joined"] == [1, 2]
    assert document["hits"][0]["explanation"]["contributions"] == {"dense": 0.0125, "keyword": 0.0175}
    assert document["hits"][0]["explanation"]["token_pairs"] == [["▁reset", "▁set", 0.75]]


def test_named_model_is_loaded(run: Run, tmp_path: Path) -> None:
    run("search", "reset", "--collection", tmp_path, "--model", tmp_path / "mine")
    assert FakeEncoder.loaded == [tmp_path / "mine"]
    assert isinstance(FakeCollection.opened[0][1]["encoder"], FakeEncoder)


def test_text_output_has_place_score_and_passage(run: Run, tmp_path: Path) -> None:
    lines = run("search", "reset", "--collection", tmp_path).out.splitlines()
    assert lines[0] == "1. a.md > Account > Security   0.5000 (dense 1, keyword 2)"
    assert lines[1] == "   Choose forgotten password."
    assert lines[-1] == "1 hits in 1.5 ms, depth 3, fused by rrf (k = 60)"


def test_long_passage_is_cut_for_people_and_whole_for_programs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "word " * 5000
    monkeypatch.setattr(FakeCollection, "hits", [hit("a.md", text, 1.0)])
    assert len(run("search", "x", "--collection", tmp_path).out) < 1000
    assert json.loads(run("search", "x", "--collection", tmp_path, "--json").out)["hits"][0]["text"] == text


@pytest.mark.parametrize("mode", ["hybrid", "dense", "keyword", "sparse", "late"])
def test_every_mode_reaches_the_collection(run: Run, tmp_path: Path, mode: str) -> None:
    assert run("search", "x", "--collection", tmp_path, "--mode", mode).code == 0
    assert FakeCollection.calls[0][2]["mode"] == mode


def test_repairs_of_the_collection_are_told_on_stderr(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeCollection, "notes", ["dense.idx was damaged and has been built again"])
    outcome = run("search", "x", "--collection", tmp_path, "--json")
    assert outcome.err == "taesr: dense.idx was damaged and has been built again\n"
    assert json.loads(outcome.out)["depth"] == 3


def _answer(*, confident: bool) -> Answer:
    text = "Choose forgotten password. [1]" if confident else "I'm not sure."
    citation = Citation(
        number=1,
        document="a.md",
        section="Account",
        text="Intro. Choose forgotten password.",
        score=0.8,
        source="/docs/a.md",
        title="A",
        highlights=((7, 33),) if confident else (),
    )
    return Answer(text, confident, (citation,), TIMINGS, depth=3, confidence=0.9)


@pytest.fixture
def bot(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Put a bot in place that is sure of everything but the weather."""
    state = SimpleNamespace(asked=[])

    def stream(question: str) -> AnswerStream:
        state.asked.append(question)
        return AnswerStream(_written(_answer(confident="weather" not in question)))

    monkeypatch.setattr(
        "taesr.answer.SupportBot", lambda collection, generator: SimpleNamespace(stream=stream)
    )
    return state


def _written(answer: Answer) -> Iterator[str]:
    yield "Choose "
    yield "forgotten"
    return answer


def test_ask_prints_the_answer_and_its_sources(run: Run, tmp_path: Path, bot: SimpleNamespace) -> None:
    outcome = run("ask", "How do I reset it?", "--collection", tmp_path)
    assert outcome.code == 0
    assert outcome.out.split("\n\n") == [
        "Choose forgotten password. [1]",
        "Sources",
        "[1] a.md > Account\n    Choose forgotten password.\n    /docs/a.md\n",
    ]


def test_ask_that_is_not_sure_is_no_failure(run: Run, tmp_path: Path, bot: SimpleNamespace) -> None:
    outcome = run("ask", "What is the weather?", "--collection", tmp_path)
    assert outcome.code == 0
    assert outcome.out.startswith("I'm not sure.\n\nClosest sources\n\n[1] a.md > Account")


def test_ask_json_is_the_answer_document(run: Run, tmp_path: Path, bot: SimpleNamespace) -> None:
    outcome = run("ask", "How?", "--collection", tmp_path, "--json")
    document = json.loads(outcome.out)
    assert {"answer", "confident", "citations", "timings"} <= set(document)
    assert {"number", "document", "section", "text", "score"} <= set(document["citations"][0])
    assert outcome.err == ""


def test_chat_answers_every_line_of_its_input(run: Run, tmp_path: Path, bot: SimpleNamespace) -> None:
    outcome = run("chat", "--collection", tmp_path, stdin=b"first?\n\n  second, the weather?  \n")
    assert outcome.code == 0
    assert bot.asked == ["first?", "second, the weather?"]
    assert outcome.out.count("Sources") == 1
    assert outcome.out.count("Closest sources") == 1
