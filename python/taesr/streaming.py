"""Embedding of any number of texts in bounded memory, in this process or in several."""

import contextlib
import itertools
import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from taesr.errors import Error, InvalidArgument, ModelMismatch

if TYPE_CHECKING:
    from taesr.encoded import Encoded, EncodeOptions
    from taesr.encoder import Encoder

# A window is one call into the library: small enough that Ctrl-C is heard soon.
_WINDOW_CHARACTERS = 256 << 10
_END_SECONDS = 5.0


class Window(NamedTuple):
    """Neighbouring texts; `first` is the number of the first one."""

    first: int
    texts: list[str]


def encode_iter(
    encoder: "Encoder", texts: Iterable[str], options: "EncodeOptions", *, window: int, processes: int
) -> Iterator["Encoded"]:
    """See `taesr.Encoder.encode_iter`."""
    for name, value in (("window", window), ("processes", processes)):
        if not isinstance(value, int) or value < 1:
            raise InvalidArgument(f"{name} is {value!r}; it must be a whole number from 1 on")
    pieces = windows(texts, window)
    if processes == 1:
        return (encoder.encode_with(piece.texts, options, first_text=piece.first) for piece in pieces)
    return _in_processes(encoder, pieces, options, processes)


def windows(texts: Iterable[str], most: int, characters: int = _WINDOW_CHARACTERS) -> Iterator[Window]:
    """Cut texts into windows of at most `most`; one ends, too, once it holds `characters` of them."""
    first = 0
    piece: list[str] = []
    size = 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if len(piece) == most or size >= characters:
            yield Window(first, piece)
            first, piece, size = first + len(piece), [], 0
    if piece:
        yield Window(first, piece)


def _in_processes(
    encoder: "Encoder", pieces: Iterator[Window], options: "EncodeOptions", processes: int
) -> Iterator["Encoded"]:
    """Give each process every `processes`-th window, so that results come in order of themselves."""
    failure: Exception | None = None
    with _Workers(encoder, options) as workers:
        begin: list[Window] = []
        try:
            begin.extend(itertools.islice(pieces, processes))
        except Exception as error:
            failure = error
        busy = deque(workers.start(len(begin), processes))
        for worker, piece in zip(busy, begin, strict=True):
            worker.send(piece)
        while busy:
            worker = busy.popleft()
            result = worker.receive()
            piece_or_end = None
            if failure is None:
                try:
                    piece_or_end = next(pieces, None)
                except Exception as error:
                    failure = error
            if piece_or_end is not None:
                worker.send(piece_or_end)
                busy.append(worker)
            yield result
    if failure is not None:
        raise failure


class _Worker:
    """A process with a model of its own."""

    def __init__(self, process: BaseProcess, connection: Connection, name: str) -> None:
        self.process = process
        self.connection = connection
        self._name = name
        self._ready = False
        self._work = ""

    def send(self, piece: Window) -> None:
        """Give it a window; it must have none."""
        self._work = f"texts {piece.first} to {piece.first + len(piece.texts) - 1}"
        try:
            self.connection.send(piece)
        except OSError:
            raise self._death() from None

    def receive(self) -> "Encoded":
        """Return what it made of the window."""
        if not self._ready:
            self._receive()
            self._ready = True
        result: Encoded = self._receive()
        return result

    def _receive(self) -> Any:
        try:
            failed, value = self.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            raise self._death() from None
        if failed:
            raise value
        return value

    def _death(self) -> Error:
        # It may have said why before it went.
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            while self.connection.poll():
                failed, value = self.connection.recv()
                if failed and isinstance(value, Error):
                    return value
                self._ready = True
        self.process.join(_END_SECONDS)
        code = self.process.exitcode
        how = (
            f"was ended by signal {-code}"
            if code is not None and code < 0
            else f"ended with exit code {code}"
        )
        if self._ready:
            return Error(f"{self._name} {how} while it embedded {self._work}; is there enough memory?")
        if code is not None and code < 0:
            return Error(f"{self._name} {how} while it loaded the model; is there enough memory?")
        return Error(
            f"{self._name} {how} before it had loaded the model; a script that uses processes needs its own"
            ' work guarded with: if __name__ == "__main__":'
        )


class _Workers:
    """Processes that end with the block, however it is left, or with this process."""

    def __init__(self, encoder: "Encoder", options: "EncodeOptions") -> None:
        self._encoder = encoder
        self._options = options
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def start(self, count: int, processes: int) -> list[_Worker]:
        """Start `count` of `processes`; they load their models at the same time."""
        import torch

        context = multiprocessing.get_context("spawn")
        threads = max(1, torch.get_num_threads() // processes)
        # The first process would start it, and that unblocks Ctrl-C.
        resource_tracker.ensure_running()
        encoder = self._encoder
        model = _Model(encoder.source, encoder.precision, encoder.device, encoder.fingerprint)
        for number in range(1, count + 1):
            ours, theirs = context.Pipe()
            name = f"encoding process {number} of {processes}"
            process = context.Process(
                target=_serve, args=(theirs, model, self._options, threads), name=name, daemon=True
            )
            # Ctrl-C is this process's to handle: the others inherit that they don't hear it.
            with _interrupts_held():
                process.start()
                self._workers.append(_Worker(process, ours, name))
            theirs.close()  # so that its death is the end of the connection
        return self._workers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _interrupts_held():
            for worker in self._workers:
                worker.connection.close()
                worker.process.terminate()
            for worker in self._workers:
                worker.process.join(_END_SECONDS)
                if worker.process.is_alive():
                    worker.process.kill()
                    worker.process.join()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Put Ctrl-C off."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Model(NamedTuple):
    """What a process loads, and how it knows that it is the same."""

    source: Path
    precision: Any
    device: str
    fingerprint: str


def _serve(connection: Connection, model: _Model, options: Any, threads: int) -> None:
    """Work of a process: windows in, (failed, result or error) out, until the other end is gone."""
    import torch

    from taesr.encoder import Encoder

    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):
        try:
            encoder = Encoder.load(model.source, precision=model.precision, device=model.device)
            if encoder.fingerprint != model.fingerprint:
                raise ModelMismatch(f"{model.source} has changed since it was loaded; load it again")
            connection.send((False, None))
        except Exception as error:
            connection.send((True, _portable(error)))
            return
        while True:
            piece: Window = connection.recv()
            try:
                answer = (False, encoder.encode_with(piece.texts, options, first_text=piece.first))
            except Exception as error:
                connection.send((True, _portable(error)))
            else:
                connection.send(answer)


def _portable(error: Exception) -> Exception:
    """Return what survives the way to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return Error(f"{type(error).__name__}: {error}")
    return error
