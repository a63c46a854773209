"""Fills what a device leaves out from the library, where the device's, chip's or card's name is known there.

A fact that is already there is never replaced. What was filled in says so in `sources`.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from profiles.budget import GIB, budget_cleared, reserve_source
from profiles.device import Accelerator, Device, Note
from profiles.entry import Entry, accelerator_gaps
from profiles.errors import AmbiguousDeviceError
from profiles.library import build, match

S = TypeVar("S", bound=msgspec.Struct)

# Classes whose memory is a matter of the modules plugged in, not of the chip
OWN_MODULES = ("laptop", "desktop-cpu", "server-cpu", "nvidia", "amd", "intel-gpu")
# What a description of a chip cannot know about the machine it is in
_NOT_FROM_CHIP = ("threads", "usable_threads", "l1d_bytes", "l2_bytes", "l3_bytes")


def fill_in(device: Device, *, add_accelerators: bool = True) -> Device:
    """The device with its gaps filled: by its own name, else its model, else its processor; cards by their names.

    add_accelerators: also take over accelerators when the device lists none (not for a machine that was probed: what
    a probe did not find is not there for the engine either).
    """
    sources = dict(device.sources)
    notes = list(device.notes)
    kept: list[Note] = []
    known, by = _known(device, notes)
    if known is not None:
        # Only a machine that was looked at has modules of its own.
        typical = device.memory.bandwidth_bytes_per_s is None and device.platform.system is not None
        gaps = {
            f"memory.{f}" for f in ("total_bytes", "budget_now_bytes") if getattr(device.memory, f) is None
        }
        device = _fill_from(device, known, by, sources, add_accelerators)
        explained = {note.field for note in notes}
        kept += [note for note in known.notes if note.field in gaps and note.field not in explained]
        notes += kept
        if typical and device.memory.bandwidth_bytes_per_s is not None and device.class_ in OWN_MODULES:
            text = (
                "typical of this processor; the modules in this machine decide: profile --measure reads them"
            )
            if device.platform.virtual_machine not in (None, "none"):
                text = "the whole processor's; a virtual machine gets a share: profile --measure reads it"
            notes.append(Note("memory.bandwidth_bytes_per_s", text))
            kept.append(notes[-1])
    accelerators = tuple(
        _fill_accelerator(accelerator, i, device, sources, notes)
        for i, accelerator in enumerate(device.accelerators)
    )
    device = msgspec.structs.replace(device, accelerators=accelerators)
    if device.memory.budget_cleared_bytes is None:
        ios = device.platform.system == "ios"
        cleared = budget_cleared(device.memory, device.class_, ios=ios)
        if cleared is not None:
            sources["memory.budget_cleared_bytes"] = reserve_source(device.class_, ios=ios)
            memory = msgspec.structs.replace(device.memory, budget_cleared_bytes=cleared)
            device = msgspec.structs.replace(device, memory=memory)
    explained = {note.field for note in notes}
    notes += [note for note in accelerator_gaps(device.accelerators) if note.field not in explained]
    # A gap that was filled needs no excuse any more; one that stays keeps its reason.
    notes = [
        n for n in notes if n in kept or not (n.field in sources and sources[n.field].startswith("library:"))
    ]
    return msgspec.structs.replace(device, sources=sources, notes=tuple(notes))


def _known(device: Device, notes: list[Note]) -> tuple[Device | None, str]:
    """(library device, the name it was found by)."""
    names = (device.name, device.platform.machine_model, device.cpu.name)
    for name in dict.fromkeys(filter(None, names)):
        size = device.memory.total_bytes
        try:
            known = _match_with_hints(name, device)
        except AmbiguousDeviceError as error:
            notes.append(Note("name", f"{error}: {', '.join(error.nearest)}"))
            continue
        if known is None:
            continue
        hinted, entries, note = known
        if name != device.name and entries[0].kind == "card":
            continue
        if note and not size:
            notes.append(Note("name", note))
        return build(hinted), name
    return None, ""


def _match_with_hints(name: str, device: Device) -> tuple[str, list[Entry], str | None] | None:
    """(name, entries, note); where the name alone is ambiguous, cores and memory may tell the variant.

    An "Apple M3 Max" with 12 performance cores is the one with 40 GPU cores. Raises AmbiguousDeviceError.
    """
    try:
        found = match(name)
    except AmbiguousDeviceError:
        cpu, size = device.cpu, device.memory.total_bytes
        cores = f" {cpu.performance_cores}P+{cpu.efficiency_cores}E" if cpu.performance_cores else ""
        memory = f" {round(size / GIB)} GB" if size else ""
        if not cores and not memory:
            raise
        name += cores + memory
        found = match(name)
    return None if found is None else (name, found[0], found[2])


def _fill_from(
    device: Device, known: Device, by: str, sources: dict[str, str], add_accelerators: bool
) -> Device:
    """Device, CPU, memory and, where wanted, accelerators from a library device."""
    cpu, memory = device.cpu, device.memory
    own_chip = by == device.cpu.name or device.cpu.name is None
    same = own_chip or by in (device.name, device.platform.machine_model)
    if same:
        cpu = _fill(cpu, known.cpu, "cpu", known, sources, skip=_NOT_FROM_CHIP if cpu.threads else ())
    memory = _fill(
        memory,
        known.memory,
        "memory",
        known,
        sources,
        skip=("budget_cleared_bytes", "budget_now_bytes") if memory.total_bytes else ("budget_now_bytes",),
    )
    class_ = device.class_
    if class_ is None and known.class_ is not None:
        class_ = known.class_
        sources["class"] = known.sources["class"]
    name = device.name
    if name is None and known.name is not None:
        name = known.name
        sources["name"] = known.sources["name"]
    accelerators = device.accelerators
    if not accelerators and add_accelerators:
        accelerators = known.accelerators
        sources.update({p: s for p, s in known.sources.items() if p.startswith("accelerators.")})
        if device.memory.total_bytes is not None:
            accelerators = tuple(
                _relimit(
                    a,
                    device.memory.total_bytes,
                    device.platform.system == "ios" or known.platform.system == "ios",
                )
                for a in accelerators
            )
    else:
        # A shared GPU the device names without its figures: the same chip's GPU has them.
        accelerators = tuple(
            _fill(
                a, k, f"accelerators.{i}", known, sources, known_path="accelerators.0", skip=("memory_bytes",)
            )
            if k is not None
            and a.shared_memory is not False
            and k.shared_memory
            and a.backend in (None, k.backend)
            else a
            for i, a in enumerate(accelerators)
            for k in [known.accelerators[0] if known.accelerators else None]
        )
    platform = device.platform
    if platform.system is None and known.platform.system is not None:
        platform = msgspec.structs.replace(platform, system=known.platform.system)
        sources["platform.system"] = known.sources["platform.system"]
    return msgspec.structs.replace(
        device, name=name, class_=class_, cpu=cpu, memory=memory, accelerators=accelerators, platform=platform
    )


def _relimit(accelerator: Accelerator, total: int, ios: bool) -> Accelerator:
    """Metal's limit for the memory this device really has."""
    if accelerator.backend != "metal" or ios:
        return accelerator
    from profiles.probes.apple import metal_limit

    return msgspec.structs.replace(accelerator, memory_limit_bytes=metal_limit(total))


def _fill_accelerator(
    accelerator: Accelerator, i: int, device: Device, sources: dict[str, str], notes: list[Note]
) -> Accelerator:
    """One accelerator's gaps, by its name; a shared one's bandwidth is its host's."""
    path = f"accelerators.{i}"
    if accelerator.name is not None:
        size = accelerator.memory_bytes
        # The size tells variants apart (RTX 4060 Ti 8 or 16 GB); cards show a little less than what is sold.
        hint = f" {round(size / 2**30)} GB" if size and not accelerator.shared_memory else ""
        try:
            known = match(accelerator.name + hint)
        except AmbiguousDeviceError as error:
            notes.append(Note(f"{path}.name", f"{error}: {', '.join(error.nearest)}"))
            known = None
        if known is not None:
            entries, _, note = known
            found = build(accelerator.name + hint)
            index = next((j for j, a in enumerate(found.accelerators) if _same(accelerator, a)), None)
            if index is not None:
                source_path = f"accelerators.{index}"
                accelerator = _fill(
                    accelerator, found.accelerators[index], path, found, sources, known_path=source_path
                )
                if note and not size and entries[0].kind == "card":
                    notes.append(Note(path, note))
    host = device.memory.bandwidth_bytes_per_s
    if (
        accelerator.shared_memory is None
        and accelerator.backend == "metal"
        and device.class_ in ("apple", "phone", "tablet")
    ):
        accelerator = msgspec.structs.replace(accelerator, shared_memory=True)
        sources[f"{path}.shared_memory"] = "Apple chips have unified memory"
    if accelerator.shared_memory and accelerator.memory_bandwidth_bytes_per_s is None and host is not None:
        accelerator = msgspec.structs.replace(accelerator, memory_bandwidth_bytes_per_s=host)
        sources[f"{path}.memory_bandwidth_bytes_per_s"] = (
            "shares the main memory: memory.bandwidth_bytes_per_s"
        )
        notes[:] = [n for n in notes if n.field != f"{path}.memory_bandwidth_bytes_per_s"]
    return accelerator


def _same(a: Accelerator, b: Accelerator) -> bool:
    return (
        a.backend in (None, b.backend) or (a.vendor is not None and a.vendor == b.vendor) or a.vendor is None
    )


def _fill(
    part: S,
    known: S,
    path: str,
    device: Device,
    sources: dict[str, str],
    *,
    known_path: str | None = None,
    skip: tuple[str, ...] = (),
) -> S:
    """`part` with its null fields taken from `known`, and their sources with them."""
    changes = {}
    for field in part.__struct_fields__:
        value = getattr(known, field)
        if getattr(part, field) is None and value is not None and field not in skip:
            changes[field] = value
            source = device.sources.get(f"{known_path or path}.{field}")
            sources[f"{path}.{field}"] = source or f"library: {device.name}"
    return msgspec.structs.replace(part, **changes) if changes else part
