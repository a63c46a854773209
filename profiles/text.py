"""Numbers as people read them. Sizes are decimal, as disks and Hub pages give them."""

from __future__ import annotations

import math


def amount(size: float, *, up: bool = False) -> str:
    """Bytes as "2.5 GB"; three digits at most. `up` rounds up: as much as that is enough."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor * 0.9995:
            number = size / factor
            digits = 0 if number >= 99.95 else 1
            if up:
                number = math.ceil(number * 10**digits) / 10**digits
            return f"{number:.{digits}f} {unit}"
    return f"{size:.0f} B"


def rate(value: float) -> str:
    """Tokens per second with as many digits as mean something: "0.42", "7.3", "118"."""
    if value >= 99.5:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


def seconds(value: float) -> str:
    """A duration: "<0.1 s", "0.8 s", "12 s", "3 min"."""
    if value < 0.05:
        return "<0.1 s"
    if value >= 120:
        return f"{value / 60:.0f} min"
    return f"{value:.0f} s" if value >= 9.95 else f"{value:.1f} s"


def count(value: float) -> str:
    """A number of parameters: "0.27B", "8.0B", "14B"."""
    billions = value / 1e9
    return (
        f"{billions:.0f}B"
        if billions >= 9.95
        else f"{billions:.2g}B"
        if billions < 0.995
        else f"{billions:.1f}B"
    )
