"""The torch process: reads one job from standard input, does it, and says so on standard output.

It ends when its standard input closes, in the middle of a job too, so that a parent that dies leaves nothing running.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from quantize.gptq_worker.protocol import Compare, Done, Failed, Job, Load, Message, Quantize


class RefusedError(Exception):
    """What was asked for cannot be done; the message says why."""


class Mouth:
    """Where messages go."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def say(self, message: Message) -> None:
        self._stream.write(msgspec.json.encode(message) + b"\n")


def main() -> None:
    """Do the job on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business
    with suppress(OSError):  # where memory runs out, the kernel shall end this process: proc(5)
        Path("/proc/self/oom_score_adj").write_text("1000")
    mouth = Mouth(os.fdopen(os.dup(1), "wb", buffering=0))
    os.dup2(2, 1)  # what libraries print is narration
    sys.addaudithook(_no_network)
    job: Job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    mouth.say(_do(job, mouth))
    os._exit(0)  # GPTQModel's threads do not end, and its clean-up at exit is not needed


def _do(job: Job, mouth: Mouth) -> Message:
    try:
        match job:
            case Quantize():
                from quantize.gptq_worker.quantizing import quantize

                quantize(job, mouth)
            case Load():
                from quantize.gptq_worker.loading import load

                load(job, mouth)
            case Compare():
                from quantize.gptq_worker.comparing import compare

                compare(job, mouth)
    except ImportError as error:
        traceback.print_exc()
        return Failed("missing", f"a part of GPTQ is not installed ({error})")
    except RefusedError as error:
        return Failed("refused", str(error))
    except Exception as error:
        traceback.print_exc()
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            return Failed("memory", f"memory ran out: {_first_line(error)}")
        return Failed("error", f"{type(error).__name__}: {_first_line(error)}")
    return Done()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _no_network(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook cannot be taken off again: nothing in this process connects to anything."""
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise PermissionError(f"the process with torch has no network ({event})")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
