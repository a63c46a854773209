"""Read what safetensors files say about themselves: names, types and shapes of weights, without torch or trust.

    weights = read_weights(Path("SmolLM2-135M"))
    weights.parameters, weights.bytes, weights.dtype

A file is 8 bytes of length, that much JSON, and the weights (github.com/huggingface/safetensors). It comes from a
stranger: every length is checked before anything is read, and the weights must fill the rest of the file without
a gap, so that a download that was cut off shows. Anything wrong is an `InvalidModelError` that names the file.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import msgspec

from quantize.errors import InvalidModelError

# Type -> bits. Types below a byte fill whole bytes as a tensor.
DTYPE_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
INDEX = "model.safetensors.index.json"

# Far above any real model. The format itself allows 100 MB.
_MAX_HEADER_BYTES = 1 << 25
_MAX_INDEX_BYTES = 1 << 26
_MAX_TENSORS = 1 << 17
_MAX_DIMENSIONS = 8


class SafetensorsTensor(msgspec.Struct, frozen=True):
    """One tensor: shape in torch's order (rows first), size in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


class Weights(msgspec.Struct, frozen=True):
    """The weights of a model: its files, in order of their names, and all tensors in them."""

    files: tuple[Path, ...]
    tensors: tuple[SafetensorsTensor, ...]

    @property
    def parameters(self) -> int:
        return sum(tensor.parameters for tensor in self.tensors)

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def dtype(self) -> str:
        """The type that holds most of the parameters: "BF16"."""
        totals: Counter[str] = Counter()
        for tensor in self.tensors:
            totals[tensor.dtype] += tensor.parameters
        return totals.most_common(1)[0][0]


class _Entry(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def read_weights(folder: Path) -> Weights:
    """All weights in `folder`: the files of its index, or else every model*.safetensors.

    Raises InvalidModelError where there are none, one is missing or damaged, or the index says otherwise.
    """
    index = folder / INDEX
    listed = _read_index(index) if index.is_file() else None
    if listed is not None:
        files = tuple(folder / name for name in sorted(set(listed.values())))
    else:
        files = tuple(sorted(folder.glob("model*.safetensors")))
    if not files:
        raise InvalidModelError(f"{folder} holds no weights: there is no model*.safetensors")
    tensors: dict[str, SafetensorsTensor] = {}
    for file in files:
        if not file.is_file():
            raise InvalidModelError(f"{file} is missing, and {INDEX} names it: download it too")
        for tensor in read_tensors(file):
            if tensor.name in tensors:
                raise InvalidModelError(f"{file}: tensor {tensor.name!r} is in another file too")
            if listed is not None and listed.get(tensor.name) != file.name:
                raise InvalidModelError(f"{file}: {INDEX} does not place tensor {tensor.name!r} there")
            tensors[tensor.name] = tensor
    if listed is not None and (lost := sorted(listed.keys() - tensors.keys())):
        raise InvalidModelError(
            f"{folder}: {len(lost)} tensors that {INDEX} names are in no file, first {lost[0]!r}"
        )
    if not tensors:
        raise InvalidModelError(f"{folder}: its safetensors files hold no tensor")
    return Weights(files, tuple(tensors.values()))


def read_tensors(path: Path) -> tuple[SafetensorsTensor, ...]:
    """The tensors of one file, in the order of their places. Raises InvalidModelError."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8:
                raise InvalidModelError(f"{path} is no safetensors file: it has {size} bytes")
            if length > min(size - 8, _MAX_HEADER_BYTES):
                raise InvalidModelError(_too_long(path, size, length))
            header = file.read(length)
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(header) < length:  # someone shortens the file while it is read
        raise InvalidModelError(f"{path} is cut off in its header")
    try:
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        if len(entries) > _MAX_TENSORS:
            raise InvalidModelError(f"{path} claims {len(entries):,} tensors, more than a model has")
        entries.pop("__metadata__", None)
        found = {name: msgspec.json.decode(entry, type=_Entry) for name, entry in entries.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidModelError(
            f"{path} is damaged or no safetensors file: its header is not valid: {error}"
        ) from error
    return _placed(path, found, size - 8 - length)


def _too_long(path: Path, size: int, length: int) -> str:
    with path.open("rb") as file:
        start = file.read(32)
    if start.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer and not the file itself: download it"
    if start.startswith((b"<!DOCTYPE", b"<html")):
        return f"{path} is a web page: download the file itself"
    if length > _MAX_HEADER_BYTES:
        return f"{path} is no safetensors file: it claims a header of {length:,} bytes"
    return f"{path} is cut off: its header should have {length:,} bytes, and the whole file has {size:,}"


def _placed(path: Path, entries: dict[str, _Entry], data_bytes: int) -> tuple[SafetensorsTensor, ...]:
    """The tensors in order; they must fill the data without gaps and have the bytes that their shapes need."""
    tensors = []
    expected = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, end = entry.data_offsets
        if entry.dtype not in DTYPE_BITS:
            raise InvalidModelError(f"{path}: tensor {name!r} has the unknown type {entry.dtype!r}")
        if len(entry.shape) > _MAX_DIMENSIONS or any(not 0 <= n < 1 << 48 for n in entry.shape):
            raise InvalidModelError(f"{path}: tensor {name!r} has the impossible shape {entry.shape}")
        size = -(-math.prod(entry.shape) * DTYPE_BITS[entry.dtype] // 8)
        if begin != expected or end - begin != size:
            raise InvalidModelError(
                f"{path} is damaged: tensor {name!r} is at bytes {begin:,} to {end:,} and should be at "
                f"{expected:,} to {expected + size:,}"
            )
        if end > data_bytes:
            raise InvalidModelError(
                f"{path} is cut off: tensor {name!r} ends at byte {end:,} of the data, which has {data_bytes:,}: "
                "download it again"
            )
        tensors.append(SafetensorsTensor(name, entry.dtype, tuple(entry.shape), size))
        expected = end
    if expected != data_bytes:
        raise InvalidModelError(f"{path} is damaged: {data_bytes - expected:,} bytes belong to no tensor")
    return tuple(tensors)


def _read_index(path: Path) -> dict[str, str]:
    try:
        size = path.stat().st_size
        if size > _MAX_INDEX_BYTES:
            raise InvalidModelError(f"{path} has {size:,} bytes, more than an index can have")
        listed = msgspec.json.decode(path.read_bytes(), type=_Index).weight_map
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidModelError(f"{path} is damaged: {error}") from error
    for name in listed.values():
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InvalidModelError(f"{path} names the file {name!r}, which no model folder holds")
    return listed
