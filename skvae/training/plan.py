"""How long to train: epochs, and gradient steps of each."""

import math
from dataclasses import dataclass, replace

# `max_epochs="auto"`: bounds of the epochs, by `init`. `N_FEW` rows or fewer have the most; with covariates, or from a
# random start, it is as many as see `N_SEEN` rows, in at least so many gradient steps. Of very many rows fewer than
# `MIN_EPOCHS` passes see `N_ENOUGH`, and are enough.
MIN_EPOCHS, MAX_EPOCHS = 8, {"linear": 40, "random": 60}
FEWEST_EPOCHS, N_ENOUGH = 2, 1_200_000
N_FEW = 1000
N_SEEN, MIN_STEPS = {"linear": 90_000, "random": 200_000}, {"linear": 1, "random": 250}


@dataclass(frozen=True)
class Plan:
    """Length of a run of training.

    Parameters
    ----------
    n_epochs : int
        Passes over the rows.
    steps_per_epoch : int
        Gradient steps of a pass.
    n_steps : int
        Gradient steps over which the learning rate and the weight of the KL term follow their schedules.
    last_step : int or None
        Number of gradient steps, from the net's first, after which to stop in the middle of a pass; None for never.
    """

    n_epochs: int
    steps_per_epoch: int
    n_steps: int
    last_step: int | None

    @classmethod
    def make(cls, rows, *, batch_size, max_epochs, max_steps, init):
        """Return the plan that an estimator's parameters of these names are of, for `Rows` of all processes."""
        steps_per_epoch = -(-rows.n_visits // batch_size)
        if max_steps is not None:
            return cls(-(-max_steps // steps_per_epoch), steps_per_epoch, max_steps, max_steps)
        n_epochs = choose_epochs(rows, steps_per_epoch, init) if max_epochs == "auto" else max_epochs
        return cls.of_epochs(n_epochs, steps_per_epoch)

    @classmethod
    def of_epochs(cls, n_epochs, steps_per_epoch):
        n_steps = n_epochs * steps_per_epoch
        return cls(n_epochs, steps_per_epoch, n_steps, n_steps)

    def shortest(self):
        """Return the plan of a fit that stays linear: what is left to learn takes few epochs."""
        return self.of_epochs(MIN_EPOCHS, self.steps_per_epoch)

    def one_epoch(self):
        """Return the plan of a single pass, which is a part of a longer run."""
        return replace(self, n_epochs=1, last_step=None)


def choose_epochs(rows, steps_per_epoch, init):
    """Return what `max_epochs="auto"` means.

    More epochs would fit the noise of few rows, and many rows need no more gradient steps. A linear start leaves the
    network little, but for what sets batches apart, which is less linear than the types are.
    """
    if init == "linear" and rows.covariates.width == 0:
        usual = round(MAX_EPOCHS[init] * (N_FEW / rows.n_visits) ** 2)
    else:
        usual = N_SEEN[init] // rows.n_visits
    fewest = min(MIN_EPOCHS, max(FEWEST_EPOCHS, math.ceil(N_ENOUGH / rows.n_visits)))
    return max(fewest, min(MAX_EPOCHS[init], usual), math.ceil(MIN_STEPS[init] / steps_per_epoch))
