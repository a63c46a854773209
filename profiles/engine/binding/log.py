"""The engine's log: the only place where it tells much of what it does, and the end of it when it fails.

What the engine says is read with patterns written against llama-cpp-python 0.3.36; a report that no longer
matches is an error, never a silent zero.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import llama_cpp

UNREADABLE = "this version of slm-advisor cannot read the engine's report on"


class RefusedError(Exception):
    """The engine said no. `last_words` holds the end of its log."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.last_words = "\n".join(log.strip().splitlines()[-8:])


class Log:
    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def text(self) -> str:
        return b"".join(self.parts).decode(errors="replace")


@contextmanager
def collected_log() -> Iterator[Log]:
    """Collect what the engine logs. Warnings and errors go to standard error too: they outlive a crash."""
    log = Log()
    append = log.parts.append

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def callback(level: int, text: bytes, _: object) -> None:
        append(text)
        if level in (3, 4):  # GGML_LOG_LEVEL_WARN, GGML_LOG_LEVEL_ERROR
            print(text.decode(errors="replace"), end="", file=sys.stderr, flush=True)

    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    try:
        yield log
    finally:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(level: int, text: bytes, _: object) -> None:
    """Between two questions nobody listens, but the engine must not be left with a freed callback."""
