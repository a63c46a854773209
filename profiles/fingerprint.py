"""A device's fingerprint: what was measured on one device holds for another with the same fingerprint.

It covers what decides the speed of a model and nothing that changes from one day to the next: not the free memory,
the battery or a measured bandwidth, and not the device's name, which a user may choose.
"""

from __future__ import annotations

import hashlib

import msgspec

from profiles.device import Accelerator, Device

GIB = 1 << 30


def fingerprint(device: Device) -> str:
    """Sixteen hexadecimal digits, the same on every run as long as the hardware and the share of it are the same.

    The share counts: a process that may use two threads of eight is another device. Devices to compare must come
    from the same function (`profiles.resolve.resolve_device`), since a closer look may find more facts.
    """
    cpu, platform = device.cpu, device.platform
    facts = (
        platform.system,
        platform.machine_model,
        (cpu.name, cpu.architecture, cpu.performance_cores, cpu.efficiency_cores, cpu.cores, cpu.threads),
        cpu.usable_threads,
        None if cpu.isa is None else sorted(cpu.isa),
        _installed(device.memory.total_bytes),
        # Drivers may list the same cards in another order after a restart.
        sorted((_facts(accelerator) for accelerator in device.accelerators), key=repr),
    )
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:16]


def _facts(accelerator: Accelerator) -> tuple[str | None, str | None, str | None, int | None]:
    # What a GPU may take of the main memory is a setting of the system; the memory itself is counted above.
    own = None if accelerator.shared_memory else _installed(accelerator.memory_bytes)
    return accelerator.vendor, accelerator.name, accelerator.backend, own


def _installed(visible_bytes: int | None) -> int | None:
    """The amount that is sold for what a system shows, in bytes: the next of 1, 1.5, 2, 3, 4, 6, 8 … GiB.

    Firmware and kernel keep some for themselves, and not always the same.
    """
    if visible_bytes is None:
        return None
    size = GIB // 4
    while size < visible_bytes:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size
