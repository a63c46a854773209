"""A folder that is built beside its place and takes it in one step, so that nobody ever sees half of it.

    with workspace(Path("out/model-Q4_K_M"), replace=False) as work:
        ...write into work.path...
        work.publish()

Until `publish` nothing has the final name, whatever ends the program: an exception and a signal remove what was
written, and what a SIGKILL or a power cut leaves ("out/.model-Q4_K_M.building") is removed by the next build of the
same target, which finds its lock free.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from profiles.orderly_end import orderly_end
from quantize.errors import OccupiedError
from quantize.room import told_when_full

MARK = "manifest.json"
"""The file by which a folder is known to be a finished build; nothing else is ever replaced."""


class Workspace:
    """`path` is the folder to write into, `target` where it goes."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.target = target

    def publish(self) -> None:
        """Put the folder in its place, in the place of the build that is there."""
        for file in self.path.rglob("*"):
            _sync(file)
        _sync(self.path)
        old = _old(self.target)
        if self.target.exists():
            self.target.rename(old)
        self.path.rename(self.target)
        _sync(self.target.parent)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def workspace(target: Path, *, replace: bool) -> Iterator[Workspace]:
    """An empty folder beside `target`, locked against a second build of it, which is removed at the end.

    Raises OccupiedError where `target` exists and may not be replaced, or another process builds it, and NoRoomError
    where the disk becomes full. SIGTERM and SIGHUP clean up as Ctrl-C does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.building")
    with orderly_end(), _lock(target):
        _recover(target)
        check_free(target, replace=replace)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        try:
            with told_when_full(path):
                yield Workspace(path, target)
        finally:
            shutil.rmtree(path, ignore_errors=True)


def check_free(target: Path, *, replace: bool) -> None:
    """Raise OccupiedError unless `target` is free, or is a finished build that may be replaced."""
    if not os.path.lexists(target):
        return
    if not (target / MARK).is_file():
        raise OccupiedError(f"{target} is there and is no build: move it away, or give another --out")
    if not replace:
        raise OccupiedError(f"{target} is built already: --replace builds it again, --out puts it elsewhere")


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _recover(target: Path) -> None:
    """Bring back the build that was being replaced when the program died between two steps."""
    old = _old(target)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Hold the lock file of `target`; it goes with the lock."""
    path = target.with_name(f".{target.name}.lock")
    with contextlib.ExitStack() as stack:
        while True:
            file = stack.enter_context(path.open("ab+"))
            _take(file, target)
            # The owner before may have removed it between our opening and our locking.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
            file.close()
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _take(file: BinaryIO, target: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read(20).decode(errors="replace").strip()
        who = f" (process {owner})" if owner.isdigit() else ""
        raise OccupiedError(f"another build of {target} is under way{who}: wait for it, or end it") from None


def _sync(path: Path) -> None:
    """Have the system write it to the disk: a rename must not outlive the data."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
