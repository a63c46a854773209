"""Read what a GGUF says about itself, without its weights and without trusting it.

    header = read_header(Path("model.gguf"))
    header.architecture, header.tensor_bytes, header.metadata["general.name"]

A model file comes from a stranger. Every count and length is checked against the file's size before anything is
read, long values are skipped and not kept, and anything wrong is an `InvalidModelError` that says what and
where. Format: ggml/docs/gguf.md; the rules are those of the engine's reader (ggml/src/gguf.cpp), which refuses
the same files.
"""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from quantize.errors import InvalidModelError
from quantize.types import TENSOR_TYPES_BY_ID, row_bytes

Scalar = int | float | bool | str


class Skipped(msgspec.Struct, frozen=True):
    """A value too long to keep: an array, or a string ("string" with its bytes as length)."""

    type: str
    length: int


MetadataValue = Scalar | tuple[Scalar, ...] | Skipped


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor: shape in ggml's order, offset in the file in bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    bytes: int


class Header(msgspec.Struct, frozen=True):
    """What the file says before its weights begin. Sizes in bytes."""

    version: int
    architecture: str
    metadata: dict[str, MetadataValue]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    file_bytes: int
    tensor_bytes: int  # without the padding between tensors

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor by its name."""
        return {tensor.name: tensor.shape for tensor in self.tensors}


# Far above any real model, far below what would take long to read.
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 17
_MAX_STRINGS = 1 << 22  # in arrays: vocabularies and merges
_MAX_KEY_BYTES = 1 << 16
_MAX_NAME_BYTES = 63  # GGML_MAX_NAME, without its closing zero
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_KEPT_ITEMS = 4096
_MAX_KEPT_BYTES = 1 << 20

_KEPT_STRINGS = {"imatrix.datasets"}  # other arrays of strings are vocabularies

_STRING, _ARRAY = 8, 9
# Number in the file -> format of Python's struct, name.
_SCALARS = {
    0: ("<B", "u8"),
    1: ("<b", "i8"),
    2: ("<H", "u16"),
    3: ("<h", "i16"),
    4: ("<I", "u32"),
    5: ("<i", "i32"),
    6: ("<f", "f32"),
    7: ("<?", "bool"),
    10: ("<Q", "u64"),
    11: ("<q", "i64"),
    12: ("<d", "f64"),
}
# What people take for a model file, by its first bytes.
_LOOK_ALIKES = {
    b"version https://git-lfs": " but a Git LFS pointer and not the file itself: download it",
    b"<!DOCTYPE": " but a web page: download the file itself",
    b"<html": " but a web page: download the file itself",
    b"GGML": " but an old GGML file: convert the model again",
    b"ggjt": " but an old GGML file: convert the model again",
    b"PK\x03\x04": " but an archive: unpack it first",
}


def read_header(path: Path, *, model: bool = True) -> Header:
    """The header of the GGUF at `path`. Raises InvalidModelError for what is no GGUF or a damaged one.

    With `model=False` the file may be another than a model, without an architecture, which is then "".
    """
    try:
        with path.open("rb", buffering=1 << 18) as file:
            return _Reader(path, file).header(model)
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror or error}") from error


class _Reader:
    """A file, how far it is read, and how much it has left."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        self._at = file.seek(0)
        self._strings_left = _MAX_STRINGS
        self._kept_left = 16 * _MAX_KEPT_BYTES

    def header(self, model: bool) -> Header:
        version = self._version()
        n_tensors = self._count("tensors", _MAX_TENSORS, least_bytes=8 + 4 + 8 + 4 + 8)
        n_keys = self._count("metadata keys", _MAX_KEYS, least_bytes=8 + 4 + 1)
        metadata = self._metadata(n_keys)
        architecture = metadata.get("general.architecture")
        if not model:
            architecture = ""
        elif not isinstance(architecture, str) or not architecture:
            raise self._error("it does not name its architecture (general.architecture)")
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._error(f"general.alignment is {alignment!r} and not a power of two")
        infos = [self._tensor_info() for _ in range(n_tensors)]
        data_offset = _padded(self._at, alignment)
        tensors = self._placed(infos, data_offset, alignment)
        return Header(
            version=version,
            architecture=architecture,
            metadata=metadata,
            tensors=tensors,
            data_offset=data_offset,
            file_bytes=self._size,
            tensor_bytes=sum(tensor.bytes for tensor in tensors),
        )

    def _version(self) -> int:
        magic = self._file.read(32)
        self._file.seek(4)
        self._at = 4
        if magic[:4] != b"GGUF":
            what = next((text for start, text in _LOOK_ALIKES.items() if magic.startswith(start)), "")
            raise InvalidModelError(f"{self._path} is not a GGUF file{what}")
        version: int = self._number("<I", "the version")
        if version in (2, 3):
            return version
        if version.to_bytes(4, "little")[:3] == b"\0\0\0":
            raise self._error("it is big-endian, which is not supported")
        raise self._error(f"GGUF version {version} is not supported (2 and 3 are)")

    # --- metadata

    def _metadata(self, n_keys: int) -> dict[str, MetadataValue]:
        metadata: dict[str, MetadataValue] = {}
        for _ in range(n_keys):
            key = self._text("a metadata key", _MAX_KEY_BYTES)
            if key in metadata:
                raise self._error(f"the key {key!r} is there twice")
            metadata[key] = self._value(key)
        return metadata

    def _value(self, key: str) -> MetadataValue:
        kind = self._number("<I", f"the type of {key!r}")
        if kind == _ARRAY:
            return self._array(key)
        if kind == _STRING:
            return self._string_value(key)
        if kind in _SCALARS:
            return self._scalar(kind, key)
        raise self._error(f"{key!r} has the unknown type {kind}")

    def _scalar(self, kind: int, key: str) -> Scalar:
        value: Scalar = self._number(_SCALARS[kind][0], repr(key))
        return value

    def _string_value(self, key: str) -> str | Skipped:
        length = self._length(repr(key))
        if length > min(_MAX_KEPT_BYTES, self._kept_left):
            self._skip(length)
            return Skipped("string", length)
        self._kept_left -= length
        return self._take(length, repr(key)).decode(errors="replace")

    def _array(self, key: str) -> tuple[Scalar, ...] | Skipped:
        kind = self._number("<I", f"the item type of {key!r}")
        count = self._number("<Q", f"the length of {key!r}")
        if kind == _STRING:
            if key in _KEPT_STRINGS:
                return self._strings(count, key)
            self._skip_strings(count, key)
            return Skipped("string array", count)
        if kind not in _SCALARS:
            if kind == _ARRAY:
                raise self._error(f"{key!r} is an array of arrays")
            raise self._error(f"{key!r} is an array of the unknown type {kind}")
        code, name = _SCALARS[kind]
        total = count * struct.calcsize(code)
        if total > self._left:
            raise self._error(f"{key!r} claims {count} items of type {name}, more than the file holds")
        if count > _MAX_KEPT_ITEMS or total > self._kept_left:
            self._skip(total)
            return Skipped(f"{name} array", count)
        self._kept_left -= total
        return struct.unpack(f"<{count}{code[1]}", self._take(total, repr(key)))

    def _strings(self, count: int, key: str) -> tuple[str, ...]:
        if count > _MAX_KEPT_ITEMS:
            raise self._error(f"{key!r} claims {count} strings, more than it can mean")
        return tuple(self._text(f"a string of {key!r}", _MAX_KEY_BYTES) for _ in range(count))

    def _skip_strings(self, count: int, key: str) -> None:
        if count * 8 > self._left or count > self._strings_left:
            raise self._error(f"{key!r} claims {count} strings, more than the file can hold")
        self._strings_left -= count
        read, seek = self._file.read, self._file.seek
        for _ in range(count):
            start = read(8)
            length = int.from_bytes(start, "little")
            self._at += 8
            if len(start) < 8 or length > self._left:
                raise self._error(f"a string of {key!r} is longer than the rest of the file")
            seek(length, io.SEEK_CUR)
            self._at += length

    # --- tensors

    def _tensor_info(self) -> tuple[str, tuple[int, ...], str, int]:
        name = self._text("a tensor's name", _MAX_NAME_BYTES)
        n_dimensions = self._number("<I", f"the number of dimensions of {name!r}")
        if not 1 <= n_dimensions <= _MAX_DIMENSIONS:
            raise self._error(f"tensor {name!r} has {n_dimensions} dimensions")
        shape = tuple(self._number("<Q", f"the shape of {name!r}") for _ in range(n_dimensions))
        if 0 in shape or math.prod(shape) >= 1 << 63:
            raise self._error(f"tensor {name!r} has the impossible shape {shape}")
        kind = self._number("<I", f"the type of {name!r}")
        if kind not in TENSOR_TYPES_BY_ID:
            raise self._error(f"tensor {name!r} has the unknown type {kind}")
        offset = self._number("<Q", f"the offset of {name!r}")
        return name, shape, TENSOR_TYPES_BY_ID[kind].name, offset

    def _placed(
        self, infos: list[tuple[str, tuple[int, ...], str, int]], data_offset: int, alignment: int
    ) -> tuple[TensorInfo, ...]:
        """The tensors with their places, which must follow each other without gaps and end in the file."""
        tensors: dict[str, TensorInfo] = {}
        expected = 0
        for name, shape, kind, offset in infos:
            if name in tensors:
                raise self._error(f"tensor {name!r} is there twice")
            try:
                size = row_bytes(kind, shape[0]) * math.prod(shape[1:])
            except InvalidModelError as error:
                raise self._error(f"tensor {name!r}: {error}") from error
            if offset != expected:
                raise self._error(f"tensor {name!r} is at offset {offset} and should be at {expected}")
            if data_offset + offset + size > self._size:
                raise self._error(
                    f"tensor {name!r} ends at byte {data_offset + offset + size:,}: the file is cut off"
                )
            tensors[name] = TensorInfo(name, shape, kind, data_offset + offset, size)
            expected = _padded(offset + size, alignment)
        return tuple(tensors.values())

    # --- bytes

    @property
    def _left(self) -> int:
        return self._size - self._at

    def _count(self, what: str, most: int, least_bytes: int) -> int:
        count: int = self._number("<Q", f"the number of {what}")
        if count > most or count * least_bytes > self._left:
            raise self._error(f"it claims {count} {what}, more than it can hold")
        return count

    def _number(self, code: str, what: str) -> Any:
        return struct.unpack(code, self._take(struct.calcsize(code), what))[0]

    def _length(self, what: str) -> int:
        length: int = self._number("<Q", f"the length of {what}")
        if length > self._left:
            raise self._error(f"{what} claims {length} bytes, more than the rest of the file")
        return length

    def _text(self, what: str, most: int) -> str:
        length = self._length(what)
        if not 0 < length <= most:
            raise self._error(f"{what} has {length} bytes")
        try:
            return self._take(length, what).decode()
        except UnicodeDecodeError as error:
            raise self._error(f"{what} is not UTF-8") from error

    def _take(self, n: int, what: str) -> bytes:
        if n > self._left:
            raise self._error(f"the file ends in {what}")
        data = self._file.read(n)
        if len(data) < n:  # someone shortens the file while it is read
            raise self._error(f"the file ends in {what}")
        self._at += n
        return data

    def _skip(self, n: int) -> None:
        self._file.seek(n, io.SEEK_CUR)
        self._at += n

    def _error(self, what: str) -> InvalidModelError:
        return InvalidModelError(f"{self._path} is damaged or no model file, at byte {self._at:,}: {what}")


def _padded(n: int, alignment: int) -> int:
    return -(-n // alignment) * alignment
