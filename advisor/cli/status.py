"""Where a long command is, on stderr: one line that is rewritten on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time

from advisor.cli.output import narrate

_WIDTH = 79
_EVERY_S = 10.0  # of a log file


class StatusLine:
    """`show` replaces the line; `end` removes it, so that an answer or an error starts on an empty one."""

    def __init__(self, every_s: float = _EVERY_S) -> None:
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._every_s = every_s
        self._written_s = -every_s
        self._open = False

    def show(self, text: str, *, milestone: bool = False) -> None:
        """A milestone is written to a log file in any case, other lines at most every ten seconds."""
        if sys.stderr is None:
            return
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text[:_WIDTH]}")
            sys.stderr.flush()
            self._open = True
            return
        now = time.monotonic()
        if milestone or now - self._written_s >= self._every_s:
            narrate(f"slm-advisor: {text}")
            self._written_s = now

    def end(self) -> None:
        if self._open and sys.stderr is not None:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._open = False
