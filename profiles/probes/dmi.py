"""Memory modules from the firmware's SMBIOS table (type 17, "Memory Device"), read as bytes.

Offsets and codes: DMTF DSP0134, System Management BIOS Reference Specification, section 7.18. Theoretical bandwidth
is the sum over channels of data width x transfer rate; two modules on one channel share it, so channels are told
apart by their locator strings.
"""

from __future__ import annotations

import re
import struct

import msgspec

_TYPES = {
    0x18: "DDR3",
    0x1A: "DDR4",
    0x1B: "LPDDR",
    0x1C: "LPDDR2",
    0x1D: "LPDDR3",
    0x1E: "LPDDR4",
    0x20: "HBM",
    0x21: "HBM2",
    0x22: "DDR5",
    0x23: "LPDDR5",
    0x24: "HBM3",
}
_CHANNEL = (
    re.compile(r"controller\s*(\d+).*channel\s*-?\s*([a-z]|\d+)", re.IGNORECASE),
    re.compile(r"(?:p|node|cpu|proc)\s*(\d+).*channel\s*-?\s*([a-z]|\d+)", re.IGNORECASE),
    re.compile(r"()channel\s*-?\s*([a-z]|\d+)", re.IGNORECASE),
    re.compile(r"()dimm[\s_-]*([a-z])\d?", re.IGNORECASE),
)


class Modules(msgspec.Struct, frozen=True):
    """What the table says about main memory; `reason` says why there is no bandwidth."""

    type: str | None = None  # "DDR5-5600"
    bandwidth_bytes_per_s: float | None = None
    reason: str | None = None


class _Module(msgspec.Struct, frozen=True):
    type: str | None
    width_bits: int
    transfers_per_s: float
    locators: tuple[str, str]


def read_memory_modules(table: bytes) -> Modules:
    """Type and theoretical bandwidth of the populated memory modules in a raw DMI table.

    A table that is cut or lies about its lengths gives what was readable before the damage.
    """
    modules = [module for module in map(_module, _structures(table, 17)) if module is not None]
    if not modules:
        return Modules(reason="the SMBIOS table names no populated memory module with a speed")
    first = modules[0]
    speed = round(first.transfers_per_s / 1e6)
    kind = f"{first.type}-{speed}" if first.type else None
    channels: dict[tuple[str, str] | int, float] = {}
    for i, module in enumerate(modules):
        key: tuple[str, str] | int | None = _channel(module.locators)
        if key is None:
            if len(modules) > 2:
                reason = f"{len(modules)} memory modules whose names do not tell their channels"
                return Modules(type=kind, reason=reason)
            key = i  # one or two modules: boards put them on channels of their own
        rate = module.width_bits / 8 * module.transfers_per_s
        channels[key] = max(rate, channels.get(key, 0.0))
    return Modules(type=kind, bandwidth_bytes_per_s=sum(channels.values()))


def _structures(table: bytes, wanted: int) -> list[tuple[bytes, list[str]]]:
    """(formatted area, strings) of every structure of one type."""
    found = []
    position = 0
    while position + 4 <= len(table):
        kind, length = table[position], table[position + 1]
        if length < 4:
            break
        end = table.find(b"\0\0", position + length)
        if end < 0:
            break
        if kind == wanted:
            strings = [part.decode("latin-1") for part in table[position + length : end].split(b"\0")]
            found.append((table[position : position + length], strings))
        if kind == 127:  # end of table
            break
        position = end + 2
    return found


def _module(structure: tuple[bytes, list[str]]) -> _Module | None:
    """A populated module with a known speed, else None."""
    area, strings = structure
    if len(area) < 0x17:
        return None
    (width,) = struct.unpack_from("<H", area, 0x0A)
    (size,) = struct.unpack_from("<H", area, 0x0C)
    if size == 0 or width in (0, 0xFFFF):
        return None
    (speed,) = struct.unpack_from("<H", area, 0x15)
    configured = struct.unpack_from("<H", area, 0x20)[0] if len(area) >= 0x22 else 0
    if configured == 0xFFFF and len(area) >= 0x5C:
        (configured,) = struct.unpack_from("<I", area, 0x58)
    rate = configured or speed
    if rate in (0, 0xFFFF):
        return None

    def text(offset: int) -> str:
        index = area[offset]
        return strings[index - 1] if 0 < index <= len(strings) else ""

    return _Module(_TYPES.get(area[0x12]), width, rate * 1e6, (text(0x10), text(0x11)))


def _channel(locators: tuple[str, str]) -> tuple[str, str] | None:
    for pattern in _CHANNEL:
        for text in (" ".join(reversed(locators)), *locators):
            match = pattern.search(text)
            if match:
                return match[1], match[2].upper()
    return None
