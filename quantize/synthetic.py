"""A whole GGUF with the right tensors and made-up weights: it runs as fast as the model it stands for.

Timing does not depend on what the weights are, as long as they are valid blocks of their type and everything
computed from them stays finite. Matrices are tiled from a few random blocks; a tile is a prime number of
blocks long, so that rows differ: a router that sees the same row for every token would always choose the same
experts. Vectors have the value that leaves alone what they act on (a norm's weight is 1, a bias 0).
"""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from quantize.architecture import Architecture, gguf_metadata, tensors
from quantize.errors import NoRoomError
from quantize.gguf_writer import MetadataValue, TensorInfo, header, padded
from quantize.room import FULL
from quantize.skeleton import NO_TOKENIZER
from quantize.types import TENSOR_TYPES

SAMPLE_BLOCKS = 1021
"""How many blocks of each type are enough: a prime number, and as many different rows of an embedding."""

_FLOATS = {"F32": "<f", "F16": "<e"}
_FLOAT_TILE = 8191  # weights, a prime
_DEVIATION = 0.02  # of random weights: about that of trained ones
_WRITE_BYTES = 4 << 20  # at once: large enough for the disk, small enough for the processor's cache
_ROOM_BYTES = 64 << 20  # that a disk keeps for others

# What a vector holds, by a part of its name, the first that fits; matrices that stay F32 are random.
_CONSTANTS = (
    (".bias", 0.0),
    ("ssm_a", -1.0),  # states decay with exp(ssm_a x time step): a positive value would let them grow
    ("norm", 1.0),
    ("scale", 1.0),
    ("rope_f", 1.0),  # frequencies are divided by it
    ("ssm_d", 1.0),
    ("attn_sinks", 0.0),
)


def sampled_types(types: Iterable[str]) -> tuple[str, ...]:
    """Those of `types` that `write_synthetic` needs blocks of; floating-point weights it makes itself."""
    return tuple(sorted(set(types) - _FLOATS.keys() - {"BF16"}))


def synthetic_bytes(arch: Architecture, types: Mapping[str, str]) -> int:
    """Size of the file that `write_synthetic` would write."""
    head, data_bytes = header(_metadata(arch), _infos(arch, types))
    return len(head) + data_bytes


def write_synthetic(
    arch: Architecture, types: Mapping[str, str], path: Path, blocks: Mapping[str, bytes]
) -> int:
    """Write a GGUF of `arch` to `path`, replacing what is there; returns its size in bytes.

    `types` gives tensors their type by name ("blk.0.ffn_up.weight" -> "Q4_K"); one without stays as in an F16
    file. `blocks` holds some valid blocks (`SAMPLE_BLOCKS` are enough) of each quantized type, as the engine
    makes them. There is no tokenizer. Raises NoRoomError before anything is written if the disk has no room,
    InvalidModelError if a type's blocks do not fit into a row; nothing is left behind by a failure.
    """
    infos = _infos(arch, types)
    head, data_bytes = header(_metadata(arch), infos)
    size = len(head) + data_bytes
    check_room(path.parent, size)
    tiles = {kind: _tile(kind, blocks) for kind in {info.type for info in infos}}
    try:
        with path.open("wb", buffering=0) as file:
            _write(file, head)
            for index, info in enumerate(infos):
                _write_tensor(file, info, tiles[info.type], index)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL:
            raise NoRoomError(f"{path.parent} has no room for a file of {size / 1e9:.2f} GB") from error
        raise
    return size


def check_room(folder: Path, size: int) -> None:
    """Raise NoRoomError unless `folder` has room for `size` bytes more."""
    free = shutil.disk_usage(folder).free
    if size + _ROOM_BYTES > free:
        raise NoRoomError(
            f"a file of {size / 1e9:.2f} GB is needed in {folder}, which has {free / 1e9:.2f} GB free; "
            "free some, or set TMPDIR to a folder with more room"
        )


def _metadata(arch: Architecture) -> dict[str, MetadataValue]:
    return {**NO_TOKENIZER, **gguf_metadata(arch)}


def _infos(arch: Architecture, types: Mapping[str, str]) -> list[TensorInfo]:
    return [
        TensorInfo(tensor.name, tensor.shape, types.get(tensor.name, tensor.source_type))
        for tensor in tensors(arch)
    ]


def _write_tensor(file: BinaryIO, info: TensorInfo, tile: memoryview, index: int) -> None:
    """The data of one tensor; each starts at another block of the tile, so that tensors differ too."""
    size = info.bytes
    constant = _constant(info)
    if constant is not None:
        _write(file, struct.pack("<f", constant) * (size // 4))
    else:
        block = TENSOR_TYPES[info.type].type_size
        start = index * 127 * block % len(tile)
        written = 0
        while written < size:
            part = tile[start : start + size - written]
            _write(file, part)
            written += len(part)
            start = 0
    _write(file, bytes(padded(size) - size))


def _constant(info: TensorInfo) -> float | None:
    """The value of every element of a vector; None for what is random."""
    if info.type != "F32":
        return None
    for part, value in _CONSTANTS:
        if part in info.name:
            return value
    return None


def _tile(kind: str, blocks: Mapping[str, bytes]) -> memoryview:
    """Whole repetitions of a prime number of blocks, about `_WRITE_BYTES` of them."""
    data = _float_tile(kind) if kind in (*_FLOATS, "BF16") else _prime_part(kind, blocks[kind])
    return memoryview(data * max(1, _WRITE_BYTES // len(data)))


def _prime_part(kind: str, data: bytes) -> bytes:
    """As many blocks of `data` as the largest prime number allows; all of them where there are only two."""
    block = TENSOR_TYPES[kind].type_size
    count = len(data) // block
    while count > 2 and any(count % n == 0 for n in range(2, int(count**0.5) + 1)):
        count -= 1
    return data[: count * block]


@lru_cache(maxsize=4)
def _float_tile(kind: str) -> bytes:
    draw = random.Random(0)
    values = [draw.gauss(0.0, _DEVIATION) for _ in range(_FLOAT_TILE)]
    if kind == "BF16":  # the upper half of an F32
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    return b"".join(struct.pack(_FLOATS[kind], value) for value in values)


def _write(file: BinaryIO, data: bytes | memoryview) -> None:
    """All of `data`: an unbuffered file may take only a part at once."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
