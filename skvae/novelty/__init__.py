"""Novelty: rows unlike those that a model has seen, with p-values that hold whatever the model."""

from skvae.novelty.detector import NoveltyDetector

__all__ = ["NoveltyDetector"]
