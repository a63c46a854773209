"""Lines of a file or of standard input, each at most so long."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click


def lines_of(source: str, most: int) -> Iterator[bytes]:
    """The lines of the file `source`, or of standard input for "-".

    Of a line of more than `most` bytes the start, longer than `most`, so that no line fills the memory.
    """
    if source == "-":
        if sys.stdin is None:
            raise click.UsageError("standard input is closed; there are no rows to read")
        yield from bounded_lines(sys.stdin.buffer, most)
        return
    with Path(source).open("rb") as file:
        yield from bounded_lines(file, most)


def bounded_lines(file: IO[bytes], most: int) -> Iterator[bytes]:
    """The lines of an open file, as in `lines_of`; the mark that Windows programs put before UTF-8 is left out."""
    first = True
    while line := file.readline(most + 1):
        rest = line if len(line) > most else b""
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(most)
        yield line.removeprefix(codecs.BOM_UTF8) if first else line
        first = False
