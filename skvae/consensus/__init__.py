"""Consensus: the dimensions of an embedding that come back from run to run."""

from skvae.consensus.embedding import ConsensusEmbedding

__all__ = ["ConsensusEmbedding"]
