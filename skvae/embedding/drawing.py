"""Drawing: random values of rows, those of each row from numbers of its own."""

import math
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.utils import check_random_state

from skvae.embedding.mapping import keeping_bits
from skvae.rows.bounds import ROW_MULTIPLE, bounded_minibatches
from skvae.rows.mapping import move
from skvae.sparse import pad, totals
from skvae.state import threads_for, usual_state

# Numbers that Philox makes at a time.
BLOCK = 4


@dataclass(frozen=True)
class Draws:
    """Random numbers of samples of some rows, which depend on the seed, the sample and the row's place alone.

    They are those of a counter, which starts anywhere (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
    3").

    Parameters
    ----------
    seed : int
    n_samples : int
    first : int
        The place of the first row.
    n_rows : int
    """

    seed: int
    n_samples: int
    first: int
    n_rows: int

    def uniforms(self, sample, shape):
        """Return u ~ U(0, 1) of that shape for each row, (n_rows, ...)."""
        n_blocks = math.ceil(math.prod(shape) / BLOCK)
        philox = np.random.Philox(key=[self.seed, 2 * sample]).advance(self.first * n_blocks)
        u = np.random.Generator(philox).random((self.n_rows, n_blocks * BLOCK))
        return u[:, : math.prod(shape)].reshape(self.n_rows, *shape)

    def generator(self, sample):
        """Return what draws a row of its results for each row."""
        places = range(self.first, self.first + self.n_rows)
        return RowGenerator(
            [
                np.random.Generator(np.random.Philox(key=[self.seed, 2 * sample + 1], counter=[0, 0, 0, place]))
                for place in places
            ]
        )


class RowGenerator:
    """Draws arrays like numpy's Generator, each row of them with a generator of its own.

    Parameters
    ----------
    generators : list of Generator
    """

    def __init__(self, generators):
        self.generators = generators

    def __getattr__(self, distribution):
        def draw(*parameters, size=None):
            shape = np.broadcast_shapes(*map(np.shape, parameters)) if size is None else size
            rows = zip(self.generators, *(np.broadcast_to(parameter, shape) for parameter in parameters), strict=True)
            return np.stack([getattr(generator, distribution)(*own, size=shape[1:]) for generator, *own in rows])

        return draw


def draw_rows(estimator, function, rows, n_outputs, n_samples, random_state, receive):
    """Draw some samples of each row, and hand them over as they come.

    Parameters
    ----------
    estimator : VariationalEmbedding
        Fitted.
    function : callable
        `draw_code` or `draw_row`.
    rows : Rows
        Float64 rows are drawn in float64.
    n_outputs : int
        Elements a row of the largest array that is made for a sample.
    n_samples : int
        Of each row. The first few are the same however many there are.
    random_state : int, RandomState instance or None
    receive : callable
        Takes the number of a sample, a slice of the rows, and an ndarray of what was drawn of these.

    Raises
    ------
    ValueError
        If one of the values is infinite or NaN.
    """
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    module, device = estimator.net_.module_, estimator.net_.device
    with usual_state(), threads_for(module), torch.inference_mode():
        if rows.dtype == np.float64:
            module = deepcopy(module).double()
        apply = keeping_bits(function, module, rows.covariates.widths_then)
        for part in bounded_minibatches(rows, n_samples * n_outputs):
            x, c = move(rows[part], device)
            n_rows = math.ceil(len(x) / ROW_MULTIPLE) * ROW_MULTIPLE
            x, c, n_own = pad(x, n_rows), pad(c, n_rows), len(x)
            drawn = apply((x, Draws(seed, n_samples, part.start, n_rows)), c)[:n_own].numpy(force=True)
            if not np.isfinite(drawn).all():
                raise ValueError("a value drawn for a row of X is infinite or NaN; expected X like that of fit.")
            for sample in range(n_samples):
                receive(sample, part, drawn[:, sample])


def draw_z(q, draws, sample):
    """Return z ~ q(z|x) of each row, (B, J)."""
    u = torch.from_numpy(draws.uniforms(sample, (q.n_uniforms, q.shape[1])).astype(np.float32))
    return q.sample(u.transpose(0, 1).to(q.mean()))


def draw_code(module, inputs, c):
    """Return z ~ q(z|x) of each row in the units of a code, (B, n_samples, J); `inputs` are x and `Draws`."""
    x, draws = inputs
    q = module.encode(x, c)
    codes = [module.latent.decoded(draw_z(q, draws, sample)) for sample in range(draws.n_samples)]
    return module.scale * torch.stack(codes, dim=1)


def draw_row(module, inputs, c):
    """Return x ~ p(x|z), z ~ q(z|x), at the total of each row, (B, n_samples, D); z is that of `draw_code`."""
    x, draws = inputs
    q, total = module.encode(x, c), totals(x)
    drawn = [
        module.likelihood.sample(module.decode(draw_z(q, draws, sample), c), draws.generator(sample), total)
        for sample in range(draws.n_samples)
    ]
    return torch.from_numpy(np.stack(drawn, axis=1))
