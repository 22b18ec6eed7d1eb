"""Rounding a trained decoder's matrices to 4 or 8 bits, so that it answers as before as far as can be."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from taesr.decoder import Decoder
from taesr.errors import InvalidArgument, IoError
from taesr.nn import DecoderConfig, RecursiveDecoder
from taesr.training.checks import require
from taesr.training.decoder.block_rounding import BLOCK, KINDS, RoundedMatrix, round_to_nearest
from taesr.training.decoder.calibration import HEAD, SHARED_INPUTS, InputMoments, calibration_tokens
from taesr.training.decoder.gptq import relative_error, round_by_gptq
from taesr.training.decoder.start import loaded
from taesr.training.decoder.tokens import Report

QuantisedPrecision = Literal["q4_1", "q4_0", "q8_0"]


@dataclass(frozen=True, kw_only=True)
class QuantiseOptions:
    """How a decoder is rounded.

    Attributes
    ----------
    precision
        Of the matrices: 5, 4.5 or 8.5 bits a value.
    count : int
        Calibration texts, drawn from the file.
    seed : int
        Of what is drawn: equal seeds make equal files on one machine.
    damping : float
        What is added to the diagonal of the inputs' second moments, as a share of its mean: more trusts
        the texts less.
    """

    precision: QuantisedPrecision = "q4_1"
    count: int = 110
    seed: int = 0
    damping: float = 0.01

    def __post_init__(self) -> None:
        if self.precision not in KINDS:
            raise InvalidArgument(f"precision is {self.precision!r}; allowed: {', '.join(KINDS)}")
        require("count", self.count, 1)
        require("damping", self.damping, 1e-6)


@dataclass(frozen=True)
class QuantisedDecoder:
    """What was written, and how near it is.

    Attributes
    ----------
    path
        The GGUF file.
    texts, tokens : int
        That were calibrated on.
    error, nearest_error : float
        Squared error of the matrices' products on these texts, as a share of the products' squares, the
        mean over matrices: as written, and if every value were rounded to the nearest.
    """

    path: Path
    texts: int
    tokens: int
    error: float
    nearest_error: float


def quantise_decoder(
    model: str | Path,
    calibration: str | Path,
    output: str | Path,
    options: QuantiseOptions | None = None,
    *,
    tokenizer: str | Path | None = None,
    report: Report | None = None,
) -> QuantisedDecoder:
    """Write a decoder as a GGUF file whose layers are rounded by GPTQ (arXiv 2210.17323).

    All inputs are those of the model before rounding. The token table is rounded to the nearest values, as
    `Decoder.save` does with every matrix.

    Parameters
    ----------
    model
        Folder with config.json and model.safetensors, as `taesr train-decoder` leaves it, or a GGUF file.
    calibration
        Texts like those that the model is for: lines {"messages": [...]} or {"text": ...}; .gz and .xz too.
    output
        GGUF file, replaced if there is one.
    tokenizer
        GGUF file whose tokenizer and chat template the new one gets; by default those of `model`, which a
        folder does not have.
    report
        Gets the progress: what is being done, how much of it, of how much.

    Raises
    ------
    IoError, FormatError, InvalidArgument
        Name the file or field, and the remedy.
    """
    options = options or QuantiseOptions()
    output = Path(output)
    if not output.parent.is_dir() or output.is_dir():  # before the work, not after it
        raise IoError(f"cannot write {output}: {'it is a folder' if output.is_dir() else 'no such folder'}")
    decoder = Decoder.load(model)
    _check_widths(decoder.config)
    texts = calibration_tokens(
        calibration,
        _tokenizer(decoder, model, tokenizer),
        count=options.count,
        seed=options.seed,
        report=report,
    )
    weights = {name: torch.from_numpy(value) for name, value in decoder.weights().items()}
    module = loaded(decoder.config, weights).requires_grad_(False)
    moments = InputMoments(module)
    moments.add(texts, report)
    rounding = _Rounding(module, moments, options, report)
    blocks = {name: matrix.to_bytes() for name, matrix in rounding.matrices()}
    decoder.save(output, precision=options.precision, tokenizer=tokenizer, blocks=blocks)
    matrices = len(blocks)
    return QuantisedDecoder(
        output,
        len(texts),
        sum(map(len, texts)),
        rounding.error / matrices,
        rounding.nearest_error / matrices,
    )


class _Rounding:
    """Rounds one matrix after the other, and adds up the errors."""

    def __init__(
        self, module: RecursiveDecoder, moments: InputMoments, options: QuantiseOptions, report: Report | None
    ) -> None:
        self._module = module
        self._moments = moments
        self._options = options
        self._report = report
        self.error = 0.0
        self.nearest_error = 0.0

    def matrices(self) -> Iterator[tuple[str, RoundedMatrix]]:
        """The rounded matrices by name; moments are dropped on the way."""
        groups = [
            (f"model.layers.{layer}.{first}", [f"model.layers.{layer}.{name}" for name in names])
            for layer in range(self._module.config.unique_layers)
            for first, names in SHARED_INPUTS.items()
        ]
        if not self._module.config.tied_embeddings:
            groups.append((HEAD, [HEAD]))
        for number, (first, names) in enumerate(groups, start=1):
            yield from self._rounded(names, self._moments.sums.pop(first))
            if self._report:
                self._report("rounded inputs' matrices", number, len(groups))

    def _rounded(self, names: list[str], hessian: Tensor) -> Iterator[tuple[str, RoundedMatrix]]:
        """Matrices of one input: rows do not depend on each other, so that they are rounded together."""
        kind = KINDS[self._options.precision]
        matrices: list[Tensor] = [self._module.get_parameter(f"{name}.weight") for name in names]
        together = round_by_gptq(torch.cat(matrices), hessian, kind, damping=self._options.damping)
        begin = 0
        for name, matrix in zip(names, matrices, strict=True):
            rounded = together.rows(begin, begin + len(matrix))
            begin += len(matrix)
            self.error += relative_error(matrix, rounded, hessian)
            self.nearest_error += relative_error(matrix, round_to_nearest(matrix, kind), hessian)
            yield f"{name}.weight", rounded


def _tokenizer(decoder: Decoder, model: str | Path, tokenizer: str | Path | None) -> Decoder:
    """The decoder whose tokenizer reads the texts."""
    if tokenizer is None:
        if Path(model).is_dir():
            raise InvalidArgument(
                f"the folder {model} has no tokenizer; name a GGUF file that has it, such as that of the "
                "model that it began with"
            )
        return decoder
    found = Decoder.load(tokenizer)
    if found.config.vocab_size != decoder.config.vocab_size:
        raise InvalidArgument(
            f"the tokenizer of {tokenizer} has {found.config.vocab_size} tokens; {model} has "
            f"{decoder.config.vocab_size}"
        )
    return found


def _check_widths(config: DecoderConfig) -> None:
    widths = {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "heads * head_dim": config.heads * config.head_dim,
    }
    for name, width in widths.items():
        if width % BLOCK:
            raise InvalidArgument(
                f"{name} is {width}; blocks need a multiple of {BLOCK}: save the model in float16 with "
                "Decoder.save"
            )
