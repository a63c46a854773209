"""Writes safetensors files without torch: small ones, and broken ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BYTES = {"F32": 4, "BF16": 2, "I32": 4}


def header(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Any]:
    """The header for tensors of these types and shapes, one after another."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    return entries


def write(path: Path, entries: Mapping[str, Any]) -> Path:
    """A file with this header and as many zeros as it promises."""
    content = json.dumps(entries).encode()
    ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    with path.open("wb") as file:
        file.write(len(content).to_bytes(8, "little") + content)
        file.truncate(8 + len(content) + max(ends, default=0))
    return path
