"""The log of an experiment: a file with one line an event, and what a person who waits reads."""

import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

# Share of the work after which the time of the rest can be foretold.
MIN_SHARE = 0.1


@dataclass(frozen=True)
class Log:
    """Lines with the time, appended to a file by all processes of an experiment.

    Parameters
    ----------
    path : Path or None
        None for no file.
    """

    path: Path | None = None

    def write(self, *lines: str) -> None:
        if self.path is not None:
            now = datetime.now().isoformat(" ", "seconds")
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("".join(f"{now}  {line}\n" for line in lines))


class Progress:
    """What is done, what runs, and how long the rest takes, a line on stderr whenever a step ends.

    Parameters
    ----------
    steps : list of Step
        Those to do.
    is_shown : bool
    """

    def __init__(self, steps, is_shown):
        self.steps, self.is_shown = steps, is_shown
        self.began, self.done = time.monotonic(), 0.0

    def begin(self, running):
        """Say what runs."""
        self.say(self.share, running)

    def end(self, step, running):
        """Say that a step has ended, and which others run."""
        self.done += step.cost
        self.say(self.share, running, [f"{step.what}: done", *self.rest()])

    @property
    def share(self):
        return self.done / sum(step.cost for step in self.steps)

    def rest(self):
        """Return how long the rest takes if it goes on like this."""
        if not MIN_SHARE <= self.share < 1:
            return []
        seconds = (time.monotonic() - self.began) * (1 - self.share) / self.share
        return [f"about {format_seconds(seconds)} left"]

    def say(self, share, running, said=()):
        now = [f"now {' and '.join(step.what for step in running)}"] if running else []
        if self.is_shown and (said or now):
            print(f"{share:4.0%}  {'; '.join([*said, *now])}", file=sys.stderr, flush=True)


def format_seconds(seconds):
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min"
