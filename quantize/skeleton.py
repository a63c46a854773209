"""A GGUF with the right tensors and no data: what the engine needs to say how large things are.

The header is real: metadata, a tokenizer of the right number of tokens, name, shape and type of every tensor
as the converter writes an F16 file. The tensor data is a hole in a sparse file: a model of 30 billion
parameters takes some kilobytes of disk. Format: GGUF version 3, ggml/docs/gguf.md.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

from quantize.architecture import Architecture, Tensor, gguf_metadata, tensors
from quantize.types import TENSOR_TYPES, row_bytes

MetadataValue = int | float | bool | str | Sequence[int] | Sequence[float] | Sequence[bool] | Sequence[str]
"""A value of a GGUF's metadata. Whole numbers are written as 32-bit integers where they fit."""

ALIGNMENT = 32  # of every tensor's data and of the header, bytes

_F16_FILE = 1  # llama_ftype of a file whose matrices are F16


def write_skeleton(arch: Architecture, path: Path) -> int:
    """Write the skeleton of `arch` to `path`, replacing what is there; returns its nominal size in bytes.

    The tokenizer is "no_vocab": the engine then makes up the tokens, so that neither side handles 256,000
    strings. Such a file can be quantized (dry run) and given a context, but cannot turn text into tokens.
    """
    metadata: dict[str, MetadataValue] = {
        "general.file_type": _F16_FILE,
        "tokenizer.ggml.model": "no_vocab",
        **gguf_metadata(arch),
    }
    header, data_bytes = _header(metadata, tensors(arch))
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + data_bytes)
    return len(header) + data_bytes


def header_bytes(arch: Architecture) -> int:
    """Size of the header of a GGUF of `arch`, tokenizer not counted: the same for every quantization."""
    return len(_header(dict(gguf_metadata(arch)), tensors(arch))[0])


def _header(metadata: dict[str, MetadataValue], infos: Sequence[Tensor]) -> tuple[bytes, int]:
    """The file's bytes up to the tensor data, padded, and how many bytes of data follow."""
    out = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(infos), len(metadata)))
    for key, value in metadata.items():
        out += _string(key) + _value(value)
    offset = 0
    for info in infos:
        out += _string(info.name) + struct.pack("<I", len(info.shape))
        out += struct.pack(f"<{len(info.shape)}Q", *info.shape)
        out += struct.pack("<IQ", TENSOR_TYPES[info.source_type].id, offset)
        offset += _padded(row_bytes(info.source_type, info.shape[0]) * math.prod(info.shape[1:]))
    out += bytes(_padded(len(out)) - len(out))
    return bytes(out), offset


def _padded(n: int) -> int:
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
