import signal

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
