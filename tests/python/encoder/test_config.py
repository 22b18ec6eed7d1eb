import json
import math

import pytest

from taesr import InvalidArgument, TAESRConfig
from taesr._native import core


def test_python_and_cpp_agree_on_the_defaults() -> None:
    assert TAESRConfig().to_dict() == TAESRConfig.from_native(core.TAESRConfig.from_json("{}")).to_dict()


def test_json_round_trip_keeps_every_field() -> None:
    config = TAESRConfig(
        hidden_size=96,
        recursion_steps={"easy": 1, "medium": 2, "hard": 4},
        matryoshka_dimensions=[8, 384],
        sharing="cycle",
        entry_layers=0,
        exit_layers=0,
        shared_layers=3,
        sparse_head=True,
        late_size=96,
        router_size=16,
        subspaces={"temporal": 32, "semantic": 64},
        token_routing="expert_choice",
        token_capacity=[1.0, 0.25],
    )
    assert TAESRConfig.from_json(config.to_json()) == config
    assert TAESRConfig.from_json(config.native.to_json()) == config


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_config_with_nan_names_the_field(value: float) -> None:
    with pytest.raises(InvalidArgument, match="layer_norm_eps"):
        TAESRConfig(layer_norm_eps=value)
    with pytest.raises(InvalidArgument, match="layer_norm_eps"):
        TAESRConfig.from_json(json.dumps({"layer_norm_eps": value}))
    with pytest.raises(InvalidArgument, match="token_capacity"):
        TAESRConfig(token_routing="expert_choice", token_capacity=[value])


def test_wrong_values_are_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="'hidden_size' is 7"):
        TAESRConfig(hidden_size=7)
    with pytest.raises(InvalidArgument, match="'hidden_size' must be an integer"):
        TAESRConfig(hidden_size="384")
    with pytest.raises(TypeError, match="hiden_size"):
        TAESRConfig(hiden_size=384)


def test_files_are_named_in_messages(tmp_path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"hiden_size": 1}')
    with pytest.raises(InvalidArgument, match=r"config.json: unknown field 'hiden_size'"):
        TAESRConfig.from_file(path)
