"""Looking for garbage while nobody waits.

A full collection looks at every object and stops the program meanwhile: 60 to 100 ms with the catalog and a few
screens, at moments of its own choosing. It waits here until no key has been pressed for a while. What is used no more
and is in no cycle is freed at once all the same.
"""

from __future__ import annotations

import gc
import time

EVERY_S = 5.0
IDLE_S = 4.0
YOUNG, MIDDLE, NEVER = 2000, 20, 1_000_000_000


def collect_when_idle() -> None:
    """From now on the youngest objects only are looked through unasked: milliseconds."""
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


class Sweeper:
    """Told of each key, and asked now and then whether it is time."""

    def __init__(self) -> None:
        self._touched = time.monotonic()
        self._swept = self._touched

    def touch(self) -> None:
        """Somebody is at it."""
        self._touched = time.monotonic()

    def sweep(self) -> bool:
        """Collect, if nobody has been at it for a while, but was since the last time."""
        if self._swept > self._touched or time.monotonic() - self._touched < IDLE_S:
            return False
        gc.collect()
        self._swept = time.monotonic()
        return True
