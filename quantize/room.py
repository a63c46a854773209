"""How much room a disk has, and telling one that became full from other trouble.

Those who write to a full disk say it in many ways, or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from profiles.errors import ProfilesError
from quantize.errors import GptqError, NoRoomError, QuantizationError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of an OSError that mean: no more can be written there."""

_PROBE_BYTES = 1 << 20


def room(path: Path) -> int:
    """Bytes that are free where `path` is, or would be."""
    return shutil.disk_usage(existing(path)).free


def existing(path: Path) -> Path:
    """The folder `path`, or the nearest above it that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def same_disk(one: Path, other: Path) -> bool:
    """Whether what is written to the one takes room from the other."""
    return existing(one).stat().st_dev == existing(other).stat().st_dev


@contextlib.contextmanager
def told_when_full(folder: Path) -> Iterator[None]:
    """Raise NoRoomError in place of what goes wrong because the disk of `folder` is full.

    What was written must still be there: the engine says "iostream error", and only a look at the disk tells why.
    """
    try:
        yield
    except NoRoomError:
        raise
    except (OSError, ProfilesError, QuantizationError, GptqError) as error:
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        if is_full(folder):
            raise NoRoomError(
                f"the disk at {_mount(folder)} became full ({_words(error)}), and nothing that was begun is left on "
                "it: free some, or give --out on another disk"
            ) from error
        if isinstance(error, OSError):
            where = error.filename or f"{tempfile.gettempdir()}, perhaps (TMPDIR names another)"
            raise NoRoomError(f"a disk became full ({_words(error)}): {where}") from error
        raise


def is_full(folder: Path) -> bool:
    """Whether not even a megabyte can be written there, for lack of room or by a quota."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(os.urandom(_PROBE_BYTES))  # nothing that a file system could compress
            return file.tell() < _PROBE_BYTES
    except OSError as error:
        return error.errno in FULL


def _mount(folder: Path) -> Path:
    folder = folder.resolve()
    return next(place for place in (folder, *folder.parents) if place.is_mount())


def _words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
