"""Depth x slice x precision x router in one run, with an encoder that has a router."""

import json
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from bag_of_words import BagOfWordsEncoder, FakeEncoded

from taesr.errors import Error, InvalidArgument, IoError
from taesr.evaluation import RetrievalDataset, RetrievalOptions, evaluate_retrieval, load_beir
from taesr.evaluation.ablation import AblationOptions, run_ablation
from taesr.evaluation.ablation_report import AblationReport
from taesr.evaluation.plots import write_plots
from taesr.evaluation.significance import paired_test


@dataclass
class RoutedEncoder(BagOfWordsEncoder):
    """Reads texts with the word "hard" well at depth 6 only; its router knows which these are, or not."""

    knows: bool = True
    calls: list[tuple[int, str, str | int, int | None, str]] = field(default_factory=list)

    def _depth(self, text: str, depth: str | int) -> int:
        if isinstance(depth, int):
            return depth
        if depth != "auto":
            return int(self.config.recursion_steps[depth])
        hard = "hard" in text.split() if self.knows else zlib.crc32(text.encode()) % 3 == 0
        return 6 if hard else 1

    def encode_detailed(
        self,
        texts: Sequence[str],
        *,
        role: str = "passage",
        depth: str | int = "auto",
        dim: int | None = None,
        on_overflow: str = "chunk",
        max_tokens: int | None = None,
    ) -> FakeEncoded:
        """Blur what the depth is too small for."""
        found = super().encode_detailed(
            texts, role=role, depth=1, dim=None, on_overflow=on_overflow, max_tokens=max_tokens
        )
        self.calls[-1] = (len(texts), role, depth, dim, on_overflow)
        depths = [self._depth(text, depth) for text in texts]
        vectors = found.embeddings
        for row, (text, used) in enumerate(zip(texts, depths, strict=True)):
            if "hard" in text.split() and used < 6:
                vectors[row] = self._vector([f"blurred {text}"])
        vectors = vectors[:, : dim or self.dimension]
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return replace(found, embeddings=vectors.astype(np.float32), depths=depths)


def _dataset(name: str = "synthetic", count: int = 60) -> RetrievalDataset:
    """Each query is its document; every third is hard."""
    texts = [f"word{n} topic{n}" + (" hard" if n % 3 == 0 else "") for n in range(count)]
    return RetrievalDataset(
        name=name,
        document_ids=[f"d{n}" for n in range(count)],
        documents=[text.replace(" hard", "") for text in texts],
        query_ids=[f"q{n}" for n in range(count)],
        queries=texts,
        qrels={f"q{n}": {f"d{n}": 1} for n in range(count)},
        unjudged_queries=0,
        missing_documents=0,
    )


def test_cells_are_what_single_evaluations_give(beir_folder: Path) -> None:
    dataset, encoder = load_beir(beir_folder), BagOfWordsEncoder()
    options = AblationOptions(depths=[1, 3], dims=[16, 64], precisions=["float32", "int8", "binary"])
    ablation = run_ablation([dataset], encoder, options)
    assert len(ablation.cells) == 2 * 2 * 3
    for cell in ablation.cells:
        asked = RetrievalOptions(depth=int(cell.depth), dim=cell.dim, precision=cell.precision)
        single = evaluate_retrieval(dataset, encoder, asked)
        assert cell.per_query == single.per_query
        for name in ("query_flops", "document_flops", "query_depth", "document_depth", "vector_bytes"):
            assert cell.cost[name] == single.cost[name]


def test_texts_are_encoded_once_for_each_depth(beir_folder: Path) -> None:
    encoder = BagOfWordsEncoder()
    run_ablation([load_beir(beir_folder)], encoder, AblationOptions(router=True))
    assert all(dim is None for _, _, _, dim, _ in encoder.calls)
    documents = [depth for _, role, depth, _, _ in encoder.calls if role == "passage"]
    assert documents == [1, 3, 6, "auto"]


def test_passage_depth_may_differ_from_that_of_queries(beir_folder: Path) -> None:
    encoder = BagOfWordsEncoder()
    cells = run_ablation([load_beir(beir_folder)], encoder, AblationOptions(passage_depth=6)).cells
    assert {depth for _, role, depth, _, _ in encoder.calls if role == "passage"} == {6}
    assert {(cell.cost["query_depth"], cell.cost["document_depth"]) for cell in cells} == {
        (1, 6),
        (3, 6),
        (6, 6),
    }


@pytest.mark.parametrize("passage_depth", [None, 6])
def test_router_that_knows_keeps_the_quality_of_the_deepest(passage_depth: int | None) -> None:
    options = AblationOptions(router=True, passage_depth=passage_depth)
    ablation = run_ablation([_dataset()], RoutedEncoder(), options)
    (result,) = ablation.router
    assert result.quality == result.deepest_quality == pytest.approx(1)
    assert result.query_depth == pytest.approx((20 * 6 + 40) / 60)
    assert result.document_depth == (1 if passage_depth is None else 6)
    documents_routed = passage_depth is None
    assert result.mean_depth == pytest.approx((160 + 60) / 120 if documents_routed else result.query_depth)
    # At random a third of the hard queries would be read well: 40 + 20 / 3 of 60, blurred ones near 0.
    assert result.random_quality == pytest.approx(47 / 60, abs=0.05)
    against = result.against_random()
    assert against.difference == pytest.approx(result.quality - result.random_quality)
    assert against.low > 0
    assert against.p_value < 0.001
    assert result.against_deepest().p_value == 1


@pytest.mark.parametrize("passage_depth", [None, 6])
def test_router_that_guesses_is_not_better_than_chance(passage_depth: int | None) -> None:
    options = AblationOptions(router=True, passage_depth=passage_depth)
    (result,) = run_ablation([_dataset()], RoutedEncoder(knows=False), options).router
    assert result.against_random().p_value > 0.05
    assert result.against_deepest().difference < 0


def test_router_with_a_depth_that_is_not_measured_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="the router used depth 6, which is not measured"):
        run_ablation([_dataset()], RoutedEncoder(), AblationOptions(depths=[1, 3], router=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": [7]}, "depth 7 is not one that the model has: 1 to 6"),
        ({"passage_depth": 9}, "depth 9 is not one"),
        ({"dims": [65]}, "dim is 65; allowed: 1 to 64"),
        ({"depths": []}, "depths is \\[\\]"),
        ({"dims": [16, 16]}, "each once"),
        ({"dims": [0]}, "dims holds 0"),
        ({"precisions": ["int4"]}, "precision 'int4'"),
        ({"trials": 0}, "trials is 0"),
    ],
    ids=str,
)
def test_value_out_of_range_is_refused_before_encoding(options: dict[str, object], message: str) -> None:
    encoder = BagOfWordsEncoder()
    with pytest.raises(InvalidArgument, match=message):
        run_ablation([_dataset(count=3)], encoder, AblationOptions(**options))  # type: ignore[arg-type]
    assert encoder.calls == []


@pytest.fixture(scope="module")
def report() -> AblationReport:
    """Return the report of two sets with every axis."""
    options = AblationOptions(precisions=["float32", "int8"], router=True)
    ablation = run_ablation([_dataset("one"), _dataset("two", 30)], RoutedEncoder(), options)
    return AblationReport(ablation, {"fingerprint": "fa4e"})


def test_means_are_over_sets_and_tests_over_their_pooled_queries(report: AblationReport) -> None:
    assert len(report.mean) == 4 * 2 * 2
    for mean in report.mean:
        key = (mean.depth, mean.passage_depth, mean.dim, mean.precision)
        cells = [
            cell
            for cell in report.ablation.cells
            if (cell.depth, cell.passage_depth, cell.dim, cell.precision) == key
        ]
        assert mean.metrics["ndcg@10"] == pytest.approx(np.mean([cell.metrics["ndcg@10"] for cell in cells]))
    one, two, both = report.router
    assert (both.dataset, len(both.per_query)) == ("mean", 90)
    assert both.random_quality == pytest.approx((one.random_quality + two.random_quality) / 2)
    rows = [*one.per_query.values(), *two.per_query.values()]
    assert both.against_random() == paired_test([row[0] for row in rows], [row[1] for row in rows])


def test_written_files_hold_every_figure(report: AblationReport, tmp_path: Path) -> None:
    written = report.write(tmp_path / "new" / "folder")
    assert [path.name for path in written] == [
        "ablation.json",
        "ablation.md",
        "quality_dimensions.png",
        "quality_flops.png",
        "quality_router.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[2:])
    document = json.loads(written[0].read_text(encoding="utf-8"))
    assert len(document["cells"]) == 2 * len(document["mean"])
    assert document["settings"]["fingerprint"] == "fa4e"
    assert document["router"][-1]["against_random"]["p_value"] < 0.001
    markdown = written[1].read_text(encoding="utf-8")
    assert "![quality router](quality_router.png)" in markdown
    grid = markdown.split("## nDCG@10 by depth and dimensions, mean over 2 sets")[1].split("##")[0]
    header, _, *rows = grid.strip().splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["depth", "precision", "16 d", "64 d"]
    found = {
        tuple(cell.strip() for cell in row.strip("|").split("|")[:2]): row.strip("|").split("|")[2:]
        for row in rows
    }
    for mean in report.mean:
        column = [16, 64].index(mean.dim)
        shown = found[str(mean.depth), mean.precision][column]
        assert float(shown) == pytest.approx(100 * mean.metrics["ndcg@10"], abs=0.051)


def test_same_report_gives_the_same_pictures(report: AblationReport, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = ([path.read_bytes() for path in write_plots(report, folder)] for folder in folders)
    assert first == second


def test_without_router_there_is_no_router_table_and_plot(beir_folder: Path, tmp_path: Path) -> None:
    report = AblationReport(run_ablation([load_beir(beir_folder)], BagOfWordsEncoder()))
    assert [path.name for path in report.write(tmp_path)][2:] == [
        "quality_dimensions.png",
        "quality_flops.png",
    ]
    assert "router" not in {table.heading[0] for table in report.tables()}
    assert report.to_dict()["router"] == []
    assert "not read (longer than one pass)" in report.to_markdown()


def test_missing_matplotlib_is_said_and_tables_need_none(
    report: AblationReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(Error, match="pip install matplotlib, or leave them out with --no-plots"):
        report.write(tmp_path)
    assert len(report.write(tmp_path, plots=False)) == 2


def test_folder_that_is_a_file_is_named(report: AblationReport, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(IoError, match="taken"):
        report.write(tmp_path / "taken", plots=False)
