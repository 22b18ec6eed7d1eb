from pathlib import Path

import pytest
import torch
from tests.python.training.teachers import HEADS, HIDDEN, LAYERS, write_bert
from torch.nn import functional

from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.nn import TAESRModel
from taesr.training.import_bert import LayerPlan, bert_weights, extend_positions, import_bert
from taesr.training.vocabulary import PruneOptions, prune_vocabulary

IN_ORDER = LayerPlan(entry=(0,), shared=(1, 2), exit=(3,), recursions=2, positions=16)


def bert_states(weights: dict[str, torch.Tensor], ids: torch.Tensor, layers: tuple[int, ...]) -> torch.Tensor:
    """BERT's own forward pass (Devlin et al. 2019) over one text, written without taesr: [T] -> [T, H]."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, (HIDDEN,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in layers:
        p = f"encoder.layer.{layer}."
        q, k, v = (
            linear(x, f"{p}attention.self.{n}").view(len(ids), HEADS, -1).transpose(0, 1)
            for n in ("query", "key", "value")
        )
        shares = torch.softmax(q @ k.transpose(1, 2) / (HIDDEN // HEADS) ** 0.5, -1)
        attended = (shares @ v).transpose(0, 1).reshape(len(ids), HIDDEN)
        x = norm(x + linear(attended, f"{p}attention.output.dense"), f"{p}attention.output.LayerNorm")
        inner = functional.gelu(linear(x, f"{p}intermediate.dense"))
        x = norm(x + linear(inner, f"{p}output.dense"), f"{p}output.LayerNorm")
    return x


@pytest.mark.parametrize("prefix", ["", "bert.", "0.auto_model."])
def test_the_imported_model_computes_what_bert_computes(tmp_path: Path, prefix: str) -> None:
    weights = write_bert(tmp_path / "bert", prefix)
    (tmp_path / "corpus.txt").write_text("the unable student resets a password, twice")
    vocabulary = prune_vocabulary(
        tmp_path / "bert", [tmp_path / "corpus.txt"], PruneOptions(size=60, character_coverage=0.5)
    )
    config = import_bert(tmp_path / "bert", tmp_path / "out", IN_ORDER, vocabulary=vocabulary)
    assert (config.vocab_size, config.max_position_embeddings) == (60, 16)
    model = TAESRModel.from_pretrained(tmp_path / "out")
    ids = torch.tensor([0, 17, 4, 59, 33, 17, 2])
    for role in ("query", "passage"):
        out = model(ids[None], role=role, depth=1)
        wanted = bert_states(weights, vocabulary.rows[ids], (0, 1, 2, 3))
        torch.testing.assert_close(out.last_hidden_state[0], wanted, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(
            out.pooler_output[0], functional.normalize(wanted.mean(0), dim=0), atol=2e-5, rtol=1e-4
        )
    deeper = model(ids[None], depth=2).last_hidden_state[0]
    wanted = bert_states(weights, vocabulary.rows[ids], (0, 1, 2, 1, 2, 3))
    torch.testing.assert_close(deeper, wanted, atol=2e-5, rtol=1e-4)


def test_refinement_layers_are_placed_and_a_layer_may_be_used_twice(tmp_path: Path) -> None:
    source = write_bert(tmp_path / "bert")
    plan = LayerPlan(entry=(0, 0), shared=(1,), refinement=(2,), exit=(3,), recursions=3)
    weights = bert_weights(tmp_path / "bert", plan)
    assert torch.equal(weights["entry.0.mlp.up.weight"], weights["entry.1.mlp.up.weight"])
    assert torch.equal(weights["refinement.0.mlp.down.bias"], source["encoder.layer.2.output.dense.bias"])
    for r in range(3):
        assert torch.equal(
            weights[f"shared.0.recursion.{r}.mlp_norm.weight"],
            source["encoder.layer.1.output.LayerNorm.weight"],
        )
    assert "shared.0.recursion.3.mlp_norm.weight" not in weights


def test_longer_positions_keep_the_checkpoints_and_repeat_its_last() -> None:
    table = torch.arange(10.0)[:, None]
    assert extend_positions(table, 4).flatten().tolist() == [0, 1, 2, 3]
    assert extend_positions(table, 13).flatten().tolist() == [*range(10), 7, 8, 9]
    long = extend_positions(table, 25).flatten().tolist()
    assert long[:10] == list(range(10))
    assert long[10:19] == list(range(1, 10))  # never the first row, which is [CLS]'s
    assert len(long) == 25


def test_what_cannot_be_imported_is_said(tmp_path: Path) -> None:
    write_bert(tmp_path / "bert")
    with pytest.raises(InvalidArgument, match=f"exit names layer 9; allowed: 0 to {LAYERS - 1}"):
        bert_weights(tmp_path / "bert", LayerPlan(exit=(9,)))
    with pytest.raises(InvalidArgument, match="positions is 0"):
        LayerPlan(positions=0)
    with pytest.raises(InvalidArgument, match="no shared layer"):
        LayerPlan(shared=())
    config = tmp_path / "bert/config.json"
    config.write_text(config.read_text().replace('"gelu"', '"relu"'))
    with pytest.raises(FormatError, match="hidden_act is 'relu'; only 'gelu' can be imported"):
        bert_weights(tmp_path / "bert", IN_ORDER)
    config.unlink()
    with pytest.raises(IoError, match=r"config\.json"):
        bert_weights(tmp_path / "bert", IN_ORDER)
