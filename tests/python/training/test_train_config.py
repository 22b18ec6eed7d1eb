"""What the configuration file of a run accepts, and what its errors say."""

import json
from pathlib import Path
from typing import Any

import pytest

from taesr import Error, InvalidArgument
from taesr.training import TrainConfig
from taesr.training.fields import with_value

SMALL: dict[str, Any] = {
    "output": "out",
    "data": {"pools": ["pool.jsonl"], "cache": "cache", "long_texts": {"count": 0}},
    "schedule": {"steps": 100},
}


def with_field(path: str, value: Any) -> dict[str, Any]:
    return with_value(SMALL, path, value)


def test_a_small_file_takes_defaults_for_the_rest() -> None:
    config = TrainConfig.from_dict(SMALL)
    assert config.optimizer.name == "adamw"
    assert config.slice_weights == {64: 0.25, 128: 0.25, 256: 0.25, 384: 0.25}
    assert config.weights_of_depths == {1: 1.0, 3: 1.0, 6: 1.0}


def test_json_and_back_gives_the_same_configuration() -> None:
    document = with_field("depths", [{"depths": [1, 6], "share": 0.4}, {"depths": [3], "share": 0.6}])
    document["matryoshka_weights"] = {"64": 0.3, "384": 0.7}
    document["teachers"] = [{"name": "a", "kind": "cached", "path": "a.npy", "prompts": {"query": "q: "}}]
    document["evaluate"] = {"depth": ["easy", 3]}
    config = TrainConfig.from_dict(document)
    assert config.matryoshka_weights == {64: 0.3, 384: 0.7}
    assert config.depths[0].depths == (1, 6)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("outptu", "x", "unknown field outptu; did you mean output?"),
        ("optimizer.learning", 1, "unknown field optimizer.learning; allowed: "),
        ("optimizer", 3, "optimizer is 3; it must be an object"),
        ("optimizer.lr", "fast", 'optimizer.lr is "fast"; it must be a number'),
        ("optimizer.lr", -1, "optimizer.lr is -1; allowed: 0 to 10"),
        ("optimizer.lr", True, "optimizer.lr is true; it must be a number"),
        ("optimizer.lr", float("nan"), "optimizer.lr is nan; it must be finite"),
        ("optimizer.betas", [0.9], "optimizer.betas has 1 items; it must have 2"),
        ("optimizer.betas", [0.9, "x"], 'optimizer.betas.1 is "x"; it must be a number'),
        ("optimizer.name", "sgd", 'optimizer.name is "sgd"; allowed: "adamw", "muon"'),
        ("schedule.steps", 1.5, "schedule.steps is 1.5; allowed: a whole number, null"),
        ("schedule", {}, "schedule: no limit is set; give at least one of steps, tokens and seconds"),
        ("schedule.seconds", 0, "schedule.seconds is 0; allowed: at least 0.001"),
        ("seed", -1, "seed is -1; allowed: 0 to"),
        ("precision", "fp8", 'precision is "fp8"; allowed: "bf16", "fp16", "fp32"'),
        ("data.batch_tokens", 10, "data.batch_tokens is 10; allowed: at least"),
        ("data.pools", "pool.jsonl", 'data.pools is "pool.jsonl"; it must be a list'),
        ("teachers", [{"name": "a", "kind": "cached"}], "field teachers.0.path is missing"),
        ("depths", [], "depths has no choice with a share above 0"),
        ("depths", [{"depths": [7]}], "depths.0.depths is [7]; the model has 6 recursions"),
        ("depths", [{"depths": [1, 1]}], "depths.0.depths is [1, 1]; allowed: different recursions"),
        ("matryoshka_weights", {"wide": 1}, "matryoshka_weights has the key 'wide'; its keys must be whole"),
        ("matryoshka_weights", {"999": 1}, "slice 999 is longer than the model's embedding, 384"),
        ("model.config", {"hidden_sise": 3}, "model.config: unknown field hidden_sise; allowed: bos_id"),
        ("model.config", {"hidden_size": 7}, "model.config: "),
        ("evaluate.depth", "deepest", "deepest"),
        ("log.jsonl", "../log", "log.jsonl is '../log'; allowed: the name of a file"),
        ("checkpoints.resume", "", "checkpoints.resume is empty"),
    ],
)
def test_an_error_names_the_field_its_value_and_what_is_allowed(path: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        TrainConfig.from_dict(with_field(path, value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_init_folder_is_named() -> None:
    with pytest.raises(Error, match="nowhere"):
        TrainConfig.from_dict(with_field("model.init", "nowhere"))


@pytest.mark.parametrize(("text", "value"), [("3e-4", 3e-4), ("1", 1.0), ("0.5", 0.5)])
def test_override_reads_numbers(text: str, value: float) -> None:
    config = TrainConfig.from_dict(SMALL)
    assert config.override("optimizer.lr", text).optimizer.lr == value
    assert config.optimizer.lr == 6e-4


def test_override_reads_words_lists_and_null() -> None:
    config = TrainConfig.from_dict(with_field("evaluate", {"sets": ["a", "b"]}))
    assert config.override("optimizer.name", "muon").optimizer.name == "muon"
    assert config.override("output", "some/folder").output == "some/folder"
    assert config.override("evaluate.sets.1", "c").evaluate.sets == ["a", "c"]
    assert config.override("depths", '[{"depths": [2]}]').depths[0].depths == (2,)
    assert config.override("model.config.router_size", "16").model.resolved().router_size == 16
    assert config.override("optimizer.clip", "null").optimizer.clip is None


def test_override_of_an_unknown_field_is_refused() -> None:
    config = TrainConfig.from_dict(SMALL)
    with pytest.raises(InvalidArgument, match=r"unknown field optimizer\.lrr; did you mean lr\?"):
        config.override("optimizer.lrr", "1")
    with pytest.raises(InvalidArgument, match=r"seed is 0 and has no field x"):
        config.override("seed.x", "1")
    with pytest.raises(InvalidArgument, match=r"depths\.5 does not exist; depths has 1 items"):
        config.override("depths.5.share", "1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"train\.json:1:2: not valid JSON"),
        (b"[]", r"train\.json: must be one JSON object, got \[\]"),
        (b'{"seed": 1, "seed": 2}', r"field 'seed' appears twice"),
        (b'{"seed": "\xff"}', r"not valid UTF-8 at byte 10"),
        (b"[" * 100_000, r"train\.json"),
        (
            b'{"output": "x", "data": {"pools": ["a"], "cache": "c"}}',
            r"train\.json: field schedule is missing",
        ),
    ],
)
def test_a_bad_file_is_named_with_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(content)
    with pytest.raises(Error, match=message):
        TrainConfig.from_file(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"none\.json: No such file"):
        TrainConfig.from_file(tmp_path / "none.json")


def test_overrides_may_supply_what_the_file_lacks(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps({key: value for key, value in SMALL.items() if key != "schedule"}))
    assert TrainConfig.from_file(path, overrides={"schedule.steps": "7"}).schedule.steps == 7


def test_the_example_configuration_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[3]
    monkeypatch.chdir(root)
    for path in sorted((root / "configs").glob("encoder-*.json")):
        config = TrainConfig.from_file(path)
        assert config.schedule.steps or config.schedule.seconds or config.schedule.tokens
