"""Measuring encoders: retrieval sets in BEIR layout, sentence similarity, classification."""

from taesr.evaluation.ablation import AblationOptions, run_ablation
from taesr.evaluation.ablation_report import AblationReport
from taesr.evaluation.beir import RetrievalDataset, load_beir
from taesr.evaluation.classification import LabelledTexts, evaluate_classification, load_labelled
from taesr.evaluation.fusion import FusionOptions
from taesr.evaluation.heads import HEAD_MODES, evaluate_heads
from taesr.evaluation.metrics import METRICS, evaluate_rankings
from taesr.evaluation.report import RetrievalReport
from taesr.evaluation.retrieval import RetrievalOptions, RetrievalResult, evaluate_retrieval
from taesr.evaluation.routing import random_router_curve, router_curve, router_point
from taesr.evaluation.significance import paired_test
from taesr.evaluation.sts import SentencePair, evaluate_sts, load_sts
from taesr.evaluation.through_collection import evaluate_search

__all__ = [
    "HEAD_MODES",
    "METRICS",
    "AblationOptions",
    "AblationReport",
    "FusionOptions",
    "LabelledTexts",
    "RetrievalDataset",
    "RetrievalOptions",
    "RetrievalReport",
    "RetrievalResult",
    "SentencePair",
    "evaluate_classification",
    "evaluate_heads",
    "evaluate_rankings",
    "evaluate_retrieval",
    "evaluate_search",
    "evaluate_sts",
    "load_beir",
    "load_labelled",
    "load_sts",
    "paired_test",
    "random_router_curve",
    "router_curve",
    "router_point",
    "run_ablation",
]
