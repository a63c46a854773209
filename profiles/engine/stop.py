"""Ending work with engines from another thread, at once.

stop = Stop()
thread: calibrate(device, new_engine=stop.engine)      # raises StoppedError once it is stopped
other:  stop()
"""

from __future__ import annotations

import threading

from profiles.engine.client import Engine
from profiles.errors import StoppedError


class Stop:
    """Hands out engines and, when called, closes them: the question under way fails, and no other is begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: list[Engine] = []
        self._stopped = False

    def __call__(self) -> None:
        with self._lock:
            self._stopped = True
            engines, self._engines = self._engines, []
        for engine in engines:
            engine.close()

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers that run just now."""
        with self._lock:
            return tuple(pid for engine in self._engines if (pid := engine.pid) is not None)

    def engine(self) -> Engine:
        """A new engine. Raises StoppedError."""
        with self._lock:
            self.check()
            engine = Engine()
            self._engines.append(engine)
            return engine

    def check(self) -> None:
        """Raises StoppedError once it is stopped: for work that asks no engine for a while."""
        if self._stopped:
            raise StoppedError("stopped")
