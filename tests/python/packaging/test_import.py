"""What importing costs and survives; each case in a fresh interpreter."""

import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "first",
    [
        "",
        "torch",
        "numpy",
        "sentencepiece",
        "sqlite3",
        "scipy",
        "taesr.ingest",
        "pypdf",
        "sklearn.linear_model",
    ],
)
def test_encoder_works_whatever_was_imported_before(first: str) -> None:
    done = run(
        f"{f'import {first}' if first else ''}\nimport taesr\nprint(taesr.Encoder.load().encode('a').shape)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(1, 384)\n"


def test_sentencepiece_works_after_the_encoder() -> None:
    code = (
        "import taesr; e = taesr.Encoder.load(); import sentencepiece\n"
        "s = sentencepiece.SentencePieceProcessor(model_file=str(e.source / 'tokenizer.model'))\n"
        "print(len(s.encode('reset my password')) == e.count_tokens('reset my password'))"
    )
    assert run(code).stdout == "True\n"


def test_importing_the_package_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, taesr, taesr.ingest, taesr.cli; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    assert run(code).stdout == "[]\n"


def test_importing_everything_costs_at_most_0_3_s_above_torch() -> None:
    code = (
        "import time, torch\n"
        "start = time.process_time()\n"
        "from taesr import Collection, Encoder, TAESRConfig, TAESRModel\n"
        "print(time.process_time() - start)"
    )
    assert min(float(run(code).stdout) for _ in range(3)) <= 0.3


def test_unknown_names_are_attribute_errors() -> None:
    done = run("import taesr; taesr.Nothing")
    assert "AttributeError: module 'taesr' has no attribute 'Nothing'" in done.stderr


def test_an_extension_that_does_not_load_is_explained() -> None:
    code = "import sys; sys.modules['taesr._core'] = None; import taesr; taesr.Encoder"
    message = run(code).stderr
    assert "compiled extension does not load" in message
    assert "pip install 'torch==" in message
