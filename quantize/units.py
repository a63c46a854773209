"""Sizes as people read them."""

from __future__ import annotations


def readable_bytes(n: int) -> str:
    """Decimal, three digits at most after rounding: "812 B", "1.5 MB", "12.6 GB"."""
    if n < 1000:
        return f"{n} B"
    size = float(n)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            break
    return f"{size:.1f} {unit}"
