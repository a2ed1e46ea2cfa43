"""Progress bars that suit where they are read: a terminal, a notebook or a log file."""

import sys

from tqdm import tqdm as terminal_tqdm
from tqdm.auto import tqdm
from tqdm.autonotebook import tqdm as notebook_tqdm

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
