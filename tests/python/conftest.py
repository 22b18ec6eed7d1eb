import signal
import sys

import pytest

from taesr import Encoder

# A shell starts background jobs with SIGINT ignored, and children inherit that: tests of Ctrl-C would wait
# for ever. A handler of Python's own is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The bundled model in float32."""
    return Encoder.load(precision="float32")


_MAIN = sys.modules["__main__"]


@pytest.fixture(autouse=True)
def _same_main_module() -> None:
    """Streamlit puts its script in place of `__main__`, which spawned processes would then run."""
    sys.modules["__main__"] = _MAIN
