"""Up-training a decoder: layers shared, tokens routed, distilled from the model that it comes from.

>>> from taesr.training.decoder import DecoderTrainConfig, train_decoder
>>> config = DecoderTrainConfig.from_file("configs/decoder.json")  # doctest: +SKIP
>>> train_decoder(config).model  # doctest: +SKIP
PosixPath('runs/decoder/model')

What comes out is made small by `quantise_decoder`.
"""

from taesr.training.decoder.config import DecoderTrainConfig
from taesr.training.decoder.loop import DecoderTrainer, train_decoder
from taesr.training.decoder.quantise import QuantisedDecoder, QuantiseOptions, quantise_decoder

__all__ = [
    "DecoderTrainConfig",
    "DecoderTrainer",
    "QuantiseOptions",
    "QuantisedDecoder",
    "quantise_decoder",
    "train_decoder",
]
