"""What of the main memory a model may take: now, and with other applications closed.

`now` is the least of what the kernel calls available and the headroom of every control group above the process.
`cleared` is the total, or the tightest limit, minus what the operating system keeps for itself. That reserve is a
share of the memory between two bounds, by class. The figures follow the usable-memory notes of the device table:
Android and its applications keep 3-5 GB of 8-16 GB, an iPhone 17 Pro gives one application 6,373 MB of 12.3 GB, a
Windows laptop's system 3-5 GB, a headless board 0.3-0.6 GB.
"""

from __future__ import annotations

import msgspec

from profiles.device import DeviceClass, Memory

GIB = 1 << 30


class Reserve(msgspec.Struct, frozen=True):
    """Kept by the operating system: `share` of the memory, at least `low` and at most `high` bytes."""

    share: float
    low: int
    high: int | None = None

    def bytes_of(self, total: int) -> int:
        wanted = max(self.low, round(self.share * total))
        return min(total, wanted if self.high is None else min(self.high, wanted))


IOS_RESERVE = Reserve(0.48, 0)
RESERVES: dict[DeviceClass | None, Reserve] = {
    "phone": Reserve(0.40, GIB, 9 * GIB // 2),
    "tablet": Reserve(0.40, GIB, 9 * GIB // 2),
    "laptop": Reserve(0.30, GIB, 4 * GIB),
    "desktop-cpu": Reserve(0.20, GIB, 4 * GIB),
    "nvidia": Reserve(0.20, GIB, 4 * GIB),
    "amd": Reserve(0.20, GIB, 4 * GIB),
    "intel-gpu": Reserve(0.20, GIB, 4 * GIB),
    "apple": Reserve(0.25, GIB, 8 * GIB),
    "jetson": Reserve(0.15, GIB // 2, 2 * GIB),
    "sbc": Reserve(0.15, GIB // 8, GIB * 6 // 10),
    "server-cpu": Reserve(0.05, GIB // 4, 4 * GIB),
    None: Reserve(0.20, GIB, 4 * GIB),
}


def budget_cleared(memory: Memory, class_: DeviceClass | None, *, ios: bool = False) -> int | None:
    """Bytes that could be taken with other applications closed, or None where the total is unknown.

    A control group's limit does not shrink by the reserve: the system lives outside of it.
    """
    if memory.total_bytes is None:
        return memory.limit_bytes
    reserve = IOS_RESERVE if ios else RESERVES[class_]
    cleared = memory.total_bytes - reserve.bytes_of(memory.total_bytes)
    return cleared if memory.limit_bytes is None else min(cleared, memory.limit_bytes)


def reserve_source(class_: DeviceClass | None, *, ios: bool = False) -> str:
    """The words for `sources` of a cleared budget."""
    what = "iOS" if ios else f"class {class_}" if class_ else "an unknown class"
    return f"total or limit minus the system's reserve for {what}"
