"""The measured bandwidth: a plausible number, in the time promised, and honest about caches."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from profiles.bandwidth import MIB, buffer_size, measure_bandwidth


def test_reading_memory_gives_a_plausible_bandwidth() -> None:
    """Any machine this runs on reads between 0.3 and 10,000 GB/s, and the passes are counted."""
    started = time.perf_counter()
    result = measure_bandwidth(2, 64 * MIB, 0.05)
    assert 0.3e9 < result.bytes_per_s < 1e13
    assert result.passes >= 2
    assert result.buffer_bytes == 64 * MIB
    assert time.perf_counter() - started < 20


def test_the_buffer_is_larger_than_the_caches() -> None:
    """Four times the last-level cache, within bounds."""
    assert buffer_size(32 * MIB, 8 << 30) == 128 * MIB
    assert buffer_size(96 * MIB, 8 << 30) == 384 * MIB
    assert buffer_size(None, None) == 128 * MIB


def test_too_little_memory_is_no_measurement() -> None:
    """A quarter of what is free must hold a buffer that caches cannot."""
    assert buffer_size(32 * MIB, 300 * MIB) == 75 * MIB
    assert buffer_size(32 * MIB, 100 * MIB) is None
    assert buffer_size(128 * MIB, 800 * MIB) is None


INTERRUPTED = """
import time
from profiles.bandwidth import MIB, measure_bandwidth
print(flush=True)
try:
    measure_bandwidth(4, 512 * MIB, 60)
except KeyboardInterrupt:
    pass
time.sleep(0.3)
print("interrupted")
"""


def test_an_interruption_waits_for_the_threads_that_read() -> None:
    """After Ctrl-C no thread goes on scanning a buffer that has been given back."""
    for delay in (0.5, 0.6, 0.7):
        process = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "interrupted\n")
