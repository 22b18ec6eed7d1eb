"""Text that continues a prompt, from a language model on your own machine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypedDict, Unpack, cast

import numpy as np
import numpy.typing as npt

from taesr._native import core
from taesr.errors import InvalidArgument

KvCaching = Literal["full", "shared"]
WeightPrecision = Literal["auto", "stored", "bfloat16", "float32"]
SavedPrecision = Literal["float32", "float16", "bfloat16", "q8_0", "q4_1", "q4_0"]
FinishReason = Literal["end", "stop", "length", "cancelled"]
Prompt = str | Sequence[Mapping[str, str]]


class GenerateOptions(TypedDict, total=False):
    """Options of `Decoder.generate`, which describes them."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    logit_bias: Mapping[int, float] | None
    stop: Iterable[str]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A generated text and how it came about.

    `finish` says why it ends: "end" by the model itself, "stop" at a stop text (which is not part of the
    text), "length" at `max_tokens` or the model's last position, "cancelled" by the caller. `tokens`
    are all that were generated, `kv_bytes` the memory of keys and values at the end.
    """

    text: str
    tokens: list[int]
    finish: FinishReason
    prompt_tokens: int
    prefill_seconds: float
    decode_seconds: float
    kv_bytes: int


@dataclass(frozen=True, kw_only=True)
class DecoderTrace:
    """What tokens pass on their way through a model, and what they leave.

    `recursions` counts by token how often it passed the shared layers; `kv_bytes` is the memory of all
    keys and values, `kv_bytes_read` what of it the next token reads if it passes all recursions.
    """

    recursions: list[int]
    kv_bytes: int
    kv_bytes_read: int


class TextStream:
    """The pieces of a text while it is generated; leave the loop to end the generation.

    `result` is what there is so far.
    """

    def __init__(self, native: core.TextStream) -> None:
        self.native = native

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        # Every call works for one part of the prompt or one token, so that Ctrl-C comes through in between.
        while (piece := self.native.next()) is not None:
            if piece:
                return piece
        raise StopIteration

    @property
    def result(self) -> Generation:
        return to_generation(self.native.result())


def to_generation(native: core.Generation) -> Generation:
    """The extension's result as a dataclass."""
    return Generation(
        text=native.text,
        tokens=native.tokens,
        finish=cast(FinishReason, native.finish),
        prompt_tokens=native.prompt_tokens,
        prefill_seconds=native.prefill_seconds,
        decode_seconds=native.decode_seconds,
        kv_bytes=native.kv_bytes,
    )


def to_native_options(options: GenerateOptions) -> core.GenerateOptions:
    """Check what the extension's types cannot hold, and fill in what is left out."""
    stop = options.get("stop", ())
    if isinstance(stop, str):
        raise InvalidArgument("stop is one text; give a list of texts")
    max_tokens, top_k, seed = options.get("max_tokens", 256), options.get("top_k", 0), options.get("seed", 0)
    for option, value, most in (
        ("max_tokens", max_tokens, 2**63),
        ("top_k", top_k, 2**63),
        ("seed", seed, 2**64),
    ):
        if not 0 <= value < most:
            raise InvalidArgument(f"{option} is {value}; allowed: 0 to {most - 1}")
    logit_bias = options.get("logit_bias") or {}
    for token in logit_bias:
        if not 0 <= token < 2**31:
            raise InvalidArgument(f"logit_bias has token {token}; allowed: those of the model's vocabulary")
    return core.GenerateOptions(
        max_tokens=max_tokens,
        temperature=options.get("temperature", 0.0),
        top_k=top_k,
        top_p=options.get("top_p", 1.0),
        repetition_penalty=options.get("repetition_penalty", 1.0),
        logit_bias={int(token): float(bias) for token, bias in logit_bias.items()},
        stop=list(stop),
        seed=seed,
    )


class Decoder:
    """A Llama-style decoder with its weights, and with its tokenizer where the file holds one.

    Layers may be shared (Bae et al. 2025, arXiv 2507.10524): `config.sharing` and `config.recursions` say
    how. Methods may be called from several threads at once; they release the GIL. A TextStream
    belongs to one thread.

    Examples
    --------
    >>> decoder = Decoder.load("SmolLM2-135M-Instruct.Q4_1.gguf")  # doctest: +SKIP
    >>> question = {"role": "user", "content": "What is the capital of France?"}
    >>> decoder.generate([question]).text  # doctest: +SKIP
    'The capital of France is Paris.'
    """

    def __init__(self, native: core.Decoder) -> None:
        self.native = native

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        kv_caching: KvCaching = "full",
        precision: WeightPrecision = "auto",
        device: str = "cpu",
    ) -> Self:
        """Load a GGUF file, or a folder with config.json and model.safetensors.

        Parameters
        ----------
        path
            A GGUF file of architecture "llama" with tensors F32, F16, BF16, Q4_0, Q4_1 or Q8_0; or a folder
            as transformers' LlamaForCausalLM has it, with `sharing` and `recursions` in its config
            where layers are shared. Folders have no tokenizer: work with tokens then.
        kv_caching
            "full" keeps keys and values of every application of a layer; "shared" those of the first
            application of a shared layer, which the later ones read: less memory, another function.
        precision
            "stored" keeps the weights as the file has them and multiplies those in blocks (Q4_0, Q4_1,
            Q8_0) with inputs of 8 bits, on the CPU only; "bfloat16" rounds them; "float32" is exact, with 2
            to 8 times the memory and time. "auto" is "stored" on the CPU and "bfloat16" on a GPU.
        device
            "cpu", "cuda" or "cuda:N": weights, keys and values are on this GPU.

        Raises
        ------
        IoError, FormatError, InvalidArgument
            Name the file, the field and what is wrong with it; the last also a device that is not there, and
            what to do.
        """
        return cls(core.Decoder.load(Path(path), kv_caching, precision, device))

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        logit_bias: Mapping[int, float] | None = None,
        stop: Iterable[str] = (),
        seed: int = 0,
    ) -> Generation:
        """Continue a text or answer a conversation.

        Parameters
        ----------
        prompt
            A text; or messages with "role" ("system", "user" or "assistant") and "content". Names of special
            tokens in them are text like any other.
        max_tokens
            At least 1.
        temperature
            0 takes the most probable token always; above, up to 100, tokens are drawn.
        top_k, top_p
            Draw from the `top_k` most probable tokens (0: all), and of these from the fewest that have
            the probability `top_p` together (above 0, up to 1).
        repetition_penalty
            Above 1, tokens of the prompt and the text become less probable.
        logit_bias
            By token, what is added to its score before all else, -1000 to 1000, at every position. 1 makes
            it e times as probable against the others, -1000 never chosen.
        stop
            Texts that end the generation.
        seed
            Equal seeds draw equal tokens; 0 to 2^64 - 1.

        Raises
        ------
        InvalidArgument
            For options out of range, a prompt that is empty or too long, and a model without tokenizer
            or without a chat template in ChatML.
        """
        stream = self.stream(
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            logit_bias=logit_bias,
            stop=stop,
            seed=seed,
        )
        for _ in stream:
            pass
        return stream.result

    def stream(self, prompt: Prompt, **options: Unpack[GenerateOptions]) -> TextStream:
        """`generate` piece by piece: an iterator over whole characters that are certain to be in the text."""
        native_options = to_native_options(options)
        return TextStream(self.native.stream(self.encode_prompt(prompt), native_options))

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Tokens of a text, or of a conversation."""
        return self.encode(prompt) if isinstance(prompt, str) else self.encode_chat(prompt)

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Tokens of a text; with `parse_special` names of special tokens in it become these tokens."""
        return self.native.encode(text, parse_special)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, without the special ones."""
        return self.native.decode(list(tokens))

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Tokens of a conversation up to the beginning of the assistant's answer."""
        for i, message in enumerate(messages):
            if set(message) != {"role", "content"}:
                raise InvalidArgument(
                    f"message {i} must have exactly role and content, not {sorted(message)}"
                )
        return self.native.encode_chat([(message["role"], message["content"]) for message in messages])

    def logits(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Scores of every next token after each of `tokens`: float32 [tokens, vocab_size]."""
        return self.native.logits(list(tokens))

    def trace(self, tokens: Sequence[int]) -> DecoderTrace:
        """Where the routers send these tokens, and what that takes."""
        native = self.native.trace(list(tokens))
        return DecoderTrace(
            recursions=native.recursions, kv_bytes=native.kv_bytes, kv_bytes_read=native.kv_bytes_read
        )

    def save(
        self,
        path: str | Path,
        *,
        precision: SavedPrecision = "q8_0",
        tokenizer: str | Path | None = None,
        blocks: Mapping[str, npt.NDArray[np.uint8]] | None = None,
    ) -> None:
        """Write a GGUF file, which other engines read too unless layers are shared.

        Parameters
        ----------
        path
            Is replaced if there is such a file.
        precision
            Of the matrices; "q8_0", "q4_1" and "q4_0" take 8.5, 5 and 4.5 bits a value, rounded as ggml does.
        tokenizer
            A GGUF file whose tokenizer and chat template the new one gets; by default the file that the
            decoder was loaded from, if it is one.
        blocks
            Matrices that are rounded already, by their names in `weights`: all rows' blocks as ggml has
            them in `precision`. They are written as they are; `taesr.training.decoder.quantise_decoder`
            makes such ones.

        Raises
        ------
        IoError, FormatError, InvalidArgument
            The last for a tokenizer of another size, for rows that are not whole blocks of 32 values, and for
            `blocks` that do not fit the model.
        """
        source = None if tokenizer is None else Path(tokenizer)
        self.native.save(Path(path), precision, source, dict(blocks or {}))

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """All weights in float32, by their names in transformers' LlamaForCausalLM."""
        return {
            name: matrix[0] if name.endswith(("norm.weight", ".bias")) else matrix
            for name, matrix in self.native.weights().items()
        }

    @property
    def config(self) -> core.DecoderConfig:
        """The model's shape; read-only."""
        return self.native.config

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights; a shared layer counts once."""
        return self.native.weight_bytes

    def __repr__(self) -> str:
        config = self.config
        return (
            f"Decoder(layers={config.layers}, unique_layers={config.unique_layers}, "
            f"hidden_size={config.hidden_size}, vocab_size={config.vocab_size}, "
            f"sharing={config.sharing!r}, recursions={config.recursions})"
        )
