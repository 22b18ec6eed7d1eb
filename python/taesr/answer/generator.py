"""What writes an answer from passages, and the register of those that can."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from taesr.answer.extractive import ExtractiveGenerator
from taesr.answer.language_model import Drafting, LanguageModel, ModelGenerator
from taesr.answer.passages import Passage
from taesr.answer.prompt import check_refusal_bias
from taesr.answer.types import Statement
from taesr.errors import InvalidArgument


class Generator(Protocol):
    """Writes an answer in statements, each resting on some of the passages given.

    Passages are data. A generator must not follow instructions found in them, and whatever it
    returns is checked: statements whose sources are not among the passages are dropped by the bot.
    """

    def generate(self, question: str, passages: Sequence[Passage], *, max_statements: int) -> list[Statement]:
        """Statements in reading order, their `sources` being indexes into `passages`.

        An empty list means that the passages hold no answer.
        """
        ...


@runtime_checkable
class StreamingGenerator(Protocol):
    """A generator that can also show its text while it writes."""

    def stream(self, question: str, passages: Sequence[Passage], *, max_statements: int) -> Drafting:
        """A Python generator: yields pieces of text and returns a `Draft`; closing it ends the work."""
        ...


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """What a generator is made of; each takes those that apply to it.

    Attributes
    ----------
    model
        smollm2, llama-cpp: a GGUF file; mor: a GGUF file or a model folder; openai: the model's name.
        None for the one that comes with a package, where there is one.
    url
        openai: the endpoint up to `/v1`, as in `http://127.0.0.1:8080/v1`.
    key_variable
        openai: the environment variable that holds the key; when it is not set, no key is sent.
    context_tokens
        Most tokens of prompt and answer together; None for what suits the model.
    max_tokens
        Of the answer; None for 128 with mor, whose context is short, and 256 with the others.
    timeout
        openai: seconds without text after which the reply counts as lost.
    refusal_bias
        mor, smollm2: nats added to the score of the refusal's first token, -100 to 100; above 0 the model
        refuses more readily. None for what the file answers.json beside the model says, 0 without one.
    """

    model: str | None = None
    url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    context_tokens: int | None = None
    max_tokens: int | None = None
    timeout: float = 60.0
    refusal_bias: float | None = None

    def __post_init__(self) -> None:
        if self.context_tokens is not None and self.context_tokens < 256:
            raise InvalidArgument(f"context_tokens is {self.context_tokens}; allowed: from 256 on")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidArgument(f"max_tokens is {self.max_tokens}; allowed: from 1 on")
        if not 0 < self.timeout <= 3600:
            raise InvalidArgument(f"timeout is {self.timeout} s; allowed: above 0, up to 3600")
        if self.refusal_bias is not None:
            check_refusal_bias(self.refusal_bias)


def _extractive(options: GeneratorOptions) -> Generator:
    _refuse("extractive", options, "model", "url", "refusal_bias")
    return ExtractiveGenerator()


def _smollm2(options: GeneratorOptions) -> Generator:
    from taesr.answer.local_model import LocalModel, find_smollm2

    _refuse("smollm2", options, "url")
    path = Path(options.model) if options.model else find_smollm2()
    model = LocalModel.load(path, options.context_tokens or 2048, options.refusal_bias)
    return _generator(model, options)


def _mor(options: GeneratorOptions) -> Generator:
    from taesr.answer.local_model import LocalModel, find_mor

    _refuse("mor", options, "url")
    path = Path(options.model) if options.model else find_mor()
    # Its positions go further than the prompts that it was fine-tuned on.
    model = LocalModel.load(path, options.context_tokens or 1024, options.refusal_bias)
    return _generator(model, options, max_tokens=128)


def _openai(options: GeneratorOptions) -> Generator:
    from taesr.answer.openai_model import OpenAIModel

    _refuse("openai", options, "refusal_bias")
    if not options.model or not options.url:
        missing = "url" if not options.url else "model"
        raise InvalidArgument(
            f'the generator "openai" needs a {missing}; give the endpoint, such as http://127.0.0.1:8080/v1, '
            "and the name of a model that it serves"
        )
    model = OpenAIModel(
        options.url,
        options.model,
        key=os.environ.get(options.key_variable, ""),
        key_variable=options.key_variable,
        context_tokens=options.context_tokens or 8192,
        timeout=options.timeout,
    )
    return _generator(model, options)


def _llama_cpp(options: GeneratorOptions) -> Generator:
    from taesr.answer.llama_cpp_model import LlamaCppModel
    from taesr.answer.local_model import find_smollm2

    _refuse("llama-cpp", options, "url", "refusal_bias")
    path = Path(options.model) if options.model else find_smollm2()
    return _generator(LlamaCppModel(path, options.context_tokens or 4096), options)


def _generator(model: LanguageModel, options: GeneratorOptions, *, max_tokens: int = 256) -> ModelGenerator:
    return ModelGenerator(model, max_tokens=options.max_tokens or max_tokens)


def _refuse(name: str, options: GeneratorOptions, *fields: str) -> None:
    for field in fields:
        if getattr(options, field) is not None:
            raise InvalidArgument(f'the generator "{name}" takes no {field}; leave it out')


_GENERATORS: dict[str, Callable[[GeneratorOptions], Generator]] = {
    "extractive": _extractive,
    "llama-cpp": _llama_cpp,
    "mor": _mor,
    "openai": _openai,
    "smollm2": _smollm2,
}


def generator_names() -> list[str]:
    """Names that `create_generator` accepts."""
    return sorted(_GENERATORS)


def create_generator(name: str, options: GeneratorOptions | None = None) -> Generator:
    """The generator called `name`: extractive, smollm2, mor, openai or llama-cpp.

    Raises
    ------
    InvalidArgument
        There is none of that name, or an option is missing or does not apply to it.
    IoError, FormatError
        Its model or package is missing or damaged; the message says how to get it.
    """
    if name not in _GENERATORS:
        raise InvalidArgument(f'no generator "{name}"; available: {", ".join(generator_names())}')
    return _GENERATORS[name](options or GeneratorOptions())
