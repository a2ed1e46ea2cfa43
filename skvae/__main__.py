"""Command line: `skvae --help`, or `python -m skvae --help`."""

import sys
import warnings

from skvae.experiment.commands import parse, parse_transform
from skvae.experiment.log import one_line
from skvae.experiment.workplace import STEPS_FOLDER

# Exit codes: of bad input, and of Ctrl-C.
BAD_INPUT, INTERRUPTED = 2, 130

# What bad input, a full disk or a missing package raise; others are faults of the program.
FAULTS = (ImportError, MemoryError, OSError, ValueError)


def main(arguments=None):
    """Run the command; `skvae transform` embeds new cells."""
    arguments = sys.argv[1:] if arguments is None else arguments
    is_transform = arguments[:1] == ["transform"]
    command = parse_transform(arguments[1:]) if is_transform else parse(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            command.run()
    except KeyboardInterrupt:
        there = (command.folder / STEPS_FOLDER).is_dir()
        kept = f" What is done is in {command.folder}: the same command goes on from there." if there else ""
        print(f"\nStopped.{kept}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except FAULTS as error:
        print(f"skvae: error: {one_line(error) or type(error).__name__}", file=sys.stderr)
        sys.exit(BAD_INPUT)


def show_warning(message, *_):
    """Show a warning as a sentence: the line of the program that it comes from says nothing to who called it."""
    print(f"skvae: warning: {one_line(message)}", file=sys.stderr)


if __name__ == "__main__":
    main()
