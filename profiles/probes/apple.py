"""Apple computers: `sysctl`, and the graphics processor from `system_profiler`.

Metal gives a process at most a working set of unified memory. Its default is two thirds of the memory up to 36 GB
and three quarters above (read on a 32 GB M1 Pro and a 128 GB M4 Max); `iogpu.wired_limit_mb` overrides it.
"""

from __future__ import annotations

import re

import msgspec

from profiles.device import Accelerator
from profiles.ledger import Ledger
from profiles.machine import Machine

GIB = 1 << 30
_SYSCTL = ("sysctl", "-a")
_PROFILER = ("system_profiler", "-json", "SPDisplaysDataType")


class _Display(msgspec.Struct):
    name: str | None = msgspec.field(name="sppci_model", default=None)
    cores: str | None = msgspec.field(name="sppci_cores", default=None)
    bus: str | None = msgspec.field(name="sppci_bus", default=None)
    memory: str | None = msgspec.field(name="spdisplays_vram", default=None)


class _Displays(msgspec.Struct):
    displays: list[_Display] = msgspec.field(name="SPDisplaysDataType", default_factory=list)


def sysctl(machine: Machine) -> dict[str, str]:
    """All values of `sysctl -a`; empty where the program gives no answer."""
    values = {}
    for line in (machine.run(*_SYSCTL) or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values[key.strip()] = value.strip()
    return values


def metal_limit(memory_bytes: int, wired_limit_mb: int | None = None) -> int:
    """Bytes Metal lets a process keep resident, from the memory's size or the owner's override in MiB."""
    if wired_limit_mb:
        return wired_limit_mb << 20
    return memory_bytes * 2 // 3 if memory_bytes <= 36 * GIB else memory_bytes * 3 // 4


def probe_apple(machine: Machine, ledger: Ledger) -> tuple[Accelerator, ...]:
    """The graphics processors of a Mac; those of Apple chips share the main memory."""
    if machine.system != "darwin":
        return ()
    values = sysctl(machine)
    text = machine.run(*_PROFILER)
    displays: list[_Display] = []
    if text:
        try:
            displays = msgspec.json.decode(text, type=_Displays).displays
        except msgspec.DecodeError as error:
            ledger.note("", f"system_profiler's answer cannot be read: {error}")
    else:
        ledger.note("", "system_profiler gave no answer: the number of GPU cores is unknown")
    brand = values.get("machdep.cpu.brand_string", "")
    if not displays and brand.startswith("Apple"):
        displays = [_Display(name=brand)]
    found: list[Accelerator] = []
    for i, display in enumerate(displays):
        if display.bus not in (None, "spdisplays_builtin") and not (display.name or "").startswith("Apple"):
            ledger.note(
                f"{i}",
                "an external or discrete GPU of an Intel Mac: llama.cpp's Metal use of it is not modelled",
            )
        found.append(_accelerator(display, values, ledger, len(found)))
    return tuple(found)


def _accelerator(display: _Display, values: dict[str, str], ledger: Ledger, i: int) -> Accelerator:
    profiler = "system_profiler SPDisplaysDataType"
    apple = (display.name or "").startswith("Apple")
    name = display.name
    if apple and display.cores and display.cores.isdigit():
        name = f"{display.name} ({display.cores}-core GPU)"
    size = values.get("hw.memsize", "")
    total = int(size) if size.isdigit() else None
    wired = values.get("iogpu.wired_limit_mb", "")
    override = int(wired) if wired.isdigit() else None
    limit = metal_limit(total, override) if apple and total else None
    memory, memory_source = (total, "sysctl hw.memsize") if apple else (_vram(display.memory), profiler)
    why = "sysctl iogpu.wired_limit_mb" if override else "Metal's default share of hw.memsize"
    ledger.note(f"{i}.memory_bandwidth_bytes_per_s", "macOS does not tell it; the library knows it by chip")
    return Accelerator(
        name=ledger.fact(f"{i}.name", name, profiler if display.cores else "sysctl machdep.cpu.brand_string"),
        vendor=ledger.fact(f"{i}.vendor", "Apple" if apple else None, profiler),
        backend=ledger.fact(f"{i}.backend", "metal", "llama.cpp's backend on macOS"),
        memory_bytes=ledger.fact(f"{i}.memory_bytes", memory, memory_source),
        memory_limit_bytes=ledger.fact(f"{i}.memory_limit_bytes", limit, why),
        shared_memory=ledger.fact(
            f"{i}.shared_memory", True if apple else None, "Apple chips have unified memory"
        ),
    )


def _vram(text: str | None) -> int | None:
    match = re.match(r"(\d+) (MB|GB)", text or "")
    return int(match[1]) << (20 if match[2] == "MB" else 30) if match else None
