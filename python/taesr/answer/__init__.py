"""From retrieved text to an answer with sources, or "I'm not sure"."""

from taesr.answer.bot import AnswerStream, SupportBot
from taesr.answer.confidence import ConfidenceModel
from taesr.answer.draft import Draft
from taesr.answer.extractive import ExtractiveGenerator
from taesr.answer.generator import (
    Generator,
    GeneratorOptions,
    StreamingGenerator,
    create_generator,
    generator_names,
)
from taesr.answer.language_model import LanguageModel, ModelGenerator
from taesr.answer.passages import Passage
from taesr.answer.types import Answer, AnswerOptions, Citation, Statement

__all__ = [
    "Answer",
    "AnswerOptions",
    "AnswerStream",
    "Citation",
    "ConfidenceModel",
    "Draft",
    "ExtractiveGenerator",
    "Generator",
    "GeneratorOptions",
    "LanguageModel",
    "ModelGenerator",
    "Passage",
    "Statement",
    "StreamingGenerator",
    "SupportBot",
    "create_generator",
    "generator_names",
]
