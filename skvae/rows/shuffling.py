"""Shuffled minibatches: what a pass of training over the rows visits, in a random order."""

import math

import numpy as np
import torch
from sklearn.utils import gen_even_slices

from skvae.rows.mapping import move
from skvae.rows.rows import Rows, stack_rows


class ShuffledMinibatches:
    """Iterate over all rows in a new random order at each pass.

    A row comes as often as its weight says: a weight of 2 is two rows, 1/2 is every other pass on average. The weights
    are cut at a random point of each unit of their sum, so that integers are met exactly (systematic sampling).
    The order does not depend on that of X: the same rows and the same seed make the same minibatches. Of a store, rows
    are mixed a buffer at a time.

    Each item is `((x, c), x)`: the input, with its covariates, and the target, which for an autoencoder is x again.
    Minibatches are as even as can be: a small last one would make a noisy step.

    Parameters
    ----------
    rows : Rows
        The data set, with weights whose sum is 1 or more.
    n_minibatches : int
        Number of minibatches of a pass.
    generator : torch.Generator
        On the CPU, orders the rows.
    device : torch.device or str
        Where the minibatches go.
    """

    def __init__(self, rows, n_minibatches, generator, device):
        self.rows = rows
        self.n_minibatches = n_minibatches
        self.generator = generator
        self.device = device

    def __iter__(self):
        sizes = (part.stop - part.start for part in gen_even_slices(self.rows.n_visits, self.n_minibatches))
        parts: list[Rows] = []
        missing = next(sizes)
        for buffer, visits in self.visits():
            while 0 < missing <= len(visits):
                minibatch = stack_rows([*parts, buffer.take(visits[:missing])])
                x, covariates = move(minibatch.tensors(trains=True), self.device)
                yield (x, covariates), x
                visits = visits[missing:]
                parts, missing = [], next(sizes, 0)
            if len(visits):  # the next minibatch begins in this buffer and ends in another
                parts.append(buffer.take(visits))
                missing -= len(visits)
            del buffer  # before the next one is filled

    def visits(self):
        """Yield buffers of rows with the rows in them that a pass visits, in a random order."""
        n_visits = self.rows.n_visits
        unit = self.rows.total_weight / n_visits
        start = torch.rand((), generator=self.generator, dtype=torch.float64).item()
        first, end = 0, 0.0
        for buffer in self.rows.buffers(self.generator):
            ends = end + np.cumsum(buffer.weights[buffer.order])
            end = ends[-1]
            last = min(n_visits, math.ceil(end / unit - start))
            visits = buffer.at((np.arange(first, last) + start) * unit, ends)
            first = last
            yield buffer, visits[torch.randperm(len(visits), generator=self.generator).numpy()]
            del buffer
