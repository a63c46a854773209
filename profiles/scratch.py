"""A temporary folder for large files, which goes whatever happens.

    with scratch_folder(size) as folder:
        ...folder.path, folder.in_memory

It is removed at the end, also after Ctrl-C or SIGTERM. What a SIGKILL or a power cut leaves is found by the next
user, since every folder has a file that its owner keeps locked, and is removed then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from profiles.orderly_end import orderly_end

PREFIX = "slm-advisor-scratch-"
_LOCK = "owner"
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})


class Scratch(msgspec.Struct, frozen=True):
    """A folder for temporary files. `in_memory`: they take main memory (tmpfs), not a disk."""

    path: Path
    in_memory: bool
    free_bytes: int


@contextlib.contextmanager
def scratch_folder(size: int) -> Iterator[Scratch]:
    """A folder of its own where `size` bytes have room, on a disk if there is one; else the roomiest there is.

    The folder that TMPDIR names is taken as it is. Stops SIGTERM and SIGHUP until it is removed.
    """
    base = _choose(size)
    remove_stale(base)
    with orderly_end():
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        try:
            with (path / _LOCK).open("wb") as owner:
                _lock(owner)
                yield _scratch(path)
        finally:
            shutil.rmtree(path, ignore_errors=True)


def scratch_room() -> Scratch:
    """Where a large scratch folder would be made, and how much room there is."""
    return _scratch(_choose(1 << 60))


def remove_stale(base: Path) -> None:
    """Remove the folders in `base` whose owners are gone."""
    for path in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (path / _LOCK).open("rb") as owner:
            _lock(owner)
            shutil.rmtree(path, ignore_errors=True)


def in_memory(path: Path) -> bool:
    """True where files in `path` take main memory."""
    import psutil

    path = path.resolve()
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    nearest = next((mounts[folder] for folder in (path, *path.parents) if folder in mounts), "")
    return nearest in _IN_MEMORY


def _scratch(path: Path) -> Scratch:
    return Scratch(path, in_memory(path), shutil.disk_usage(path).free)


def _choose(size: int) -> Path:
    """The first folder that is on a disk and has room, else the one with the most room."""
    if given := os.environ.get("TMPDIR"):
        return Path(given)
    places = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.home() / ".cache"]
    usable = [place for place in places if place.is_dir() and os.access(place, os.W_OK)] or places[:1]
    disks = [place for place in usable if not in_memory(place)]
    roomy = [place for place in disks if shutil.disk_usage(place).free > size]
    return roomy[0] if roomy else max(disks or usable, key=lambda place: shutil.disk_usage(place).free)


def _lock(file: IO[bytes]) -> None:
    """Hold `file` until it is closed. Raises OSError if somebody else does."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
