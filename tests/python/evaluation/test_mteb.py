"""The encoder as a model of the mteb package, on tasks that need no network."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taesr import Encoder
from taesr.errors import Error, InvalidArgument
from taesr.evaluation.mteb import MTEBEncoder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return mteb, which is told to keep off the network and to write to a folder of the test."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setitem(os.environ, name, "1")
    for name in ("HF_HOME", "MTEB_CACHE"):
        monkeypatch.setitem(os.environ, name, str(tmp_path))
    return pytest.importorskip("mteb")


@pytest.fixture
def model(offline: Any, encoder: Encoder) -> MTEBEncoder:
    """Return the bundled model at depth 1 with 64 dimensions."""
    return MTEBEncoder(encoder, depth=1, passage_depth=3, dim=64)


def _metadata(name: str, kind: str, score: str) -> Any:
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name=name,
        description="For a test.",
        dataset={"path": "none/none", "revision": "1"},
        type=kind,
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=score,
    )


TITLES = ["Password", "Printer", "Holidays"]
BODIES = [
    "To reset your password, choose forgotten password on the sign-in page.",
    "If nothing is printed, check the paper and the driver of the printer.",
    "Ask your manager for days off two weeks before they begin.",
]
QUERIES = ["I cannot remember my password", "the printer prints nothing", "how do I ask for a day off"]


def _retrieval_task() -> Any:
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    class Helpdesk(AbsTaskRetrieval):
        metadata = _metadata("Helpdesk", "Retrieval", "ndcg_at_10")

        def load_data(self, **_: Any) -> None:
            corpus = [
                {"id": f"d{n}", "title": title, "text": body}
                for n, (title, body) in enumerate(zip(TITLES, BODIES, strict=True))
            ]
            split = {
                "corpus": Dataset.from_list(corpus),
                "queries": Dataset.from_list([{"id": f"q{n}", "text": q} for n, q in enumerate(QUERIES)]),
                "relevant_docs": {f"q{n}": {f"d{n}": 1} for n in range(3)},
                "top_ranked": None,
            }
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return Helpdesk()


def _similarity_task() -> Any:
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.sts import AbsTaskSTS

    class Pairs(AbsTaskSTS):
        metadata = _metadata("Pairs", "STS", "cosine_spearman")
        min_score, max_score = 0, 5

        def load_data(self, **_: Any) -> None:
            rows = {
                "sentence1": ["A man plays a guitar.", "A man plays a guitar.", "A man plays a guitar."],
                "sentence2": [
                    "A man is playing a guitar.",
                    "A woman plays a flute.",
                    "Shares fell on Friday.",
                ],
                "score": [5.0, 2.0, 0.0],
            }
            self.dataset = DatasetDict({"test": Dataset.from_dict(rows)})
            self.data_loaded = True

    return Pairs()


def test_retrieval_task_is_run_with_both_roles_and_depths(
    offline: Any, model: MTEBEncoder, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[str], dict[str, Any]]] = []
    original = encoder.encode

    def remember(texts: list[str], **options: Any) -> Any:
        calls.append((list(texts), options))
        return original(texts, **options)

    monkeypatch.setattr(encoder, "encode", remember)
    result = offline.evaluate(model, _retrieval_task(), cache=None, show_progress_bar=False)
    assert result.task_results[0].get_score() == pytest.approx(1)
    used = {options["role"]: (texts, options["depth"]) for texts, options in calls}
    assert used["query"] == (QUERIES, 1)
    assert sorted(used["passage"][0]) == sorted(
        f"{title} {body}" for title, body in zip(TITLES, BODIES, strict=True)
    )
    assert used["passage"][1] == 3
    assert {options["dim"] for _, options in calls} == {64}


def test_similarity_task_is_run_with_one_role(offline: Any, model: MTEBEncoder) -> None:
    result = offline.evaluate(model, _similarity_task(), cache=None, show_progress_bar=False)
    assert result.task_results[0].get_score() == pytest.approx(1)
    assert (result.model_name, result.model_revision) == (
        model.mteb_model_meta.name,
        model.mteb_model_meta.revision,
    )


def test_model_follows_the_protocol(model: MTEBEncoder) -> None:
    from mteb.models import EncoderProtocol

    assert isinstance(model, EncoderProtocol)


def test_meta_describes_the_model(model: MTEBEncoder, encoder: Encoder) -> None:
    from taesr import TAESRModel

    meta, module = model.mteb_model_meta, TAESRModel.from_pretrained()
    sizes = {name: weight.numel() for name, weight in module.named_parameters()}
    assert meta.n_parameters == sum(sizes.values())
    assert meta.n_embedding_parameters == sum(
        size for name, size in sizes.items() if name.startswith("embeddings.") and ".norm." not in name
    )
    assert (meta.revision, meta.max_tokens, meta.embed_dim) == (encoder.fingerprint, 256, 64)
    assert (meta.license, meta.similarity_fn_name.value) == ("apache-2.0", "cosine")
    assert "/" in meta.name


def test_results_of_other_depths_and_slices_are_kept_apart(offline: Any, encoder: Encoder) -> None:
    metas = [
        MTEBEncoder(encoder, **options).mteb_model_meta  # type: ignore[arg-type]
        for options in ({}, {"depth": 1}, {"dim": 64}, {"passage_depth": 1}, {"on_overflow": "chunk"})
    ]
    assert len(set(metas)) == len(metas)
    assert len({meta.experiment_name for meta in metas}) == len(metas)


def test_similarities_are_cosines_of_arrays_and_tensors(model: MTEBEncoder) -> None:
    first, second = np.array([[3.0, 4], [1, 0]]), torch.tensor([[4.0, 3], [0, 2]])
    torch.testing.assert_close(model.similarity(first, second), torch.tensor([[0.96, 0.8], [0.8, 0.0]]))
    torch.testing.assert_close(model.similarity_pairwise(first, second), torch.tensor([0.96, 0.0]))


def test_input_without_text_is_refused(model: MTEBEncoder) -> None:
    with pytest.raises(InvalidArgument, match="a batch has image and no 'text'"):
        model.encode([{"image": [1]}])


def test_missing_package_is_said(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("mteb", "mteb.models"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Error, match=r"pip install 'taesr\[mteb\]'"):
        MTEBEncoder(encoder)
