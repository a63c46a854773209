"""Commands run as children: in a process group of their own, so that all they start ends with them."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

_GRACE_S = 5.0  # between asking and ending
TICK_S = 1.0  # between two reports while a command says nothing

# What pip and git say when the network is to blame.
NETWORK_FAILURE = re.compile(
    r"Temporary failure in name resolution|Name or service not known|NewConnectionError|ConnectTimeout"
    r"|Network is unreachable|No matching distribution found|ProxyError|ReadTimeout",
)
# pip's own settings stay: an index of the company's, a proxy. The progress bar would only fill the log.
PIP_SETTINGS = {"PIP_PROGRESS_BAR": "off", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}


def output_lines(output: IO[str]) -> Iterator[str | None]:
    """The lines of `output` as they come, and None for each `TICK_S` without one."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        with output:
            for line in output:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=TICK_S)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line


def start(command: tuple[str, ...], environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start `command` in a group of its own, without input, its output and errors in one pipe. Raises OSError."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **environment},
        start_new_session=True,
    )


def end_group(process: subprocess.Popen[Any]) -> None:
    """End a process and all it started: asked first, so that pip puts back what it has moved, then without asking."""
    if sys.platform == "win32":
        process.kill()
        process.wait()
        return
    try:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    finally:  # a second Ctrl-C must not leave compilers behind
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
