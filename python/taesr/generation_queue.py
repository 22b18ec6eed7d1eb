"""Many texts at once from one language model."""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, Unpack

from taesr._native import core
from taesr.decoder import Decoder, GenerateOptions, Generation, Prompt, to_generation, to_native_options
from taesr.errors import InvalidArgument

WAIT_SECONDS = 0.1  # for a piece, before Ctrl-C gets its chance


@dataclass(frozen=True, kw_only=True)
class GenerationQueueStatus:
    """What a queue is doing.

    `waiting` and `active` count requests, `kv_bytes` is the memory of the active ones' keys and values.
    `steps` counts passes of the shared layers since the beginning and `rows` the tokens in them, so that
    `rows / steps` is the mean batch.
    """

    waiting: int
    active: int
    kv_bytes: int
    steps: int
    rows: int


class QueuedText:
    """The pieces of a submitted request's text, as they come; one thread reads them.

    A request that nobody holds any more is cancelled.
    """

    def __init__(self, native: core.QueuedText, queue: "GenerationQueue") -> None:
        self.native = native
        self._queue = queue  # which would close when nobody holds it

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while (piece := self.native.next(WAIT_SECONDS)) is not None:
            if piece:
                return piece
        raise StopIteration

    def wait(self) -> Generation:
        """Read the text to its end; costs less than to read its pieces."""
        while not self.native.wait_for_end(WAIT_SECONDS):
            pass
        for _ in self:
            pass
        return self.result

    def cancel(self) -> None:
        """End the generation; what there is of the text remains."""
        self.native.cancel()

    @property
    def result(self) -> Generation:
        """What there is so far.

        `finish` is "cancelled" until the text is complete. Seconds are those from the request's turn to its
        first token, and from there on, with the work on other requests between them.
        """
        return to_generation(self.native.result())


class GenerationQueue:
    """Generates many texts together (continuous batching), each as `Decoder.generate` makes it alone.

    Requests join and leave between passes of the model's layers, in the order in which they came. Works in a
    thread of its own, on as many threads as torch is set to when the queue is made; methods may be called
    from several threads at once.

    Parameters
    ----------
    decoder
        The model.
    max_active
        Requests that are worked on together; each holds its keys and values.
    max_waiting
        Requests that wait for their turn; more are refused.
    batch_tokens
        Tokens that pass the shared layers together, at most: prompts get what decoding leaves of them, so it
        is above `max_active`. Larger reads prompts faster, smaller makes those that decode beside them
        wait less.
    refill
        Whether tokens that need no further recursion make room at once, and tokens at different recursions
        go together (depth-wise batching, Bae et al. 2024, arXiv 2410.20672). If not, all tokens of a batch
        finish before the next ones begin.

    Raises
    ------
    InvalidArgument
        For options out of range.

    Examples
    --------
    >>> with GenerationQueue(decoder) as queue:  # doctest: +SKIP
    ...     texts = [queue.submit(prompt, max_tokens=64) for prompt in prompts]
    ...     results = [text.wait() for text in texts]
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        max_active: int = 32,
        max_waiting: int = 1024,
        batch_tokens: int = 128,
        refill: bool = True,
    ) -> None:
        for option, value in (
            ("max_active", max_active),
            ("max_waiting", max_waiting),
            ("batch_tokens", batch_tokens),
        ):
            if not 0 <= value < 2**63:
                raise InvalidArgument(f"{option} is {value}; allowed: 0 to {2**63 - 1}")
        self.decoder = decoder
        self.native = core.GenerationQueue(
            decoder.native,
            max_active=max_active,
            max_waiting=max_waiting,
            batch_tokens=batch_tokens,
            refill=refill,
        )
        self._close = weakref.finalize(self, self.native.close)

    def submit(self, prompt: Prompt, **options: Unpack[GenerateOptions]) -> QueuedText:
        """Take a request and return at once; prompt and options are those of `Decoder.generate`.

        Raises
        ------
        InvalidArgument
            As `Decoder.generate` does.
        Overloaded
            Where `max_active` and `max_waiting` requests are there already, or the queue is closed.
        """
        return self.submit_tokens(self.decoder.encode_prompt(prompt), **options)

    def submit_tokens(self, prompt: Sequence[int], **options: Unpack[GenerateOptions]) -> QueuedText:
        """`submit` for a prompt that is tokens already."""
        return QueuedText(self.native.submit(list(prompt), to_native_options(options)), self)

    @property
    def status(self) -> GenerationQueueStatus:
        native = self.native.status()
        return GenerationQueueStatus(
            waiting=native.waiting,
            active=native.active,
            kv_bytes=native.kv_bytes,
            steps=native.steps,
            rows=native.rows,
        )

    def close(self) -> None:
        """Cancel all requests and end the queue's thread."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
