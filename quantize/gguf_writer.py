"""The header of a GGUF file, version 3: metadata, then name, shape, type and place of every tensor.

Format: ggml/docs/gguf.md. Tensor data follows the header in the order of the tensors, each at a multiple of
`ALIGNMENT` bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence

import msgspec

from quantize.types import TENSOR_TYPES, row_bytes

MetadataValue = int | float | bool | str | Sequence[int] | Sequence[float] | Sequence[bool] | Sequence[str]
"""A value of a GGUF's metadata. Whole numbers are written as 32-bit integers where they fit."""

ALIGNMENT = 32  # of every tensor's data and of the header, bytes


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor of a file: shape in ggml's order (the length of a row first), type by name ("Q4_K")."""

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def bytes(self) -> int:
        """Of its data. Raises InvalidModelError if the type's blocks do not fit into a row."""
        return row_bytes(self.type, self.shape[0]) * math.prod(self.shape[1:])


def header(metadata: Mapping[str, MetadataValue], tensors: Sequence[TensorInfo]) -> tuple[bytes, int]:
    """The file's bytes up to the tensor data, padded, and how many bytes of data follow.

    Raises InvalidModelError if the blocks of a tensor's type do not fit into its rows.
    """
    out = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        out += _string(key) + _value(value)
    offset = 0
    for tensor in tensors:
        out += _string(tensor.name) + struct.pack("<I", len(tensor.shape))
        out += struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape)
        out += struct.pack("<IQ", TENSOR_TYPES[tensor.type].id, offset)
        offset += padded(tensor.bytes)
    out += bytes(padded(len(out)) - len(out))
    return bytes(out), offset


def padded(n: int) -> int:
    """`n` bytes up to the next multiple of `ALIGNMENT`."""
    return -(-n // ALIGNMENT) * ALIGNMENT


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: MetadataValue) -> bytes:
    """A typed metadata value: the number of its type, then the value."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = [_value(item) for item in value]
        kind = items[0][:4] if items else struct.pack("<I", 4)
        head = struct.pack("<I", 9) + kind + struct.pack("<Q", len(items))
        return head + b"".join(item[4:] for item in items)
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case str():
            return struct.pack("<I", 8) + _string(value)
        case float():
            return struct.pack("<If", 6, value)
        case int() if value < 0:
            return struct.pack("<Ii", 5, value)
        case int() if value < 2**32:
            return struct.pack("<II", 4, value)
        case _:
            return struct.pack("<IQ", 10, value)
