"""Is the machine quiet enough for a number that means something?

A disturbed machine measured 6.6 tokens/s where an idle one measured 68. So what other programs and the hypervisor
take of the CPUs is watched before a test and during it, with the state of clock and power beside it. Everything is
read through a `Machine`, so that recorded trees are judged as this machine is.

    before = look(machine)                  # half a second
    watch = Watch(machine, pids=[worker])
    ...                                     # run
    taken = watch.stop()
    taken.shortage(threads)                 # share of the threads' time that others took
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable

import msgspec

from profiles.errors import NoisyError
from profiles.ledger import Ledger
from profiles.machine import Machine
from profiles.probes.platform import probe_platform
from profiles.probes.power import probe_power
from profiles.spread import LEAST

LOOK_S = 0.5
WAIT_S = 10.0
SLIGHT = 0.05  # share of the threads' time taken by others that is not worth a word
VIRTUAL = 0.06  # what a virtual machine's speed changed by from one minute to the next, nothing else running
HEAVY = 0.20  # more than this, and the number means nothing

CPUS = "/sys/devices/system/cpu"
_RASPBERRY = "/sys/devices/platform/soc/soc:firmware/get_throttled"
# These drivers choose the clock themselves: their "powersave" is what everybody runs with.
_SELF_GOVERNING = ("intel_pstate", "amd-pstate-epp")


class CpuTimes(msgspec.Struct, frozen=True):
    """Seconds since the machine started, summed over the CPUs that this process may use."""

    cpus: int
    busy_s: float
    steal_s: float  # what the hypervisor gave to others


class Taken(msgspec.Struct, frozen=True):
    """What others took while we looked, in CPUs: 1.5 is one CPU and half of another."""

    seconds: float
    cpus: int
    others: float
    steal: float
    throttled: int = 0  # times the processor slowed itself down against heat

    def shortage(self, threads: int) -> float:
        """The share of the time of `threads` busy threads that others take, 0 to 1."""
        threads = min(threads, self.cpus)
        return min(1.0, max(0.0, self.others + self.steal + threads - self.cpus) / threads)

    def reasons(self, threads: int) -> tuple[str, ...]:
        """What disturbed, in words; empty where nothing did."""
        found = []
        if self.shortage(threads) > SLIGHT:
            if self.others > self.steal:
                found.append(
                    f"other programs took {self.others:.1f} of {self.cpus} CPUs, "
                    f"{self.shortage(threads):.0%} of the time of {_count(threads)}"
                )
            else:
                found.append(f"the hypervisor withheld {self.steal:.1f} of {self.cpus} CPUs (steal time)")
        elif self.others > 0.5 and self.others > 0.25 * self.cpus:
            found.append(
                f"other programs used {self.others:.1f} of {self.cpus} CPUs: memory bandwidth and clock are shared"
            )
        if self.throttled:
            found.append(f"the processor slowed down against heat ({self.throttled} times)")
        return tuple(found)


def look(machine: Machine, seconds: float = LOOK_S, pids: Iterable[int] = ()) -> Taken | None:
    """What others take just now; None where the system does not tell."""
    watch = Watch(machine, pids)
    time.sleep(seconds)
    return watch.stop()


def wait_until_quiet(
    machine: Machine, threads: int, limit_s: float = WAIT_S, *, report: Callable[[], None] = lambda: None
) -> None:
    """Return once others leave the CPUs to `threads`, at once where they do. Raises NoisyError after `limit_s`.

    `report` is called before each look; what it raises ends the waiting.
    """
    until = time.monotonic() + limit_s
    report()
    while (seen := look(machine)) is not None and seen.shortage(threads) > HEAVY:
        if time.monotonic() > until:
            top = busiest()
            who = f": {', '.join(top)}" if top else ""
            raise NoisyError(
                f"this machine is too busy to measure: {'; '.join(seen.reasons(threads))}{who}. "
                "Wait for it or close it, then try again"
            )
        report()


class Watch:
    """Counts what others take from its making until `stop`. Our own work is what we and `pids` used."""

    def __init__(self, machine: Machine, pids: Iterable[int] = ()) -> None:
        self._machine = machine
        self._pids = tuple(pids)
        self._started = time.monotonic()
        self._before = cpu_times(machine)
        self._throttled = throttle_count(machine)
        self._own = self._own_seconds()

    def stop(self) -> Taken | None:
        """What others took since the start, or None where the system does not tell."""
        after, own = cpu_times(self._machine), self._own_seconds() - self._own
        seconds = time.monotonic() - self._started
        before = self._before
        if before is None or after is None or seconds <= 0:
            return None
        throttled = throttle_count(self._machine)
        return taken(before, after, own, seconds, (throttled or 0) - (self._throttled or 0))

    def _own_seconds(self) -> float:
        if not self._machine.is_local:
            return 0.0
        used = sum(os.times()[:2])
        import psutil

        for pid in self._pids:
            with contextlib.suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()
                used += times.user + times.system
        return used


def taken(before: CpuTimes, after: CpuTimes, own_s: float, seconds: float, throttled: int = 0) -> Taken:
    """The difference of two readings `seconds` apart, less our own work."""
    others = (after.busy_s - before.busy_s - own_s) / seconds
    steal = (after.steal_s - before.steal_s) / seconds
    return Taken(seconds, after.cpus, max(0.0, others), max(0.0, steal), max(0, throttled))


def cpu_times(machine: Machine) -> CpuTimes | None:
    """Counters of the CPUs this process may use: /proc/stat, or psutil where there is none."""
    text = machine.read("/proc/stat")
    if text is None:
        return _portable_cpu_times() if machine.is_local else None
    allowed = _allowed() if machine.is_local else None
    ticks = float(os.sysconf("SC_CLK_TCK")) if machine.is_local else 100.0
    busy = steal = cpus = 0
    for number, fields in re.findall(r"^cpu(\d+) ([\d ]+)$", text, re.MULTILINE):
        if allowed is None or int(number) in allowed:
            user, nice, system, _idle, _iowait, irq, softirq, stolen = (
                [*map(int, fields.split())] + [0] * 8
            )[:8]
            busy += user + nice + system + irq + softirq
            steal += stolen
            cpus += 1
    return CpuTimes(cpus, busy / ticks, steal / ticks) if cpus else None


def _allowed() -> set[int] | None:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _portable_cpu_times() -> CpuTimes | None:
    import psutil

    times = psutil.cpu_times()
    return CpuTimes(psutil.cpu_count() or 1, times.user + times.system + getattr(times, "nice", 0.0), 0.0)


def throttle_count(machine: Machine) -> int | None:
    """How often the CPUs slowed down against heat since the start (Intel); None where that is not counted."""
    counts = [
        machine.read_int(f"{CPUS}/{cpu}/thermal_throttle/core_throttle_count")
        for cpu in machine.list(CPUS)
        if re.fullmatch(r"cpu\d+", cpu)
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def between_runs(machine: Machine) -> float:
    """The share by which a rate differs from one start of the program to the next, however steady each is."""
    return VIRTUAL if _is_virtual(machine) else LEAST


def _is_virtual(machine: Machine) -> bool:
    return probe_platform(machine, Ledger("platform")).virtual_machine not in (None, "none")


def conditions(machine: Machine) -> tuple[str, ...]:
    """What holds the clock down whatever else runs: battery, governor, heat. No noise, but worth knowing."""
    found = []
    if probe_power(machine, Ledger("power")).source == "battery":
        found.append("on battery: the clock may be lower than on mains")
    policy = f"{CPUS}/cpu0/cpufreq"
    governor, driver = machine.read(f"{policy}/scaling_governor"), machine.read(f"{policy}/scaling_driver")
    if governor == "powersave" and driver not in _SELF_GOVERNING:
        found.append("the governor 'powersave' keeps the clock at its lowest")
    if _is_virtual(machine):
        found.append(
            "a virtual machine: what else its host does changes the speed from minute to minute, "
            f"so no interval is narrower than {VIRTUAL:.0%} to each side"
        )
    text = machine.read(_RASPBERRY)
    with contextlib.suppress(ValueError):
        flags = int(text, 16) if text else 0
        if flags & 0x1:
            found.append("under-voltage: this board's power supply is too weak, so it clocks down")
        if flags & 0xE:
            found.append("this board is throttled now: cool it")
    return tuple(found)


def busiest(seconds: float = 0.3, but: Iterable[int] = ()) -> tuple[str, ...]:
    """Names of the other processes that use the CPUs most, with their share; for the message of a refusal."""
    import psutil

    spare = {os.getpid(), *but}
    processes = [process for process in psutil.process_iter() if process.pid not in spare]
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.cpu_percent()
    time.sleep(seconds)
    shares: list[tuple[float, str]] = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            shares.append((process.cpu_percent(), f"{process.name()} (pid {process.pid})"))
    top = sorted(shares, reverse=True)[:3]
    return tuple(f"{name} {share:.0f}%" for share, name in top if share >= 10)


def _count(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"
