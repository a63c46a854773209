"""SHA-256 of large files, with progress."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

from quantize.errors import InvalidModelError

CHUNK_BYTES = 1 << 22


def sha256_of(path: Path, progress: Callable[[int, int], None] | None = None) -> str:
    """The file's SHA-256; `progress` is told the bytes read so far and of how many. Raises InvalidModelError."""
    try:
        with path.open("rb", buffering=0) as file:
            return sha256_of_open(file, progress)
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror or error}") from error


def sha256_of_open(file: io.FileIO, progress: Callable[[int, int], None] | None = None) -> str:
    """The SHA-256 of an open file from where it stands to its end. Raises OSError."""
    digest = hashlib.sha256()
    done = 0
    total = os.fstat(file.fileno()).st_size
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    while count := file.readinto(buffer):
        digest.update(view[:count])
        done += count
        if progress is not None:
            progress(done, max(total, done))
    return digest.hexdigest()
