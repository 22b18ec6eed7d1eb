"""Measuring encoders: retrieval sets in BEIR layout, sentence similarity, classification."""

from taesr.evaluation.beir import RetrievalDataset, load_beir
from taesr.evaluation.classification import LabelledTexts, evaluate_classification, load_labelled
from taesr.evaluation.metrics import METRICS, evaluate_rankings
from taesr.evaluation.report import RetrievalReport
from taesr.evaluation.retrieval import RetrievalOptions, RetrievalResult, evaluate_retrieval
from taesr.evaluation.sts import SentencePair, evaluate_sts, load_sts
from taesr.evaluation.through_collection import evaluate_search

__all__ = [
    "METRICS",
    "LabelledTexts",
    "RetrievalDataset",
    "RetrievalOptions",
    "RetrievalReport",
    "RetrievalResult",
    "SentencePair",
    "evaluate_classification",
    "evaluate_rankings",
    "evaluate_retrieval",
    "evaluate_search",
    "evaluate_sts",
    "load_beir",
    "load_labelled",
    "load_sts",
]
