"""Temperature and clock, where they can be read: sysfs for the CPU, NVML for NVIDIA cards. Unknown is None."""

from __future__ import annotations

import contextlib
import re
import statistics

import msgspec

from profiles.machine import Machine
from profiles.noise import throttle_count

THERMAL = "/sys/class/thermal"
HWMON = "/sys/class/hwmon"
CPUS = "/sys/devices/system/cpu"
# Zones and chips that measure the processor; others measure disks, batteries, the case.
_CPU_ZONE = re.compile(r"x86_pkg_temp|^cpu|^soc|^big|^little|cpu[-_ ]?thermal|TCPU", re.IGNORECASE)
_CPU_CHIPS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal"})
_PLAUSIBLE_C = (1.0, 130.0)  # unconnected sensors say -273, 0 or 255


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The hottest processor sensor, the mean clock of the CPUs, and how often heat slowed them down so far."""

    temperature_c: float | None = None
    clock_hz: float | None = None
    throttled: int | None = None


def read_sensors(machine: Machine, *, gpu: bool = False) -> Reading:
    """The sensors of the CPU, or of the graphics card."""
    if gpu:
        return _nvidia() if machine.is_local else Reading()
    temperatures = [*_zones(machine), *_chips(machine)]
    clocks = [
        clock
        for cpu in machine.list(CPUS)
        if re.fullmatch(r"cpu\d+", cpu)
        and (clock := machine.read_int(f"{CPUS}/{cpu}/cpufreq/scaling_cur_freq")) is not None
    ]
    return Reading(
        temperature_c=max(temperatures, default=None),
        clock_hz=statistics.fmean(clocks) * 1e3 if clocks else None,
        throttled=throttle_count(machine),
    )


def _zones(machine: Machine) -> list[float]:
    found = []
    for zone in machine.list(THERMAL):
        if _CPU_ZONE.search(machine.read(f"{THERMAL}/{zone}/type") or ""):
            found += _celsius(machine.read_int(f"{THERMAL}/{zone}/temp"))
    return found


def _chips(machine: Machine) -> list[float]:
    found = []
    for chip in machine.list(HWMON):
        if machine.read(f"{HWMON}/{chip}/name") in _CPU_CHIPS:
            for file in machine.list(f"{HWMON}/{chip}"):
                if re.fullmatch(r"temp\d+_input", file):
                    found += _celsius(machine.read_int(f"{HWMON}/{chip}/{file}"))
    return found


def _celsius(thousandths: int | None) -> list[float]:
    """Degrees, in a list that is empty for what no processor can have. Some phones give whole degrees."""
    if thousandths is None:
        return []
    degrees = thousandths / 1000 if abs(thousandths) >= 1000 else float(thousandths)
    return [degrees] if _PLAUSIBLE_C[0] <= degrees <= _PLAUSIBLE_C[1] else []


def _nvidia() -> Reading:
    """The hottest card and the mean clock of all."""
    with contextlib.suppress(Exception):  # a driver that does not answer knows nothing
        import pynvml

        pynvml.nvmlInit()
        cards = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        if cards:
            return Reading(
                temperature_c=float(
                    max(pynvml.nvmlDeviceGetTemperature(card, pynvml.NVML_TEMPERATURE_GPU) for card in cards)
                ),
                clock_hz=1e6
                * statistics.fmean(
                    pynvml.nvmlDeviceGetClockInfo(card, pynvml.NVML_CLOCK_SM) for card in cards
                ),
            )
    return Reading()
