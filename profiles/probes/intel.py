"""Intel graphics through the sysfs files of i915 and xe.

An integrated GPU sits at PCI device 2 of bus 0. A discrete one has its memory behind BAR 2, whose size is the
memory's size when the firmware allows resizable BARs (Arc needs that to be of use).
"""

from __future__ import annotations

from profiles.device import Accelerator
from profiles.ledger import Ledger
from profiles.machine import Machine
from profiles.probes.pci import PciCard, card_name, display_cards

_SMALLEST_VRAM = 2 << 30  # BAR 2 without resizing is a 256 MiB window and says nothing about the memory


def probe_intel(machine: Machine, ledger: Ledger) -> tuple[Accelerator, ...]:
    """The Intel GPUs that i915 or xe drives."""
    return tuple(
        _accelerator(machine, card, ledger, i) for i, card in enumerate(display_cards(machine, "8086"))
    )


def _accelerator(machine: Machine, card: PciCard, ledger: Ledger, i: int) -> Accelerator:
    from profiles.library import card_by_pci_id

    name, name_source = card_name(machine, card)
    known = card_by_pci_id(f"8086:{card.device_id}")
    if name is None and known is not None:
        name, name_source = known.name, f"library: PCI id 8086:{card.device_id}"
    if name is None:
        ledger.note(f"{i}.name", f"PCI id 8086:{card.device_id} is in no list here")
    shared = card.address.endswith("00:02.0")
    memory = None
    if shared:
        ledger.note(f"{i}.memory_bytes", "shares the main memory: see memory.total_bytes")
    else:
        memory = _bar2_bytes(machine.read(f"{card.folder}/resource"))
        if memory is None:
            ledger.note(f"{i}.memory_bytes", "the kernel does not tell, and the PCI window is not resized")
    driver = next((d for d in ("xe", "i915") if machine.exists(f"/sys/module/{d}")), None)
    fact = ledger.fact
    return Accelerator(
        name=fact(f"{i}.name", name, name_source),
        vendor=fact(f"{i}.vendor", "Intel", f"{card.folder}/vendor"),
        backend=fact(f"{i}.backend", "vulkan", "llama.cpp's backend that needs no vendor toolkit"),
        memory_bytes=fact(f"{i}.memory_bytes", memory, f"{card.folder}/resource BAR 2"),
        shared_memory=fact(f"{i}.shared_memory", shared, "PCI address: 00:02.0 is the integrated GPU"),
        driver=fact(f"{i}.driver", driver, "/sys/module"),
    )


def _bar2_bytes(resource: str | None) -> int | None:
    """Size of the third line of a PCI `resource` file: `start end flags` in hexadecimal."""
    lines = (resource or "").splitlines()
    fields = lines[2].split() if len(lines) > 2 else []
    try:
        start, end = int(fields[0], 16), int(fields[1], 16)
    except (IndexError, ValueError):
        return None
    return end - start + 1 if end - start + 1 >= _SMALLEST_VRAM else None
