"""Cutting texts: sentences and chunks."""

from taesr._native import core

chunk_document = core.chunk_document
split_sentences = core.split_sentences

__all__ = ["chunk_document", "split_sentences"]
