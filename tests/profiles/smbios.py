"""SMBIOS tables for the tests, built field by field after DSP0134 (they are binary, and few people may read theirs)."""

from __future__ import annotations

import struct


def memory_device(
    locator: str, bank: str, *, size_mib: int, speed: int, configured: int, kind: int, width: int = 64
) -> bytes:
    """A type 17 structure of version 2.8, 40 bytes long."""
    area = struct.pack(
        "<BBHHHHHHBBBBBHHBBBBBIHHHH",
        17, 40, 0x40, 0, 0xFFFE, width, width, min(size_mib, 0x7FFF), 9, 0, 1, 2 if bank else 0, kind, 0, speed,
        0, 0, 0, 0, 1, 0, configured, 0, 0, 0,
    )  # fmt: skip
    # An empty string would end the list of strings; index 0 stands for it.
    return area + b"".join(text.encode() + b"\0" for text in (locator, bank) if text) + b"\0"


END = bytes([127, 4, 0, 0]) + b"\0\0"

TABLES = {
    "DMI_DDR5_4800_TWO_CHANNELS": memory_device(
        "Controller0-ChannelA-DIMM0", "BANK 0", size_mib=16384, speed=5600, configured=4800, kind=0x22
    )
    + memory_device(
        "Controller1-ChannelA-DIMM0", "BANK 0", size_mib=16384, speed=5600, configured=4800, kind=0x22
    )
    + END,
}
