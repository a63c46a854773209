"""Joules, where something counts them: RAPL for Intel and AMD packages, NVML for NVIDIA cards, the battery.

Each counter has its scope, which is part of the number: a package without its memory, a whole card, or the whole
device with its screen. Nothing is subtracted for idling.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from profiles.machine import Machine

POWERCAP = "/sys/class/powercap"
SUPPLIES = "/sys/class/power_supply"


class EnergyMeter:
    """Joules since it was made. `scope` says what they were spent by, `source` where they were counted.

    Call `joules` at least once an hour: RAPL's counters start again from zero after a few, and one such turn is
    noticed, not two.
    """

    def __init__(
        self, scope: str, source: str, read: Callable[[], float | None], wrap_j: float = 0.0
    ) -> None:
        self.scope = scope
        self.source = source
        self._read = read
        self._wrap_j = wrap_j
        self._last = read()
        self._total = 0.0

    def joules(self) -> float | None:
        """Joules so far; None once the counter can no longer be read."""
        now = self._read()
        if now is None or self._last is None:
            self._last = None
            return None
        step = now - self._last
        self._total += step if step >= 0 else step + self._wrap_j
        self._last = now
        return self._total


def energy_meter(machine: Machine, *, gpu: bool = False) -> EnergyMeter | str:
    """The best meter for work on the CPU, or on the graphics card; a text says why there is none."""
    if gpu:
        return _nvml_meter(machine)
    found = _rapl_meters(machine)
    if isinstance(found, EnergyMeter):
        return found
    return _battery_meter(machine) or found


# --- RAPL -----------------------------------------------------------------------------------------------------


def _rapl_meters(machine: Machine) -> EnergyMeter | str:
    """One meter for all packages; their counters are in microjoules."""
    zones = [
        f"{POWERCAP}/{zone}"
        for zone in machine.list(POWERCAP)
        if re.fullmatch(r"(intel|amd)-rapl:\d+", zone)
        and (machine.read(f"{POWERCAP}/{zone}/name") or "").startswith("package")
    ]
    if not zones:
        return "no counter: neither RAPL (/sys/class/powercap) nor a battery"
    paths = [f"{zone}/energy_uj" for zone in zones]
    if any(machine.denied(path) for path in paths):
        return f"only root may read the energy counter ({paths[0]})"
    counters = [_Turning(machine, zone) for zone in zones]

    def read() -> float | None:
        values = [counter.joules() for counter in counters]
        return None if None in values else sum(value for value in values if value is not None)

    if read() is None:
        return f"the energy counter cannot be read ({paths[0]})"
    packages = f"{len(zones)} processor packages" if len(zones) > 1 else "the processor package"
    return EnergyMeter(packages, "RAPL", read)


class _Turning:
    """A counter of microjoules that starts again from zero after `max_energy_range_uj`."""

    def __init__(self, machine: Machine, zone: str) -> None:
        self._machine, self._path = machine, f"{zone}/energy_uj"
        self._range = machine.read_int(f"{zone}/max_energy_range_uj") or 0
        self._last: int | None = None
        self._turns = 0

    def joules(self) -> float | None:
        now = self._machine.read_int(self._path)
        if now is None:
            return None
        if self._last is not None and now < self._last:
            self._turns += 1
        self._last = now
        return (now + self._turns * self._range) / 1e6


# --- battery --------------------------------------------------------------------------------------------------


def _battery_meter(machine: Machine) -> EnergyMeter | None:
    """The power drawn from a discharging battery, added up between readings; None where none discharges.

    `power_now` is in microwatts; phones give microamperes and microvolts instead. The charge itself moves in steps
    of dozens of joules, too coarse for a test of seconds.
    """
    for name in machine.list(SUPPLIES):
        folder = f"{SUPPLIES}/{name}"
        if (
            machine.read(f"{folder}/type") == "Battery"
            and machine.read(f"{folder}/scope") != "Device"
            and machine.read(f"{folder}/status") == "Discharging"
            and _battery_watts(machine, folder) is not None
        ):
            return EnergyMeter("the whole device", f"battery {name}", _Drawn(machine, folder).joules)
    return None


def _battery_watts(machine: Machine, folder: str) -> float | None:
    power = machine.read_int(f"{folder}/power_now")
    if power is not None:
        return abs(power) / 1e6
    current, voltage = machine.read_int(f"{folder}/current_now"), machine.read_int(f"{folder}/voltage_now")
    return abs(current) * voltage / 1e12 if current is not None and voltage is not None else None


class _Drawn:
    """Watts added up over time by the trapezoidal rule."""

    def __init__(self, machine: Machine, folder: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._machine, self._folder, self._clock = machine, folder, clock
        self._at, self._watts, self._total = clock(), 0.0, 0.0
        self._watts = _battery_watts(machine, folder) or 0.0

    def joules(self) -> float | None:
        watts, now = _battery_watts(self._machine, self._folder), self._clock()
        if watts is None:
            return None
        self._total += (self._watts + watts) / 2 * (now - self._at)
        self._at, self._watts = now, watts
        return self._total


# --- NVIDIA ---------------------------------------------------------------------------------------------------


def _nvml_meter(machine: Machine) -> EnergyMeter | str:
    """All visible cards together; Volta and newer count millijoules since the driver was loaded."""
    if not machine.is_local:
        return "no counter: the cards are not in this machine"
    try:
        import pynvml

        pynvml.nvmlInit()
        cards = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except Exception as error:  # every failure of a driver's library means the same here
        return f"no counter: NVML does not answer ({error})"
    return _card_meter(pynvml, cards)


def _card_meter(nvml: Any, cards: list[Any]) -> EnergyMeter | str:
    def read() -> float | None:
        try:
            return float(sum(nvml.nvmlDeviceGetTotalEnergyConsumption(card) for card in cards)) / 1e3
        except nvml.NVMLError:
            return None

    if not cards or read() is None:
        return "no counter: this card does not count (older than Volta)"
    return EnergyMeter(
        f"{len(cards)} graphics cards" if len(cards) > 1 else "the graphics card", "NVML", read
    )
