"""Without the packages, the integrations say what to install, and nothing else of taesr minds."""

import subprocess
import sys

import pytest

_BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
import taesr
import taesr.integrations as integrations
assert integrations.ExternalCollection and integrations.VectorBackend
try:
    {statement}
except taesr.Error as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("extra", "packages", "statement"),
    [
        ("chroma", ["chromadb"], "integrations.ChromaBackend('support', location='x', dimension=4)"),
        ("milvus", ["pymilvus"], "integrations.MilvusBackend('support', location='x.db', dimension=4)"),
        ("qdrant", ["qdrant_client"], "integrations.QdrantBackend('support', location='x', dimension=4)"),
        ("langchain", ["langchain_core"], "import taesr.integrations.langchain"),
        ("ray", ["ray"], "import taesr.integrations.ray"),
    ],
)
def test_a_missing_package_is_one_error_that_names_the_extra(
    extra: str, packages: list[str], statement: str
) -> None:
    code = _BLOCKED.format(packages=set(packages), statement=statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'taesr[{extra}]'" in done.stdout
    assert f"No module named '{packages[0]}'" in done.stdout
    assert done.stdout.count("\n") == 1


def test_importing_the_integrations_imports_none_of_the_packages() -> None:
    code = (
        "import sys, taesr.integrations as i; i.ExternalCollection, i.ChromaBackend, i.MilvusBackend, "
        "i.QdrantBackend; print([n for n in ('chromadb', 'pymilvus', 'qdrant_client', 'langchain_core', "
        "'ray', 'pyarrow', 'httpx') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
