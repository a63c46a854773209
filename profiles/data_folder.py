"""Where the program keeps what it learned: the user's data folder, and writing into it safely.

Files are written whole or not at all, and lines are appended one at a time under a lock, so that neither a second
process nor a crash leaves half of anything behind.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LOCK_TIMEOUT_S = 5.0  # whoever holds the lock needs it for milliseconds


def data_folder() -> Path | None:
    """`slm-advisor` below `$XDG_DATA_HOME` or, where that is unset, below where the system keeps such data.

    That is `~/.local/share` (XDG's own default, also on macOS as command-line tools have it) or, on Windows,
    `%LOCALAPPDATA%`. None for a user without a home folder. The folder need not exist.
    """
    given = Path(os.environ.get("XDG_DATA_HOME", ""))
    # An XDG path that is not absolute counts as unset.
    if given.is_absolute():
        return given / "slm-advisor"
    local = os.environ.get("LOCALAPPDATA", "") if sys.platform == "win32" else ""
    if local:
        return Path(local) / "slm-advisor"
    try:
        return Path.home() / ".local" / "share" / "slm-advisor"
    except RuntimeError:
        return None


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` in place of the file, atomically; its folder is made. Raises OSError, leaving nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's, which only its owner may read: what is written here is for others too.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append_line(path: Path, line: bytes) -> None:
    """Append `line` and a line feed in one write; raises OSError, leaving the file as it was.

    A last line that a crash cut off is ended first, so that it spoils only itself. The caller holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        cut = False
        if before:
            file.seek(before - 1)
            cut = file.read(1) != b"\n"
        content = (b"\n" if cut else b"") + line + b"\n"
        try:
            if file.write(content) != len(content):
                raise OSError(28, "No space left on device", str(path))
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to `path` (a file beside it) against other processes.

    Raises OSError where it cannot be had: a folder that cannot be written, or TimeoutError after five seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("ab") as file:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise TimeoutError(110, "another process holds its lock", str(path))
            time.sleep(0.01)
        yield  # closing the file gives the lock back


if sys.platform == "win32":

    def _try_lock(handle: int) -> bool:
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(handle: int) -> bool:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
