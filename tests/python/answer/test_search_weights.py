"""Which weights the bot's hybrid search has: given ones, the model's, or none."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from tests.python.small_models import save, small_config

import taesr
from taesr.answer import AnswerOptions, SupportBot
from taesr.errors import FormatError
from taesr.retrieval import weights_of_model

QUESTION = "How do I restart the printer?"
TEXTS = [
    "The printer is offline. Restart it.",
    "Reset the password.",
    "Restart the router, then the printer.",
]
ALL = ("sparse", "late")
OF_MODEL = {"dense": 0.2, "keyword": 0.1, "late": 0.4, "sparse": 0.3}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = small_config(sparse_head=True, late_size=8)
    return save(taesr.TAESRModel(config), tmp_path_factory.mktemp("plain"))


@pytest.fixture
def model(plain: Path, tmp_path: Path) -> Path:
    """A model folder with weights of all heads beside the model."""
    folder = Path(shutil.copytree(plain, tmp_path / "model"))
    stored = {"format": "taesr-fusion", "weights": OF_MODEL, "command": "how they were fitted"}
    (folder / "fusion.json").write_text(json.dumps(stored))
    return folder


def collection(folder: Path, model: Path, heads: Sequence[str] = ALL) -> taesr.Collection:
    kb = taesr.Collection.open(folder, encoder=taesr.Encoder.load(model), heads=heads)
    kb.add(taesr.Document(str(n), text) for n, text in enumerate(TEXTS))
    return kb


def fusion_of(kb: taesr.Collection, options: AnswerOptions | None = None) -> Mapping[str, object]:
    return SupportBot(kb, options=options).search(QUESTION, 3).fusion


def test_a_collection_with_the_heads_of_the_models_weights_is_searched_with_them(
    tmp_path: Path, model: Path
) -> None:
    with collection(tmp_path / "kb", model) as kb:
        assert fusion_of(kb) == {"method": "weighted", "weights": OF_MODEL}
        assert SupportBot(kb).ask(QUESTION).citations


def test_a_collection_with_other_heads_or_a_model_without_weights_goes_by_reciprocal_ranks(
    tmp_path: Path, plain: Path, model: Path
) -> None:
    ranks = {"method": "rrf", "k": 60.0}
    with collection(tmp_path / "two", model, heads=()) as kb:
        assert fusion_of(kb) == ranks
    with collection(tmp_path / "three", model, heads=("late",)) as kb:
        assert fusion_of(kb) == ranks
    with collection(tmp_path / "unweighted", plain) as kb:
        assert fusion_of(kb) == ranks


def test_heads_that_are_added_later_are_weighted_by_the_same_bot(tmp_path: Path, model: Path) -> None:
    with collection(tmp_path / "kb", model, heads=()) as kb:
        bot = SupportBot(kb)
        assert bot.search(QUESTION, 3).fusion["method"] == "rrf"
        kb.add_heads(ALL)
        assert bot.search(QUESTION, 3).fusion["weights"] == OF_MODEL


def test_given_weights_win_and_a_single_head_needs_none(tmp_path: Path, model: Path) -> None:
    with collection(tmp_path / "kb", model) as kb:
        given = dict.fromkeys(kb.heads, 1.0)
        assert fusion_of(kb, AnswerOptions(weights=given))["weights"] == given
        assert fusion_of(kb, AnswerOptions(mode="dense")) == {}


def test_a_damaged_file_of_weights_is_an_error_that_names_it(tmp_path: Path, model: Path) -> None:
    (model / "fusion.json").write_text('{"weights": {"dense": -1}}')
    with collection(tmp_path / "kb", model) as kb, pytest.raises(FormatError, match=r"fusion\.json"):
        SupportBot(kb)


def test_the_bundled_model_has_weights_of_all_heads_and_says_where_from(encoder: taesr.Encoder) -> None:
    stored = json.loads((encoder.source / "fusion.json").read_text())
    assert "hybrid_search.py" in stored["command"]
    assert stored["encoder"] == encoder.fingerprint
    weights = weights_of_model(encoder)
    assert weights is not None
    assert sorted(weights.weights) == ["dense", "keyword", "late", "sparse"]
