"""The three pipes of a child process in one loop: input is written, output kept, of the errors the end."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from contextlib import suppress
from typing import IO, cast

ERRORS_KEPT_BYTES = 1 << 14
_PIECE = 1 << 16
_DRAIN_S = 0.2


class Pipes:
    """Feeds and reads a process that was started with three pipes, without threads and without ever blocking.

    `output` grows by at most 64 KiB between two calls of `wait`, so that the caller can bound it. `newest` is how
    much the last call added.
    """

    def __init__(self, process: subprocess.Popen[bytes], send: bytes) -> None:
        self.output = bytearray()
        self.newest = 0
        self._errors = bytearray()
        self._send = memoryview(send)
        self._selector = selectors.DefaultSelector()
        self._input = cast(IO[bytes], process.stdin)
        self._from = cast(IO[bytes], process.stdout)
        self._complaints = cast(IO[bytes], process.stderr)
        for pipe, event in (
            (self._input, selectors.EVENT_WRITE),
            (self._from, selectors.EVENT_READ),
            (self._complaints, selectors.EVENT_READ),
        ):
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, event)

    def __enter__(self) -> Pipes:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for pipe in (self._from, self._complaints):
            pipe.close()
        self._close_input()

    def wait(self, at_most_s: float) -> bool:
        """Move what can be moved, waiting up to `at_most_s` for something. False once the output has ended."""
        self.newest = 0
        for key, _ in self._selector.select(at_most_s):
            if key.fileobj is self._input:
                self._write()
            elif key.fileobj is self._complaints:
                self._read_errors()
            else:
                piece = os.read(key.fd, _PIECE)
                if not piece:
                    return False
                self.output += piece
                self.newest = len(piece)
        return True

    def drain_errors(self) -> None:
        """Read what is still in the pipe of the errors; not until its end, which a child's child may hold open."""
        until = time.monotonic() + _DRAIN_S
        while time.monotonic() < until and self._read_errors():
            pass

    def errors_tail(self) -> str:
        return self._errors.decode("utf-8", "replace")

    def _read_errors(self) -> bool:
        try:
            piece = os.read(self._complaints.fileno(), _PIECE)
        except BlockingIOError:
            return False
        if not piece:
            if self._complaints in self._selector.get_map():
                self._selector.unregister(self._complaints)
            return False
        self._errors += piece
        del self._errors[:-ERRORS_KEPT_BYTES]
        return True

    def _write(self) -> None:
        try:
            self._send = self._send[os.write(self._input.fileno(), self._send) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more; what that means, the output tells
            self._send = self._send[:0]
        if not self._send:
            self._selector.unregister(self._input)
            self._close_input()

    def _close_input(self) -> None:
        with suppress(OSError):
            self._input.close()
