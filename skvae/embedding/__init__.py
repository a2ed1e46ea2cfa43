"""Embedding: autoencoders as scikit-learn transformers."""
