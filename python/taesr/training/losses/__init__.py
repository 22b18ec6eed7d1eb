"""Losses as functions of vectors and scores; `taesr.training.objectives` puts them together."""
