"""What a decoder's matrices get to multiply: the second moments of their inputs on calibration texts."""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from taesr._native import core
from taesr.decoder import Decoder
from taesr.errors import Error, FormatError
from taesr.nn import RecursiveDecoder
from taesr.nn.decoder_layers import Rows
from taesr.training.decoder.documents import Document, read_documents
from taesr.training.decoder.tokens import END_OF_MESSAGE, Report, conversation_tokens, only_token
from taesr.training.pool import read_lines

_LONGEST = 2048  # tokens that are read of a text
# The first of the matrices that multiply one input, and all of them.
SHARED_INPUTS = {
    "self_attn.q_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.o_proj": ("self_attn.o_proj",),
    "mlp.gate_proj": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down_proj": ("mlp.down_proj",),
}
HEAD = "lm_head"


def calibration_tokens(
    path: str | Path, tokenizer: Decoder, *, count: int, seed: int, report: Report | None = None
) -> list[list[int]]:
    """Token ids of `count` texts or conversations, drawn from a file, or of all if it has fewer.

    What is in the file, its first line says: conversations where it has "messages". Of a conversation what
    stands before the end of the last answer is read; of long ones the first 2,048 tokens.

    Raises IoError or FormatError that names the file, and the line where one is wrong.
    """
    kind = _kind(path)
    drawn: list[Document] = []
    draw = random.Random(seed)
    for number, document in enumerate(read_documents(str(path), kind)):  # each stays with count / number
        if number < count:
            drawn.append(document)
        elif (place := draw.randrange(number + 1)) < count:
            drawn[place] = document
        if report and number % 1000 == 0:
            report("read documents", number, None)
    if not drawn:
        raise FormatError(f'{path}: no documents; write lines such as {{"text": ...}} or {{"messages": ...}}')
    longest = min(_LONGEST, tokenizer.config.max_positions)
    if kind == "text":
        return [tokenizer.encode(document.text)[:longest] for document in drawn]
    end = only_token(tokenizer, END_OF_MESSAGE)
    # Nothing is predicted from the last token.
    return [conversation_tokens(tokenizer, each.messages, end)[0][:-1][:longest] for each in drawn]


def _kind(path: str | Path) -> str:
    try:
        record = json.loads(next(iter(read_lines(path)), b""))
    except ValueError:
        return "text"  # what is wrong, reading the line as a text says
    return "chat" if isinstance(record, dict) and "messages" in record else "text"


class InputMoments:
    """Sums of x x^T over the inputs x of a decoder's matrices; a shared layer's are of all its recursions.

    Tokens that a router keeps back are left out where they are.

    Attributes
    ----------
    sums : dict
        float32 [columns, columns] by the name of the first matrix that multiplies the input, as in
        `SHARED_INPUTS`; `HEAD` for what makes scores.
    """

    def __init__(self, model: RecursiveDecoder) -> None:
        self.sums: dict[str, Tensor] = {}
        self._model = model
        self._passing: Tensor | None = None

    @torch.no_grad()
    def add(self, texts: Sequence[Sequence[int]], report: Report | None = None) -> None:
        """Run texts one by one. Raises Error where the model gives what is not finite."""
        fast = core.cpu_multiplies_bfloat16()
        with self._watching():
            for number, tokens in enumerate(texts):
                if report:
                    report("calibrated on texts", number, len(texts))
                with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                    hidden = self._model(torch.tensor([tokens])).hidden
                self._add(HEAD, hidden)
                if report:
                    report("calibrated on texts", number + 1, len(texts))
        if not all(bool(moments.isfinite().all()) for moments in self.sums.values()):
            raise Error("the model's states on the calibration texts are not finite; train it anew")

    @contextmanager
    def _watching(self) -> Iterator[None]:
        hooks: list[Any] = []
        for number, layer in enumerate(self._model.model.layers):
            hooks.append(layer.register_forward_pre_hook(self._remember))
            for name in SHARED_INPUTS:
                hooks.append(self._watch(layer.get_submodule(name), f"model.layers.{number}.{name}"))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _remember(self, layer: nn.Module, arguments: tuple[Tensor, Rows, Any]) -> None:
        self._passing = arguments[1].active

    def _watch(self, matrix: nn.Module, name: str) -> Any:
        return matrix.register_forward_pre_hook(
            lambda _, arguments: self._add(name, arguments[0], self._passing)
        )

    def _add(self, name: str, inputs: Tensor, passing: Tensor | None = None) -> None:
        rows = inputs.flatten(0, 1) if passing is None else inputs[passing]
        with torch.autocast("cpu", enabled=False):
            rows = rows.float()
            if name not in self.sums:
                self.sums[name] = torch.zeros(rows.shape[1], rows.shape[1])
            self.sums[name].addmm_(rows.T, rows)
