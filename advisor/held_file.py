"""A model file held open while it is verified, so that what was hashed is what is loaded.

The engine opens files by name. On Linux it is given the name of our open descriptor (/proc/PID/fd/N), which leads to
the very file that was hashed, whatever lies under its own name by then. A write into that file is seen by its times
and size, and another file under its name by device and inode, when everything is over.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from advisor.errors import InvalidInputError
from quantize.hashes import sha256_of_open


class HeldFile:
    """An open model file. Raises InvalidInputError for what is no readable regular file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Without O_NONBLOCK a pipe that nobody writes to would wait forever.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}") from error
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self._before = os.fstat(descriptor)
        if not stat.S_ISREG(self._before.st_mode):
            self._file.close()
            raise InvalidInputError(f"{path} is not a file")

    def __enter__(self) -> HeldFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def size_bytes(self) -> int:
        return self._before.st_size

    @property
    def load_path(self) -> Path:
        """The name to load it by: of the open descriptor where the system has such names for other processes."""
        name = Path(f"/proc/{os.getpid()}/fd/{self._file.fileno()}")
        return name if name.exists() else self.path

    def sha256(self, progress: Callable[[int, int], None] | None = None) -> str:
        """The SHA-256 of what is held. Raises OSError."""
        self._file.seek(0)
        return sha256_of_open(self._file, progress)

    def change(self) -> str | None:
        """What happened to the file since it was opened, in words; None where nothing did."""
        before, now = self._before, os.fstat(self._file.fileno())
        try:
            there = self.path.stat()
        except OSError as error:
            return f"is no longer there ({error.strerror or error})"
        if (there.st_dev, there.st_ino) != (before.st_dev, before.st_ino):
            return "was replaced by another file"
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            return "was written to"
        if now.st_ctime_ns != before.st_ctime_ns:  # a write whose time was set back looks like this
            return "was moved, linked or had its times or rights changed"
        return None
