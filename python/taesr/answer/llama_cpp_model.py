"""Language models that run in llama.cpp, through the package llama-cpp-python."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from taesr.answer.prompt import Message
from taesr.errors import FormatError, IoError
from taesr.packages import INSTALL_LLAMA_CPP

_PER_MESSAGE = 12  # tokens of a template around a message, at most


class LlamaCppModel:
    """A GGUF file of any architecture that llama.cpp runs, with the chat template in it.

    One answer at a time: others wait.

    Parameters
    ----------
    path
        The file.
    context_tokens
        Most tokens of prompt and answer together.
    """

    def __init__(self, path: Path, context_tokens: int) -> None:
        try:
            package: Any = importlib.import_module("llama_cpp")
        except ImportError as error:
            raise IoError(
                f'the generator "llama-cpp" needs the package llama-cpp-python ({error}); install it with: '
                f"{INSTALL_LLAMA_CPP}"
            ) from None
        if not path.is_file():
            raise IoError(f"language model {path} does not exist; give a GGUF file")
        try:
            self._model: Any = package.Llama(str(path), n_ctx=context_tokens, verbose=False)
        except (ValueError, RuntimeError) as error:
            raise FormatError(f"{path}: llama.cpp cannot load it ({error})") from error
        self._context_tokens = context_tokens
        self._lock = Lock()

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._context_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt, with a guess of the template's that is not below."""
        texts = (message["content"].encode("utf-8") for message in messages)
        count = sum(len(self._model.tokenize(text, add_bos=False)) + _PER_MESSAGE for text in texts)
        return int(count) + _PER_MESSAGE

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        """The most probable answer, piece by piece."""
        with self._lock:
            chunks = self._model.create_chat_completion(
                list(messages), max_tokens=max_tokens, temperature=0.0, stream=True
            )
            for chunk in chunks:
                piece = chunk["choices"][0]["delta"].get("content")
                if piece:
                    yield str(piece)
