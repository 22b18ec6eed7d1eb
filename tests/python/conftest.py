import pytest

from taesr import Encoder


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The bundled model in float32."""
    return Encoder.load(precision="float32")
