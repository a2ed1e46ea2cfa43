"""Moments of the features, summed over minibatches of rows."""

import torch

from skvae.sparse import power_sums


class Moments:
    """Weighted moments of features, summed minibatch by minibatch.

    Sparse and dense X give the same bits where both make dense minibatches.
    """

    def __init__(self):
        self.sums = self.squares = self.weight = torch.zeros((), dtype=torch.float64)

    def add(self, x, weights):
        sums, squares = power_sums(x, weights)
        self.sums, self.squares, self.weight = self.sums + sums, self.squares + squares, self.weight + weights.sum()

    def map(self, function):
        """Return the moments with `function` applied to each sum."""
        mapped = Moments()
        mapped.sums, mapped.squares, mapped.weight = map(function, (self.sums, self.squares, self.weight))
        return mapped

    def plus(self, other):
        """Return the moments of the rows of both."""
        both = Moments()
        both.sums, both.squares = self.sums + other.sums, self.squares + other.squares
        both.weight = self.weight + other.weight
        return both

    def largest_mean(self):
        """Return the largest absolute value of the features' means."""
        return (self.sums / self.weight).abs().max().item()

    def mean_and_variance(self):
        """Return two float64 tensors (D,)."""
        mean = self.sums / self.weight
        return mean, (self.squares / self.weight - mean.square()).clamp(min=0)
