"""What a probe found out: each fact with its source, each gap with its reason."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from profiles.device import Note

T = TypeVar("T")


class Ledger:
    """Collects sources and notes while a probe runs; `part` is the field of `Device` the probe fills."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.sources: dict[str, str] = {}
        self.notes: list[Note] = []

    def fact(self, field: str, value: T, source: str) -> T:
        """Record where `field` of this part was read and return the value; None leaves no trace."""
        if value is not None:
            self.sources[f"{self.part}.{field}"] = source
        return value

    def note(self, field: str, message: str) -> None:
        """Say why `field` of this part is null, or what to know about it; "" is the whole part."""
        self.notes.append(Note(f"{self.part}.{field}" if field else self.part, message))


def missing_sources(value: object, sources: dict[str, str], path: str = "") -> list[str]:
    """Dotted paths of non-null facts in a device part that `sources` does not explain."""
    if isinstance(value, msgspec.Struct):
        gaps: list[str] = []
        for field, encoded in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            inner = f"{path}.{encoded}" if path else encoded
            if inner not in ("sources", "notes", "calibration"):  # a calibration explains itself
                gaps += missing_sources(getattr(value, field), sources, inner)
        return gaps
    if isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
        return [gap for i, item in enumerate(value) for gap in missing_sources(item, sources, f"{path}.{i}")]
    return [] if value is None or value == () or path in sources else [path]
