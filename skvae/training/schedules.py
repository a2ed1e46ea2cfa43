"""Schedules: the factor of the learning rate over a run, a function of the share of it that is over, in [0, 1].

To add one, write the function and its line in `SCHEDULES`: the estimators' `learning_rate_schedule` follows.
"""

import math

# Share of the steps over which the cosine schedule rises. Full steps from the start, along gradients that are still all
# alike, close the gates of the sparse posterior for good.
WARMUP = 0.1


def constant(_):
    return 1.0


def cosine(share):
    """Rise linearly over the first tenth and fall to 0 as a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983)."""
    return min(share / WARMUP, 1.0) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES = {"cosine": cosine, "constant": constant}


def learning_rate_at(schedule, n_steps, step):
    """Return the factor of the learning rate in a gradient step, the schedule's value at the middle of it."""
    return schedule(min(1.0, (step + 0.5) / n_steps))
