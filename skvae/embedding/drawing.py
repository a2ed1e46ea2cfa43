"""Drawing: random values of rows, those of each row from a generator of its own."""

import math
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from sklearn.utils import check_random_state

from skvae.embedding.mapping import keeping_bits
from skvae.rows.bounds import ROW_MULTIPLE, bounded_minibatches
from skvae.rows.mapping import move
from skvae.sparse import pad, totals
from skvae.state import threads_for, usual_state


def draw_rows(estimator, function, rows, n_outputs, n_samples, random_state, receive):
    """Draw some samples of each row, and hand them over as they come.

    What is drawn of a row depends on the seed, the number of the sample and the row's place, and not on the rows
    beside it: numbers are those of a counter (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

    Parameters
    ----------
    estimator : VariationalEmbedding
        Fitted.
    function : callable
        `draw_code` or `draw_row`.
    rows : Rows
        Float64 rows are drawn in float64.
    n_outputs : int
        Elements a row of the largest array that `function` makes.
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
        for part in bounded_minibatches(rows, n_outputs):
            x, c = move(rows[part], device)
            n_rows = math.ceil(len(x) / ROW_MULTIPLE) * ROW_MULTIPLE
            x, c, n_own = pad(x, n_rows), pad(c, n_rows), len(x)
            for sample in range(n_samples):
                generators = partial(make_generators, seed, sample, part.start, n_rows)
                drawn = apply((x, generators), c)[:n_own].numpy(force=True)
                if not np.isfinite(drawn).all():
                    raise ValueError("a value drawn for a row of X is infinite or NaN; expected X like that of fit.")
                receive(sample, part, drawn)


def make_generators(seed, sample, first, n_rows):
    """Return the generators of a sample of so many rows from the place of the first on."""
    places = range(first, first + n_rows)
    return [np.random.Generator(np.random.Philox(key=[seed, sample], counter=[0, 0, 0, place])) for place in places]


def draw_z(q, generators):
    """Return z ~ q(z|x) of each row, (B, J)."""
    n_components = q.shape[1]
    u = [generator.random((q.n_uniforms, n_components), dtype=np.float32) for generator in generators]
    return q.sample(torch.from_numpy(np.stack(u, axis=1)).to(q.mean()))


def draw_code(module, inputs, c):
    """Return z ~ q(z|x) of each row in the units of a code, (B, J); `inputs` are x and what makes the generators."""
    x, generators = inputs
    return module.scale * module.latent.decoded(draw_z(module.encode(x, c), generators()))


def draw_row(module, inputs, c):
    """Return x' ~ p(x|z), z ~ q(z|x), at the total of each row, (B, D); z is that of `draw_code`."""
    x, make = inputs
    generators = make()
    h, total = module.decode(draw_z(module.encode(x, c), generators), c), totals(x)
    rows = zip(h.split(1), generators, total.split(1), strict=True)
    return torch.from_numpy(np.concatenate([module.likelihood.sample(*row) for row in rows]))
