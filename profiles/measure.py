"""What only this machine can tell, on request: measured memory bandwidth, features that need a slow look."""

from __future__ import annotations

import msgspec

from profiles.bandwidth import TIME_LIMIT_S, buffer_size, measure_bandwidth
from profiles.device import Device, Note


def measured(device: Device, seconds: float = TIME_LIMIT_S, *, caches: int = 4) -> Device:
    """The device with its measured read bandwidth, or a note that says why there is none.

    seconds: how long to read; the buffer takes about a tenth of a second more. caches: its size in last-level caches.
    """
    memory, cpu = device.memory, device.cpu
    sources, notes = dict(device.sources), list(device.notes)
    threads = cpu.usable_threads or 1
    size = buffer_size(cpu.l3_bytes or cpu.l2_bytes, memory.budget_now_bytes, caches=caches)
    path = "memory.measured_bandwidth_bytes_per_s"
    if size is None:
        notes.append(Note(path, "too little memory is free for a buffer larger than the caches"))
    else:
        try:
            result = measure_bandwidth(threads, size, seconds)
        except (MemoryError, OSError, AttributeError) as error:
            notes.append(Note(path, f"cannot be measured here: {error}"))
        else:
            memory = msgspec.structs.replace(memory, measured_bandwidth_bytes_per_s=round(result.bytes_per_s))
            sources[path] = (
                f"measured: best of {result.passes} reads of {result.buffer_bytes >> 20} MiB, {result.threads} threads"
            )
    if cpu.isa is None and seconds >= TIME_LIMIT_S:
        isa = _slow_isa()
        if isa:
            cpu = msgspec.structs.replace(cpu, isa=isa)
            sources["cpu.isa"] = "py-cpuinfo"
            notes = [note for note in notes if note.field != "cpu.isa"]
    return msgspec.structs.replace(device, memory=memory, cpu=cpu, sources=sources, notes=tuple(notes))


def _slow_isa() -> tuple[str, ...]:
    """Features by py-cpuinfo, which takes more than a second: the only portable way on Windows."""
    import cpuinfo

    from profiles.probes.cpu_tables import arm_features, x86_features

    flags = cpuinfo.get_cpu_info().get("flags", [])
    return x86_features(flags) or arm_features(flags)
