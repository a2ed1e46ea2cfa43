"""Progress bars that suit where they are read: a terminal, a notebook or a log file."""

import sys

from skorch.callbacks import Callback
from tqdm import tqdm as terminal_tqdm
from tqdm.auto import tqdm
from tqdm.autonotebook import tqdm as notebook_tqdm

from skvae.training.history import TERMS

# Seconds between two lines of a log file.
LOG_INTERVAL = 10.0
LOG_FORMAT = "{desc}{n_fmt}/{total_fmt} {unit}s [{elapsed}<{remaining}{postfix}]"


class Lines:
    """A stream on which each state of a bar is a line of its own, instead of being written over the last one."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        if line := text.strip():
            self.stream.write(line + "\n")

    def flush(self):
        self.stream.flush()


def progress_bar(total, unit):
    """Return a tqdm bar over `total` things called `unit`, on stderr; outside terminals and notebooks a few lines."""
    if notebook_tqdm is terminal_tqdm and not sys.stderr.isatty():
        return tqdm(total=total, unit=unit, file=Lines(sys.stderr), mininterval=LOG_INTERVAL, bar_format=LOG_FORMAT)
    return tqdm(total=total, unit=unit)


class ProgressBar(Callback):
    """One bar over all epochs, with the terms of the last one."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.n_epochs_before_ = len(net.history)
        self.bar_ = progress_bar(net.max_epochs, "epoch")

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        terms = {term: f"{net.history[-1, TERMS[term]]:.4g}" for term in ("loss", "kl")}
        self.bar_.set_postfix(terms, refresh=False)
        # more than one where a fit goes on from a checkpoint
        self.bar_.update(len(net.history) - self.n_epochs_before_ - self.bar_.n)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.bar_.close()

    def __getstate__(self):
        # a bar holds an open stream, which cannot be pickled
        return {name: value for name, value in vars(self).items() if name != "bar_"}
