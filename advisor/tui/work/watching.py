"""What a running test takes of the machine: memory of the engine's processes, temperature and clock."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import msgspec
from textual.message import Message

from profiles.engine.stop import Stop

EVERY_S = 0.5


class Watching(msgspec.Struct, frozen=True):
    """One look; None for what cannot be read here."""

    resident_bytes: int | None
    temperature_c: float | None
    clock_hz: float | None


def watch(stop: Stop, done: threading.Event, gpu: bool, post: Callable[[Message], object]) -> None:
    """Look twice a second until the work is done."""
    from advisor.tui.messages import Watched
    from profiles.machine import Machine

    machine = Machine()
    while not done.wait(EVERY_S):
        post(Watched(look(stop.pids, machine, gpu)))


def look(pids: tuple[int, ...], machine: object, gpu: bool) -> Watching:
    """The memory of these processes, and the sensors."""
    import psutil

    from profiles.machine import Machine
    from profiles.sensors import read_sensors

    assert isinstance(machine, Machine)
    resident = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            resident += psutil.Process(pid).memory_info().rss
    reading = read_sensors(machine, gpu=gpu)
    return Watching(resident or None, reading.temperature_c, reading.clock_hz)
