"""Sizes as people read them."""

from __future__ import annotations


def readable_bytes(n: int) -> str:
    """Decimal: "812 B", "1.5 MB", "12.6 GB"."""
    if n < 1000:
        return f"{n} B"
    if n < 999_950:
        return f"{n / 1e3:.1f} kB"
    if n < 999_950_000:
        return f"{n / 1e6:.1f} MB"
    return f"{n / 1e9:.1f} GB"
