"""Files of text, with or without gzip: their lines, and whether the last one ends."""

import gzip

from skvae.files import find_file
from skvae.reading.faults import whole_file


def lines_of(path, kind):
    """Give the lines of a text that hold something, without the mark of Unicode at its beginning."""
    find_file(path)  # to open a pipe would wait for its writer
    opened = gzip.open if path.suffix == ".gz" else open
    with whole_file(kind), opened(path, "rt", encoding="utf-8-sig") as file:
        for line in file:
            if line.strip():
                yield line


def notes_of_end(path):
    """Return a note if the last line of a text does not end, as where its last number was cut; gzip has a checksum."""
    if path.suffix == ".gz":
        return ()
    with open(path, "rb") as file:
        file.seek(-1, 2)
        ends = file.read() in (b"\n", b"\r")
    return () if ends else (f"The last line of {path.name} has no end; if it was cut short, its last number is wrong.",)
