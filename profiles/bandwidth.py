"""Measured read bandwidth of main memory, in under a second and without numpy.

Each usable thread scans a slice of a buffer much larger than the last-level cache with the C library's `memchr`,
looking for a byte that is not there: one pure read stream, vectorised by every libc we run on, and ctypes lets go of
the interpreter's lock meanwhile. The buffer is written first: untouched pages all map to one page of zeros, which
would be read from cache.
"""

from __future__ import annotations

import contextlib
import threading
import time

import msgspec

MIB = 1 << 20
LARGEST_BYTES = 512 * MIB
SMALLEST_BYTES = 64 * MIB
TIME_LIMIT_S = 0.6
MIN_PASSES = 2


class BandwidthMeasurement(msgspec.Struct, frozen=True):
    """Bytes per second of the best pass, with what it was measured on."""

    bytes_per_s: float
    buffer_bytes: int
    threads: int
    passes: int


def buffer_size(llc_bytes: int | None, free_bytes: int | None, *, caches: int = 4) -> int | None:
    """Bytes to scan: `caches` times the last-level cache, 64 to 512 MiB, at most a quarter of what is free.

    None where the free memory does not allow a buffer that caches would not hold.
    """
    wanted = min(LARGEST_BYTES, caches * max(SMALLEST_BYTES // 2, llc_bytes or 0))
    if free_bytes is not None:
        wanted = min(wanted, free_bytes // 4)
    return wanted if wanted >= max(SMALLEST_BYTES, 2 * min(llc_bytes or 0, LARGEST_BYTES // 2)) else None


def measure_bandwidth(threads: int, size: int, seconds: float = TIME_LIMIT_S) -> BandwidthMeasurement:
    """Scan `size` bytes with `threads` threads until `seconds` have passed; the best pass counts.

    The best, not the mean: anything else that runs on the machine can only slow a pass down.
    Raises MemoryError where the buffer cannot be had and OSError where the C library cannot be loaded.
    """
    import ctypes

    libc = ctypes.CDLL("msvcrt") if _is_windows() else ctypes.CDLL(None)
    libc.memchr.restype = ctypes.c_void_p
    libc.memchr.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    libc.memset.restype = ctypes.c_void_p
    part = size // threads
    buffers = [(ctypes.c_char * part)() for _ in range(threads)]
    addresses = [ctypes.addressof(buffer) for buffer in buffers]
    together = threading.Barrier(threads)
    begins: list[list[float]] = [[] for _ in range(threads)]
    ends: list[list[float]] = [[] for _ in range(threads)]
    started = time.perf_counter()
    stop = [False]

    def scan(index: int) -> None:
        address = addresses[index]
        libc.memset(address, 1, part)
        with contextlib.suppress(threading.BrokenBarrierError):
            scan_until_stopped(index, address)

    def scan_until_stopped(index: int, address: int) -> None:
        while True:
            # One thread decides for all: were each to look at the clock, some would wait for those that left.
            if index == 0:
                stop[0] = len(ends[0]) >= MIN_PASSES and time.perf_counter() - started > seconds
            together.wait()
            if stop[0]:
                return
            begins[index].append(time.perf_counter())
            libc.memchr(address, 2, part)
            ends[index].append(time.perf_counter())
            together.wait()

    workers = [threading.Thread(target=scan, args=(i,), daemon=True) for i in range(threads)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    except BaseException:
        # Interrupted: the buffers must stay until the last thread has left them.
        together.abort()
        for worker in workers:
            if worker.ident is not None:
                worker.join()
        raise
    passes = len(ends[0])
    took = [max(e[i] for e in ends) - min(b[i] for b in begins) for i in range(passes)]
    return BandwidthMeasurement(part * threads / min(took), part * threads, threads, passes)


def _is_windows() -> bool:
    import os

    return os.name == "nt"
