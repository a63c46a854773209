"""Main memory: total and available, type, theoretical bandwidth.

Linux and Android: /proc/meminfo. The modules' speed and width stand in the firmware's SMBIOS table (type 17), which
usually only root may read. macOS: `sysctl` and `vm_stat`. Elsewhere: psutil.
"""

from __future__ import annotations

import re

from profiles.device import Memory
from profiles.ledger import Ledger
from profiles.machine import Machine
from profiles.probes.apple import sysctl
from profiles.probes.cgroup import CgroupLimits
from profiles.probes.dmi import read_memory_modules

DMI_TABLE = "/sys/firmware/dmi/tables/DMI"


def probe_memory(machine: Machine, ledger: Ledger, limits: CgroupLimits | None = None) -> Memory:
    """Main memory without its budgets, which need the class of the device (`profiles.budget`)."""
    if machine.system == "darwin":
        return _darwin(machine, ledger)
    if machine.system not in ("linux", "android"):
        return _elsewhere(ledger)
    values = {}
    for line in (machine.read("/proc/meminfo") or "").splitlines():
        match = re.match(r"(\w+):\s+(\d+) kB", line)
        if match:
            values[match[1]] = int(match[2]) << 10
    total, available = values.get("MemTotal"), values.get("MemAvailable")
    source = "/proc/meminfo MemAvailable"
    if available is None and "MemFree" in values:  # kernels before 3.14
        available = values["MemFree"] + values.get("Cached", 0) + values.get("SReclaimable", 0)
        source = "/proc/meminfo MemFree + Cached + SReclaimable"
    if total is None:
        ledger.note("total_bytes", "/proc/meminfo cannot be read")
    limit = limits.memory_limit_bytes if limits else None
    if limit is None:
        why = "no memory controller is mounted" if not limits or limits.version is None else "no limit is set"
        ledger.note("limit_bytes", f"{why} for this process's control group")
    kind, bandwidth = _modules(machine, ledger)
    return Memory(
        total_bytes=ledger.fact("total_bytes", total, "/proc/meminfo MemTotal"),
        available_bytes=ledger.fact("available_bytes", available, source),
        limit_bytes=ledger.fact(
            "limit_bytes", limit, f"cgroup v{limits.version} {limits.memory_path}" if limits else ""
        ),
        type=ledger.fact("type", kind, f"{DMI_TABLE} (SMBIOS type 17)"),
        bandwidth_bytes_per_s=ledger.fact(
            "bandwidth_bytes_per_s", bandwidth, f"{DMI_TABLE} (SMBIOS type 17): channels x width x speed"
        ),
    )


def _modules(machine: Machine, ledger: Ledger) -> tuple[str | None, float | None]:
    table = machine.read_bytes(DMI_TABLE)
    if table is None:
        denied = machine.denied(DMI_TABLE)
        ledger.note(
            "bandwidth_bytes_per_s",
            f"only root may read the firmware's memory table here ({DMI_TABLE})"
            if denied
            else f"no SMBIOS table here ({DMI_TABLE})",
        )
        return None, None
    modules = read_memory_modules(table)
    if modules.bandwidth_bytes_per_s is None:
        ledger.note("bandwidth_bytes_per_s", modules.reason or "the SMBIOS table names no memory module")
    return modules.type, modules.bandwidth_bytes_per_s


def _darwin(machine: Machine, ledger: Ledger) -> Memory:
    size = sysctl(machine).get("hw.memsize", "")
    text = machine.run("vm_stat") or ""
    page = re.search(r"page size of (\d+) bytes", text)
    pages = {
        name: int(count) for name, count in re.findall(r'^"?([^":\n]+)"?:\s+(\d+)\.', text, re.MULTILINE)
    }
    # What macOS hands out without swapping: free, cached files and what applications marked as discardable.
    kinds = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")
    available = sum(pages.get(kind, 0) for kind in kinds) * int(page[1]) if page and pages else None
    if available is None:
        ledger.note("available_bytes", "vm_stat gave no answer")
    ledger.note("bandwidth_bytes_per_s", "macOS does not tell it; the library knows it by chip")
    ledger.note("limit_bytes", "macOS has no control groups")
    return Memory(
        total_bytes=ledger.fact("total_bytes", int(size) if size.isdigit() else None, "sysctl hw.memsize"),
        available_bytes=ledger.fact("available_bytes", available, "vm_stat"),
    )


def _elsewhere(ledger: Ledger) -> Memory:
    import psutil

    memory = psutil.virtual_memory()
    ledger.note("bandwidth_bytes_per_s", "no way to read it on this system without a driver")
    return Memory(
        total_bytes=ledger.fact("total_bytes", int(memory.total), "psutil"),
        available_bytes=ledger.fact("available_bytes", int(memory.available), "psutil"),
    )
