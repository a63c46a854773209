"""What the worker process itself takes of the device."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from profiles.engine.protocol import MemoryUsed


def memory_used(saved_state_bytes: int) -> MemoryUsed:
    resident = psutil.Process().memory_info().rss
    return MemoryUsed(resident, max(resident, _peak()), saved_state_bytes)


def reset_peak() -> None:
    """Forget the peak so far, where the kernel lets a process do so: proc(5), `clear_refs`."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    # Not getrusage on Linux: its peak is inherited from the parent across fork and exec.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
