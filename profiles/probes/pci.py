"""Graphics cards on the PCI bus as the kernel's DRM layer lists them, and their names from the system's id lists."""

from __future__ import annotations

import re

import msgspec

from profiles.machine import Machine

DRM = "/sys/class/drm"
_ID_LISTS = ("/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids")
_AMD_LIST = "/usr/share/libdrm/amdgpu.ids"


class PciCard(msgspec.Struct, frozen=True):
    """One display controller: `folder` is its device folder, ids are four hexadecimal digits."""

    folder: str
    vendor_id: str
    device_id: str
    revision: str
    address: str  # "0000:03:00.0"; "" where the kernel does not say


def display_cards(machine: Machine, vendor_id: str) -> list[PciCard]:
    """The display controllers of one vendor ("1002" AMD, "8086" Intel) with a kernel driver."""
    cards = []
    for name in machine.list(DRM):
        folder = f"{DRM}/{name}/device"
        if not re.fullmatch(r"card\d+", name) or _hex(machine.read(f"{folder}/vendor")) != vendor_id:
            continue
        uevent = machine.read(f"{folder}/uevent") or ""
        address = re.search(r"^PCI_SLOT_NAME=(\S+)", uevent, re.MULTILINE)
        cards.append(
            PciCard(
                folder,
                vendor_id,
                _hex(machine.read(f"{folder}/device")) or "",
                (_hex(machine.read(f"{folder}/revision")) or "00")[-2:],
                address[1] if address else "",
            )
        )
    return cards


def card_name(machine: Machine, card: PciCard) -> tuple[str | None, str]:
    """(marketing name, where it was read) from the lists that libdrm and the distribution install."""
    for line in (machine.read(_AMD_LIST) or "").splitlines() if card.vendor_id == "1002" else ():
        fields = [field.strip() for field in line.split(",", 2)]
        if len(fields) == 3 and (fields[0].lower(), fields[1].lower()) == (card.device_id, card.revision):
            return fields[2], _AMD_LIST
    for path in _ID_LISTS:
        text = machine.read(path)
        vendor = re.search(rf"^{card.vendor_id}  .*\n((?:[\t#].*\n)*)", text or "", re.MULTILINE)
        device = re.search(rf"^\t{card.device_id}  (.*)$", vendor[1], re.MULTILINE) if vendor else None
        if device:
            bracket = re.search(r"\[([^\]]+)\]\s*$", device[1])
            return (bracket[1] if bracket else device[1]).strip(), path
    return None, ""


def _hex(text: str | None) -> str | None:
    return text.lower().removeprefix("0x") if text else None
