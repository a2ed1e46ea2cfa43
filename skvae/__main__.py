"""Command line: `skvae --help`, or `python -m skvae --help`."""

import sys

from skvae.experiment.commands import parse, parse_transform

# Exit codes: of bad input, and of Ctrl-C.
BAD_INPUT, INTERRUPTED = 2, 130

# What bad input, a full disk or a missing package raise; others are faults of the program.
FAULTS = (ImportError, KeyError, MemoryError, OSError, ValueError)


def main(arguments=None):
    """Run the command; `skvae transform` embeds new cells."""
    arguments = sys.argv[1:] if arguments is None else arguments
    is_transform = arguments[:1] == ["transform"]
    command = parse_transform(arguments[1:]) if is_transform else parse(arguments)
    try:
        command.run()
    except KeyboardInterrupt:
        print(f"\nStopped. What is done is in {command.folder}: the same command goes on from there.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except FAULTS as error:
        print(f"skvae: error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)


if __name__ == "__main__":
    main()
