"""From retrieved text to an answer with sources, or "I'm not sure"."""

from taesr.answer.bot import SupportBot
from taesr.answer.confidence import ConfidenceModel
from taesr.answer.extractive import ExtractiveGenerator
from taesr.answer.generator import Generator, create_generator, generator_names
from taesr.answer.passages import Passage
from taesr.answer.types import Answer, AnswerOptions, Citation, Statement

__all__ = [
    "Answer",
    "AnswerOptions",
    "Citation",
    "ConfidenceModel",
    "ExtractiveGenerator",
    "Generator",
    "Passage",
    "Statement",
    "SupportBot",
    "create_generator",
    "generator_names",
]
