"""Runs the probes and puts their answers together to a `Device`. A probe that breaks becomes a note.

Each probe fills one part of the device and says where it read each fact. What the probes leave out is filled in from
the library where the chip or the machine is known there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from profiles.budget import budget_cleared, reserve_source
from profiles.device import Accelerator, Cpu, Device, DeviceClass, Memory, Note, Platform, Power, Storage
from profiles.ledger import Ledger
from profiles.machine import Machine
from profiles.probes.amd import probe_amd
from profiles.probes.apple import probe_apple
from profiles.probes.cgroup import CgroupLimits, read_cgroup
from profiles.probes.cpu import probe_cpu
from profiles.probes.intel import probe_intel
from profiles.probes.memory import probe_memory
from profiles.probes.mobile import probe_mobile
from profiles.probes.nvidia import probe_nvidia
from profiles.probes.platform import DMI, android_properties, probe_platform
from profiles.probes.power import probe_power
from profiles.probes.storage import probe_storage

T = TypeVar("T")
AcceleratorProbe = Callable[[Machine, Ledger], tuple[Accelerator, ...]]

ACCELERATOR_PROBES: dict[str, AcceleratorProbe] = {
    "nvidia": probe_nvidia,
    "amd": probe_amd,
    "intel": probe_intel,
    "apple": probe_apple,
    "mobile": probe_mobile,
}
# Chassis types of SMBIOS (DSP0134, 7.4.1) that have a screen and a battery, and those that stand in racks
_PORTABLE = {8, 9, 10, 11, 14, 30, 31, 32}
_RACK = {17, 23, 25, 28, 29}
_SERVER_NAMES = re.compile(r"xeon|epyc|opteron|neoverse|graviton|ampere|altra", re.IGNORECASE)


def detect(machine: Machine | None = None, *, measure: bool = False) -> Device:
    """What this machine (or a recorded one) is.

    measure: also measure the memory bandwidth (under a second) and ask the slow sources; only for this machine.
    Never raises because of a probe: what could not be read is null and has a note.
    """
    machine = machine or Machine()
    sources: dict[str, str] = {}
    notes: list[Note] = []

    def run(part: str, probe: Callable[[Ledger], T], empty: T) -> T:
        ledger = Ledger(part)
        try:
            answer = probe(ledger)
        except Exception as error:  # one broken probe must not cost the rest of the profile
            notes.append(Note(part, f"the probe failed: {type(error).__name__}: {error}"))
            return empty
        sources.update(ledger.sources)
        notes.extend(ledger.notes)
        return answer

    limits = run("memory.limit_bytes", lambda _: read_cgroup(machine), CgroupLimits())
    cpu = run("cpu", lambda ledger: probe_cpu(machine, ledger, limits.cpu_quota), Cpu())
    memory = run("memory", lambda ledger: probe_memory(machine, ledger, limits), Memory())
    accelerators: tuple[Accelerator, ...] = ()
    for vendor, probe in ACCELERATOR_PROBES.items():
        # Each probe counts its own from 0; the paths move behind those that were found before.
        first = len(accelerators)
        count = len(notes)
        own: dict[str, str] = {}
        nothing: tuple[Accelerator, ...] = ()
        found = run("accelerators", _shifted(probe, machine, first, own), nothing)
        sources.update(own)
        accelerators += found
        notes[count:] = [
            Note(n.field, f"{vendor}: {n.message}") if n.field == "accelerators" else n for n in notes[count:]
        ]
    storage = run("storage", lambda ledger: probe_storage(machine, ledger), Storage())
    power = run("power", lambda ledger: probe_power(machine, ledger), Power())
    platform = run("platform", lambda ledger: probe_platform(machine, ledger), Platform())
    class_, class_source = classify(machine, cpu, accelerators, power, platform)
    if class_ is not None:
        sources["class"] = class_source
    name, name_source = _name(machine, cpu, accelerators, platform, class_)
    if name is not None:
        sources["name"] = name_source
    memory = _with_budgets(memory, limits, class_, sources, notes)
    device = Device(
        name=name,
        class_=class_,
        cpu=cpu,
        memory=memory,
        accelerators=accelerators,
        storage=storage,
        power=power,
        platform=platform,
        sources=sources,
        notes=tuple(notes),
    )
    from profiles.fill import fill_in

    try:
        # Android and macOS hide their GPU in containers and sandboxes, yet the chip always has it.
        device = fill_in(device, add_accelerators=machine.system in ("android", "darwin"))
    except Exception as error:
        device = msgspec.structs.replace(
            device, notes=(*device.notes, Note("", f"the device library cannot be used: {error}"))
        )
    if measure and machine.is_local:
        from profiles.measure import measured

        device = measured(device)
    return device


def _shifted(
    probe: AcceleratorProbe, machine: Machine, first: int, sources: dict[str, str]
) -> Callable[[Ledger], tuple[Accelerator, ...]]:
    """The probe, with its paths "accelerators.0…" moved by `first`."""

    def move(path: str) -> str:
        part, _, rest = path.partition(".")
        index, dot, field = rest.partition(".")
        return f"{part}.{int(index) + first}{dot}{field}" if index.isdigit() else path

    def run(ledger: Ledger) -> tuple[Accelerator, ...]:
        found = probe(machine, ledger)
        sources.update({move(path): source for path, source in ledger.sources.items()})
        ledger.sources.clear()
        ledger.notes[:] = [Note(move(note.field), note.message) for note in ledger.notes]
        return found

    return run


def classify(
    machine: Machine, cpu: Cpu, accelerators: tuple[Accelerator, ...], power: Power, platform: Platform
) -> tuple[DeviceClass | None, str]:
    """The class of a device, and the fact that decided it."""
    model = (platform.machine_model or "").lower()
    if machine.system == "android":
        tablet = "tablet" in android_properties(machine).get("ro.build.characteristics", "")
        return ("tablet" if tablet else "phone"), "Android's build characteristics"
    if machine.system == "darwin" and cpu.vendor == "Apple":
        return "apple", "macOS on an Apple chip"
    if "jetson" in model or "tegra" in (cpu.name or "").lower():
        return "jetson", "the device tree's model"
    discrete = [a for a in accelerators if not a.shared_memory]
    for vendor, class_ in (("NVIDIA", "nvidia"), ("AMD", "amd"), ("Intel", "intel-gpu")):
        if any(a.vendor == vendor for a in discrete):
            return class_, f"a discrete {vendor} GPU"  # type: ignore[return-value]
    if any(a.vendor == "NVIDIA" for a in accelerators):
        return "nvidia", "an NVIDIA GPU"
    chassis = machine.read_int(f"{DMI}/chassis_type")
    if chassis in _PORTABLE or power.battery_percent is not None:
        return "laptop", "chassis type or battery"
    if chassis in _RACK or _SERVER_NAMES.search(cpu.name or ""):
        return "server-cpu", "chassis type or processor name"
    if cpu.architecture in ("aarch64", "riscv64") and machine.exists("/proc/device-tree/model"):
        return "sbc", "an Arm or RISC-V board with a device tree"
    if cpu.name is None and cpu.architecture is None:
        return None, ""
    return "desktop-cpu", "no battery, no discrete GPU, no server processor"


def _name(
    machine: Machine,
    cpu: Cpu,
    accelerators: tuple[Accelerator, ...],
    platform: Platform,
    class_: DeviceClass | None,
) -> tuple[str | None, str]:
    """What to call the device: the thing that decides its speed."""
    if class_ in ("phone", "tablet", "sbc", "jetson") and platform.machine_model:
        return platform.machine_model, "platform.machine_model"
    if class_ == "apple" and accelerators and accelerators[0].name:
        return accelerators[0].name, "accelerators.0.name"
    discrete = next((a.name for a in accelerators if a.name and not a.shared_memory), None)
    if discrete is not None:
        return f"{discrete} ({cpu.name})" if cpu.name else discrete, "accelerator and cpu.name"
    if cpu.name:
        return cpu.name, "cpu.name"
    return platform.machine_model, "platform.machine_model"


def _with_budgets(
    memory: Memory,
    limits: CgroupLimits,
    class_: DeviceClass | None,
    sources: dict[str, str],
    notes: list[Note],
) -> Memory:
    candidates = [v for v in (memory.available_bytes, limits.memory_headroom_bytes) if v is not None]
    now = min(candidates, default=None)
    cleared = budget_cleared(memory, class_)
    if now is None:
        notes.append(Note("memory.budget_now_bytes", "the available memory is unknown"))
    else:
        by_group = now == limits.memory_headroom_bytes and now != memory.available_bytes
        sources["memory.budget_now_bytes"] = (
            f"headroom of the control group {limits.memory_path}, page cache given back"
            if by_group
            else "memory.available_bytes"
        )
    if cleared is None:
        notes.append(Note("memory.budget_cleared_bytes", "the total memory is unknown"))
    else:
        # What is available now is available with other applications closed, whatever our reserve says.
        cleared = max(cleared, now or 0)
        sources["memory.budget_cleared_bytes"] = reserve_source(class_)
    return msgspec.structs.replace(memory, budget_now_bytes=now, budget_cleared_bytes=cleared)
