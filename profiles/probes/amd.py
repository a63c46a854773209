"""AMD graphics through amdgpu's sysfs files and the kernel's compute topology (kfd).

`mem_info_vram_total` is the memory of its own or, on an APU, the carve-out the firmware made; `mem_info_gtt_total` is
how much main memory the driver may map besides. `gfx_target_version` 110003 is the architecture gfx1103.
"""

from __future__ import annotations

import re

from profiles.device import Accelerator
from profiles.ledger import Ledger
from profiles.machine import Machine
from profiles.probes.pci import PciCard, card_name, display_cards

KFD = "/sys/class/kfd/kfd/topology/nodes"


def probe_amd(machine: Machine, ledger: Ledger) -> tuple[Accelerator, ...]:
    """The AMD cards and integrated GPUs that amdgpu drives."""
    return tuple(
        _accelerator(machine, card, ledger, i) for i, card in enumerate(display_cards(machine, "1002"))
    )


def _accelerator(machine: Machine, card: PciCard, ledger: Ledger, i: int) -> Accelerator:
    from profiles.library import card_by_pci_id

    vram = machine.read_int(f"{card.folder}/mem_info_vram_total")
    used = machine.read_int(f"{card.folder}/mem_info_vram_used")
    gtt = machine.read_int(f"{card.folder}/mem_info_gtt_total")
    name, name_source = card_name(machine, card)
    known = card_by_pci_id(f"1002:{card.device_id}")
    if name is None:
        name, name_source = _named_by_processor(machine), "/proc/cpuinfo: the processor's name"
    if name is None and known is not None:
        name, name_source = known.name, f"library: PCI id 1002:{card.device_id}"
    if name is None:
        product = machine.read(f"{card.folder}/product_name")
        name, name_source = product or None, f"{card.folder}/product_name"
    if name is None:
        ledger.note(f"{i}.name", f"PCI id 1002:{card.device_id} is in no list here")
    shared, shared_source = _shares_memory(machine, card, known.shared if known else None, gtt)
    memory, memory_source = vram, "amdgpu mem_info_vram_total"
    free = vram - used if vram is not None and used is not None else None
    if shared:
        memory = (vram or 0) + (gtt or 0) or None
        memory_source = "amdgpu mem_info_vram_total + mem_info_gtt_total"
        free = None
        ledger.note(f"{i}.memory_free_bytes", "shares the main memory: see memory.budget_now_bytes")
    if vram is None:
        ledger.note(f"{i}.memory_bytes", "amdgpu gives no mem_info files: is its driver loaded?")
    gfx = _gfx(machine, card)
    cap = _power_cap(machine, card)
    ledger.note(
        f"{i}.memory_bandwidth_bytes_per_s", "amdgpu does not tell the bus width; the library knows cards"
    )
    fact = ledger.fact
    return Accelerator(
        name=fact(f"{i}.name", name, name_source),
        vendor=fact(f"{i}.vendor", "AMD", f"{card.folder}/vendor"),
        backend=fact(
            f"{i}.backend", "vulkan" if shared else "rocm", "llama.cpp's backend for this kind of GPU"
        ),
        memory_bytes=fact(f"{i}.memory_bytes", memory, memory_source),
        memory_free_bytes=fact(f"{i}.memory_free_bytes", free, "amdgpu mem_info_vram_used"),
        shared_memory=fact(f"{i}.shared_memory", shared, shared_source),
        compute_capability=fact(f"{i}.compute_capability", gfx, f"{KFD} gfx_target_version"),
        power_limit_w=fact(f"{i}.power_limit_w", cap, f"{card.folder}/hwmon power1_cap"),
        driver=fact(
            f"{i}.driver", machine.read("/sys/module/amdgpu/version") or "amdgpu", "/sys/module/amdgpu"
        ),
    )


def _named_by_processor(machine: Machine) -> str | None:
    """ "AMD Radeon 780M" from a processor called "AMD Ryzen 7 7840U w/ Radeon 780M Graphics"."""
    match = re.search(
        r"^model name\s*:.*\b(Radeon \d+[MS])\b", machine.read("/proc/cpuinfo") or "", re.MULTILINE
    )
    return f"AMD {match[1]}" if match and len(display_cards(machine, "1002")) == 1 else None


def _shares_memory(
    machine: Machine, card: PciCard, known: bool | None, gtt: int | None
) -> tuple[bool | None, str]:
    """Whether the GPU takes from main memory: by the library's PCI ids, else by the processor's name."""
    if known is not None:
        return known, f"library: PCI id 1002:{card.device_id}"
    processor = machine.read("/proc/cpuinfo") or ""
    model = re.search(r"^model name\s*:\s*(.*)$", processor, re.MULTILINE)
    if model and "Radeon" in model[1] and len(display_cards(machine, "1002")) == 1:
        return True, "/proc/cpuinfo: the processor's name says that it has Radeon graphics"
    if machine.exists(f"{card.folder}/pp_dpm_fclk") and not machine.exists(f"{card.folder}/pp_dpm_pcie"):
        return True, "amdgpu pp_dpm files: a fabric clock and no PCIe link"
    return False, "amdgpu pp_dpm files: a PCIe link of its own"


def _gfx(machine: Machine, card: PciCard) -> str | None:
    """The architecture ("gfx1103") of the kfd node with this card's device id."""
    for node in machine.list(KFD):
        properties = machine.read(f"{KFD}/{node}/properties") or ""
        device = re.search(r"^device_id (\d+)$", properties, re.MULTILINE)
        version = re.search(r"^gfx_target_version (\d+)$", properties, re.MULTILINE)
        if device and version and f"{int(device[1]):04x}" == card.device_id and int(version[1]):
            major, rest = divmod(int(version[1]), 10000)
            minor, step = divmod(rest, 100)
            return f"gfx{major}{minor:x}{step:x}"
    return None


def _power_cap(machine: Machine, card: PciCard) -> float | None:
    for name in machine.list(f"{card.folder}/hwmon"):
        microwatts = machine.read_int(f"{card.folder}/hwmon/{name}/power1_cap")
        if microwatts:
            return microwatts / 1e6
    return None
