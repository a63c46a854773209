"""The process the engine lives in: reads requests from standard input, writes replies to standard output.

It ends when its standard input closes, in the middle of a request too, so that a parent that dies leaves
nothing running. Ctrl-C is the parent's business: it ends the worker when it gives up.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from profiles.engine.protocol import EngineFailure, Reply, Request


def main() -> None:
    """Answer requests until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _volunteer()
    replies = _own_stdout()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, requests), daemon=True).start()
    decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
    try:
        while True:
            reply = _answer(decoder, requests.get())
            replies.write(msgspec.json.encode(reply) + b"\n")
    except Exception:
        # An orderly exit would wait for the thread that reads: our last words are enough.
        traceback.print_exc()
        os._exit(1)


def _volunteer() -> None:
    """Where memory runs out, let the kernel end this process rather than the user's others: proc(5)."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _own_stdout() -> BinaryIO:
    """A private copy of standard output; what the engine prints there goes to standard error instead."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return replies


def _read(source: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    for line in source:
        requests.put(line)
    os._exit(0)  # the parent has gone; the main thread may be deep in the engine


def _answer(decoder: msgspec.json.Decoder[Request], line: bytes) -> Reply:
    try:
        request = decoder.decode(line)
    except msgspec.ValidationError as error:
        return EngineFailure("refused", f"the engine cannot be asked this: {error}")
    try:
        from profiles.engine import binding
    except ImportError as error:
        return EngineFailure(
            "missing", f"llama-cpp-python is not installed ({error}); pip install 'slm-advisor[engine]'"
        )
    try:
        return binding.answer(request)
    except binding.RefusedError as error:
        return EngineFailure("refused", str(error), error.last_words)
