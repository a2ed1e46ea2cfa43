"""The log of an experiment: a file with one line an event, and what a person who waits reads."""

import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from skvae.files import task_in_errors

# Share of the work after which the time of the rest can be foretold.
MIN_SHARE = 0.1


@dataclass(frozen=True)
class Log:
    """Lines with the time, appended to a file by all processes of an experiment.

    Parameters
    ----------
    path : Path
    """

    path: Path

    def write(self, *lines: str) -> None:
        now = datetime.now().isoformat(" ", "seconds")
        text = "".join(f"{now}  {one_line(line)}\n" for line in lines)
        with (
            task_in_errors(f"cannot write {self.path}"),  # which a full disk does not name
            open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file,
        ):
            file.write(text)


def one_line(text: object) -> str:
    """Return a text without ends of lines, which names of files and messages of libraries may have."""
    return " ".join(str(text).split("\n"))


def tell(text: str) -> None:
    """Print a text, with escapes for what the terminal cannot show."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


class Progress:
    """What is done, what runs, and how long the rest takes, a line on stderr whenever a step ends.

    Parameters
    ----------
    steps : iterable of Step
        Those to do.
    is_shown : bool
    """

    def __init__(self, steps, is_shown):
        self.left, self.is_shown = list(steps), is_shown
        self.began, self.cost = time.monotonic(), sum(step.cost for step in self.left)

    def begin(self, running):
        """Say what runs."""
        self.say(self.share, running)

    def end(self, step, running):
        """Say that a step has ended, and which others run."""
        self.left.remove(step)
        self.say(self.share, running, [f"{step.what}: done", *self.rest()])

    @property
    def share(self):
        """The share of the work that is done, 0 while nobody knows how much there is."""
        return 1 - sum(step.cost for step in self.left) / self.cost if self.cost else 0.0

    def rest(self):
        """Return how long the rest takes if it goes on like this."""
        if not MIN_SHARE <= self.share < 1:
            return []
        seconds = (time.monotonic() - self.began) * (1 - self.share) / self.share
        return [f"about {format_seconds(seconds)} left"]

    def say(self, share, running, said=()):
        now = [f"now {' and '.join(step.what for step in running)}"] if running else []
        if self.is_shown and (said or now):
            print(f"{share:4.0%}  {one_line('; '.join([*said, *now]))}", file=sys.stderr, flush=True)


def format_seconds(seconds):
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min"
