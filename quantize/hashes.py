"""SHA-256 of large files, with progress."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from quantize.errors import InvalidModelError

CHUNK_BYTES = 1 << 22


def sha256_of(path: Path, progress: Callable[[int, int], None] | None = None) -> str:
    """The file's SHA-256; `progress` is told the bytes read so far and of how many. Raises InvalidModelError."""
    digest = hashlib.sha256()
    done = 0
    try:
        with path.open("rb", buffering=0) as file:
            total = path.stat().st_size
            buffer = bytearray(CHUNK_BYTES)
            view = memoryview(buffer)
            while count := file.readinto(buffer):
                digest.update(view[:count])
                done += count
                if progress is not None:
                    progress(done, max(total, done))
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()
