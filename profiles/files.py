"""Reading a file that comes from a user or a stranger, so that neither a huge one nor a pipe does harm."""

from __future__ import annotations

import errno
from pathlib import Path


def read_at_most(path: Path, most: int) -> bytes:
    """The content of a regular file of up to `most` bytes.

    Raises OSError with words for people: also for what is no regular file (a pipe that nobody writes to would wait
    forever) and for a larger file.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file", str(path))
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {most >> 20} MiB", str(path))
    return content
