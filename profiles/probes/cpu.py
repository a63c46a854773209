"""The processor: name, cores by kind, threads this process may use, caches, kernel features, clocks.

Linux and Android: /proc/cpuinfo and /sys/devices/system/cpu. macOS: `sysctl`. Elsewhere (Windows, BSD): psutil for
the counts; the features there need py-cpuinfo, which takes 1.2 s, so `detect` asks it only for `--measure`.
"""

from __future__ import annotations

import math
import re

from profiles.device import Cpu
from profiles.ledger import Ledger
from profiles.machine import Machine
from profiles.probes.apple import sysctl
from profiles.probes.cpu_tables import (
    APPLE_FEATURES,
    ARM_IMPLEMENTERS,
    ARM_PARTS,
    LITTLE_PARTS,
    arm_features,
    riscv_features,
    x86_features,
)

CPUS = "/sys/devices/system/cpu"
# Below this share of the fastest core's capacity (or clock) a core is an efficiency core: a Cortex-A55 or A520 has
# 15-30% of the capacity of the big core beside it, a mid core (A720, A78) 50-80%; Zen 5c has 65% of Zen 5's clock.
EFFICIENCY_CAPACITY = 0.45
EFFICIENCY_CLOCK = 0.70
MOST_CPUS = 8192  # what Linux can be built for; a target that claims more must not fill memory


def probe_cpu(machine: Machine, ledger: Ledger, quota: float | None = None) -> Cpu:
    """The processor; `quota` is the cgroup's share in processors, which caps `usable_threads`."""
    if machine.system == "darwin":
        return _darwin(machine, ledger, quota)
    if machine.system in ("linux", "android"):
        return _linux(machine, ledger, quota)
    return _elsewhere(machine, ledger, quota)


def parse_list(text: str | None) -> list[int]:
    """Processor numbers of a kernel list: "0-3,8" is [0, 1, 2, 3, 8]. Numbers that no kernel has are left out."""
    numbers: list[int] = []
    for part in (text or "").split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        if match and len(numbers) < MOST_CPUS:
            numbers += range(int(match[1]), min(int(match[2] or match[1]), MOST_CPUS) + 1)
    return numbers


def parse_size(text: str | None) -> int | None:
    """Bytes of a kernel size: "512K", "32M"."""
    match = re.fullmatch(r"(\d+)([KMG]?)B?", (text or "").strip(), re.IGNORECASE)
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()] if match else None


def _linux(machine: Machine, ledger: Ledger, quota: float | None) -> Cpu:
    blocks, tail = _cpuinfo(machine.read("/proc/cpuinfo") or "")
    first = blocks[0] if blocks else {}
    online = parse_list(machine.read(f"{CPUS}/online")) or list(range(len(blocks)))
    if not online:
        ledger.note("", "neither /proc/cpuinfo nor /sys/devices/system/cpu can be read")
        return Cpu()
    name, architecture, isa = _identity(machine, blocks, tail)
    cores = _physical_cores(machine, online, first)
    if len(online) > 1 and all(kind == "cpu" for kind, _ in cores.values()):
        ledger.note("cores", "the kernel exposes no topology: every thread is counted as a core")
    performance, efficiency, why = _kinds(machine, online, cores, blocks)
    if name is None:
        ledger.note("name", "this kernel gives no processor name and the part number is not in our table")
    base, boost = _clocks(machine, online, first)
    if boost is None:
        ledger.note("boost_hz", "cpufreq is not exposed here (usual in virtual machines and containers)")
    l1, l2, l3 = _caches(machine, online)
    if l1 is None:
        ledger.note("l1d_bytes", "the kernel exposes no cache description")
    if not isa:
        ledger.note("isa", "no feature flags in /proc/cpuinfo")
    fact, info = ledger.fact, "/proc/cpuinfo"
    return Cpu(
        name=fact("name", name, info),
        vendor=fact("vendor", _vendor(first), info),
        architecture=fact("architecture", architecture, info),
        performance_cores=fact("performance_cores", performance, why),
        efficiency_cores=fact("efficiency_cores", efficiency, why),
        cores=fact("cores", len(set(cores.values())), f"{CPUS}/cpu*/topology"),
        threads=fact("threads", len(online), f"{CPUS}/online"),
        usable_threads=_usable(machine, ledger, len(online), quota),
        isa=fact("isa", isa or None, f"{info} flags"),
        l1d_bytes=fact("l1d_bytes", l1, f"{CPUS}/cpu*/cache"),
        l2_bytes=fact("l2_bytes", l2, f"{CPUS}/cpu*/cache"),
        l3_bytes=fact("l3_bytes", l3, f"{CPUS}/cpu*/cache"),
        base_hz=fact("base_hz", base, f"{CPUS}/cpu*/cpufreq/base_frequency, or the name"),
        boost_hz=fact("boost_hz", boost, f"{CPUS}/cpu*/cpufreq/cpuinfo_max_freq"),
    )


def _cpuinfo(text: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    """One dictionary a processor, and the lines that belong to none (Hardware, Model, Serial on ARM)."""
    blocks: list[dict[str, str]] = []
    tail: dict[str, str] = {}
    for paragraph in re.split(r"\n\s*\n", text):
        fields = {}
        for line in paragraph.splitlines():
            key, colon, value = line.partition(":")
            if colon:
                fields[key.strip()] = value.strip()
        if "processor" in fields and fields["processor"].isdigit():
            blocks.append(fields)
        elif fields:
            tail.update(fields)
    # Some ARM kernels print the name and features once, before or after all processors.
    return blocks, {**(blocks[-1] if blocks else {}), **tail}


def _identity(
    machine: Machine, blocks: list[dict[str, str]], tail: dict[str, str]
) -> tuple[str | None, str | None, tuple[str, ...]]:
    """(name, architecture, features) of the processors; the features are those that all of them have."""
    first = blocks[0] if blocks else {}
    if "flags" in first:
        return _clean_name(first.get("model name")), "x86_64", x86_features(first["flags"].split())
    if "Features" in tail or "CPU part" in tail:
        flags = [block["Features"].split() for block in blocks if "Features" in block] or [
            tail.get("Features", "").split()
        ]
        common = [flag for flag in flags[0] if all(flag in other for other in flags)]
        return _arm_name(machine, blocks, tail), "aarch64", arm_features(common)
    if "isa" in first:
        name = _soc_name(machine) or first.get("uarch")
        return name, "riscv64", riscv_features(first["isa"])
    return _clean_name(first.get("model name") or tail.get("cpu")), None, ()


def _clean_name(name: str | None) -> str | None:
    return re.sub(r"\s+", " ", name).strip() or None if name else None


def _arm_name(machine: Machine, blocks: list[dict[str, str]], tail: dict[str, str]) -> str | None:
    """The chip where the firmware names it, else its cores: "Cortex-A76", "Cortex-X3 + Cortex-A715 + …"."""
    soc = _soc_name(machine)
    hardware = tail.get("Hardware", "")
    if soc is None and hardware and "generic" not in hardware.lower():
        soc = hardware.removeprefix("Qualcomm Technologies, Inc ").strip()
    if soc:
        return soc
    names = []
    for block in blocks:
        part = ARM_PARTS.get((block.get("CPU implementer", "").lower(), block.get("CPU part", "").lower()))
        if part and part not in names:
            names.append(part)
    return " + ".join(names) or _clean_name(tail.get("model name"))


def _soc_name(machine: Machine) -> str | None:
    """Chip name from Android's properties or the last entry of the device tree's compatible list."""
    if machine.system == "android":
        from profiles.probes.platform import android_properties

        properties = android_properties(machine)
        for key in ("ro.soc.model", "ro.hardware.chipname", "ro.board.platform"):
            if properties.get(key):
                return properties[key]
    compatible = machine.read("/proc/device-tree/compatible") or machine.read(
        "/sys/firmware/devicetree/base/compatible"
    )
    entries = [entry for entry in (compatible or "").split("\0") if "," in entry]
    return entries[-1].partition(",")[2].upper() if entries else None


def _vendor(block: dict[str, str]) -> str | None:
    vendors = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}
    name = block.get("vendor_id")
    if name:
        return vendors.get(name, name)
    return ARM_IMPLEMENTERS.get(block.get("CPU implementer", "").lower())


def _physical_cores(machine: Machine, online: list[int], first: dict[str, str]) -> dict[int, tuple[str, str]]:
    """Processor number -> the core it belongs to."""
    cores: dict[int, tuple[str, str]] = {}
    for number in online:
        siblings = machine.read(f"{CPUS}/cpu{number}/topology/thread_siblings_list")
        cores[number] = ("siblings", siblings) if siblings else ("cpu", str(number))
    if all(key[0] == "cpu" for key in cores.values()) and first.get("siblings") and first.get("cpu cores"):
        threads, physical = first["siblings"], first["cpu cores"]
        if threads.isdigit() and physical.isdigit() and 0 < int(physical) < int(threads):
            return {n: ("core", str(i * int(physical) // int(threads))) for i, n in enumerate(online)}
    return cores


def _kinds(
    machine: Machine, online: list[int], cores: dict[int, tuple[str, str]], blocks: list[dict[str, str]]
) -> tuple[int, int, str]:
    """(performance cores, efficiency cores, where that was read); equal cores are all performance cores."""

    def count(numbers: set[int]) -> int:
        return len({cores[number] for number in numbers})

    everything = set(online)
    atom = set(parse_list(machine.read("/sys/devices/cpu_atom/cpus"))) & everything
    if atom:
        return count(everything - atom), count(atom), "/sys/devices/cpu_core and cpu_atom"
    little = {
        int(block["processor"])
        for block in blocks
        if (block.get("CPU implementer", "").lower(), block.get("CPU part", "").lower()) in LITTLE_PARTS
    } & everything
    if little:
        if little == everything:
            return count(everything), 0, "/proc/cpuinfo CPU part"
        return count(everything - little), count(little), "/proc/cpuinfo CPU part"
    for file, share in (
        ("cpu_capacity", EFFICIENCY_CAPACITY),
        ("cpufreq/cpuinfo_max_freq", EFFICIENCY_CLOCK),
    ):
        values = {n: machine.read_int(f"{CPUS}/cpu{n}/{file}") for n in online}
        known = {n: value for n, value in values.items() if value}
        if len(known) == len(online):
            slow = {n for n, value in known.items() if value < share * max(known.values())}
            if slow or file == "cpu_capacity":
                return count(everything - slow), count(slow), f"{CPUS}/cpu*/{file}"
    return count(everything), 0, f"{CPUS}/cpu*/topology (no sign of two kinds of cores)"


def _clocks(machine: Machine, online: list[int], first: dict[str, str]) -> tuple[int | None, int | None]:
    """(base, boost) in hertz: the slowest base and the fastest boost of all cores."""
    bases = [machine.read_int(f"{CPUS}/cpu{n}/cpufreq/base_frequency") for n in online]
    boosts = [machine.read_int(f"{CPUS}/cpu{n}/cpufreq/cpuinfo_max_freq") for n in online]
    base = max((value for value in bases if value), default=None)
    boost = max((value for value in boosts if value), default=None)
    named = re.search(r"@\s*([\d.]+)\s*GHz", first.get("model name", ""))
    if base is None and named:
        return round(float(named[1]) * 1e9), boost * 1000 if boost else None
    return base * 1000 if base else None, boost * 1000 if boost else None


def _caches(machine: Machine, online: list[int]) -> tuple[int | None, int | None, int | None]:
    """(L1 data, L2, L3) in bytes of one instance, the largest of each level."""
    sizes: dict[str, int] = {}
    # Hybrid chips differ between kinds of cores; the first and the last processor see both.
    for number in {online[0], online[-1], online[len(online) // 2]}:
        for index in machine.list(f"{CPUS}/cpu{number}/cache"):
            folder = f"{CPUS}/cpu{number}/cache/{index}"
            level, kind = machine.read(f"{folder}/level"), machine.read(f"{folder}/type")
            size = parse_size(machine.read(f"{folder}/size"))
            if size and level and kind in ("Data", "Unified"):
                sizes[level] = max(size, sizes.get(level, 0))
    return sizes.get("1"), sizes.get("2"), sizes.get("3")


def _usable(machine: Machine, ledger: Ledger, threads: int, quota: float | None) -> int:
    """Threads this process may keep busy: its affinity mask, capped by the cgroup's quota."""
    status = re.search(r"^Cpus_allowed_list:\s*(\S+)", machine.read("/proc/self/status") or "", re.MULTILINE)
    allowed = min(threads, len(parse_list(status[1])) or threads) if status else threads
    source = "affinity mask in /proc/self/status" if status else "all threads"
    if quota is not None and quota < allowed:
        allowed, source = max(1, math.floor(quota)), f"cgroup quota of {quota:g} processors"
    return ledger.fact("usable_threads", allowed, source)


def _darwin(machine: Machine, ledger: Ledger, quota: float | None) -> Cpu:
    values = sysctl(machine)
    if not values:
        ledger.note("", "sysctl gave no answer")
        return Cpu()

    def number(key: str) -> int | None:
        return int(values[key]) if values.get(key, "").isdigit() else None

    cores = number("hw.physicalcpu")
    arm = values.get("hw.optional.arm64") == "1" or values.get("machdep.cpu.brand_string", "").startswith(
        "Apple"
    )
    isa = tuple(f for key, f in APPLE_FEATURES.items() if values.get(key) == "1") if arm else ()
    if not arm:
        keys = ("machdep.cpu.features", "machdep.cpu.leaf7_features")
        isa = x86_features(" ".join(values.get(key, "") for key in keys).lower().replace(".", "_").split())
    two_kinds = number("hw.nperflevels") == 2
    ledger.note("boost_hz", "macOS does not tell the clocks of its cores")
    performance = number("hw.perflevel0.physicalcpu") if two_kinds else cores
    threads = number("hw.logicalcpu")
    prefix = "hw.perflevel0." if two_kinds else "hw."

    def fact(field: str, value: int | None, key: str) -> int | None:
        return ledger.fact(field, value, f"sysctl {key}")

    return Cpu(
        name=ledger.fact("name", values.get("machdep.cpu.brand_string"), "sysctl machdep.cpu.brand_string"),
        vendor=ledger.fact("vendor", "Apple" if arm else "Intel", "sysctl hw.optional.arm64"),
        architecture=ledger.fact("architecture", "aarch64" if arm else "x86_64", "sysctl hw.optional.arm64"),
        performance_cores=fact("performance_cores", performance, f"{prefix}physicalcpu"),
        efficiency_cores=fact(
            "efficiency_cores",
            number("hw.perflevel1.physicalcpu") if two_kinds else 0,
            "hw.perflevel1.physicalcpu",
        ),
        cores=fact("cores", cores, "hw.physicalcpu"),
        threads=fact("threads", threads, "hw.logicalcpu"),
        usable_threads=fact("usable_threads", threads, "hw.logicalcpu"),
        isa=ledger.fact("isa", isa or None, "sysctl hw.optional, machdep.cpu"),
        l1d_bytes=fact("l1d_bytes", number(f"{prefix}l1dcachesize"), f"{prefix}l1dcachesize"),
        l2_bytes=fact("l2_bytes", number(f"{prefix}l2cachesize"), f"{prefix}l2cachesize"),
        l3_bytes=fact("l3_bytes", number("hw.l3cachesize") or None, "hw.l3cachesize"),
    )


def _elsewhere(machine: Machine, ledger: Ledger, quota: float | None) -> Cpu:
    import platform

    import psutil

    threads, cores = psutil.cpu_count(), psutil.cpu_count(logical=False)
    name = platform.processor() or None
    ledger.note("isa", f"needs a slow look on {machine.system}: run with --measure")
    usable = None if threads is None else max(1, math.floor(min(threads, quota or threads)))
    return Cpu(
        name=ledger.fact("name", name, "platform.processor"),
        architecture=ledger.fact(
            "architecture", _MACHINES.get(platform.machine().lower()), "platform.machine"
        ),
        cores=ledger.fact("cores", cores, "psutil"),
        threads=ledger.fact("threads", threads, "psutil"),
        usable_threads=ledger.fact("usable_threads", usable, "psutil"),
    )


_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
