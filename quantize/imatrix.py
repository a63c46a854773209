"""Importance matrices: which columns of each weight tensor matter, seen while the model reads a text.

    with Engine() as engine:
        facts = collect_imatrix(engine, Path("model-f16.gguf"), calibration_text(), Path("imatrix.gguf"))
    importance = read_imatrix(Path("imatrix.gguf")).importance()

For every weight tensor the squares of the activations it is multiplied with are summed by column; a quantization
then keeps errors small where the mean square is large. Files are llama.cpp's own, so that `llama-quantize` reads
what is written here and what `llama-imatrix` wrote is read here: the GGUF format in both directions, the older
.dat format for reading (tools/imatrix/imatrix.cpp and common/imatrix-loader.cpp of llama.cpp 0c1e57098).
"""

from __future__ import annotations

import math
import struct
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, ImatrixTensor, OpenCalibration, Reply
from profiles.throughput import require
from quantize.errors import ImatrixError, InvalidModelError
from quantize.gguf_header import Header, read_header
from quantize.gguf_writer import MetadataValue, TensorInfo, header, padded
from quantize.hashes import sha256_of

CONTEXT = 512  # tokens of a chunk, llama-imatrix's default
CHUNK_TIMEOUT_S = 3600.0  # a large model from a slow disk may take long over its first chunk

_SUMS, _COUNTS = ".in_sum2", ".counts"
_MAX_DAT_ENTRIES = 1 << 17
_MAX_NAME_BYTES = 256

Progress = Callable[[int, int, float], None]
"""Called after each chunk with the chunks done, their number, and the seconds so far."""

T = TypeVar("T", bound=Reply)


class Imatrix(msgspec.Struct, frozen=True, kw_only=True):
    """An importance matrix as its file holds it, and what it was made from."""

    tensors: dict[str, ImatrixTensor]  # by weight tensor: "blk.0.attn_q.weight"
    datasets: tuple[str, ...]  # names of the texts
    chunks: int
    chunk_tokens: int | None  # None in the older format

    def importance(self) -> dict[str, bytes]:
        """The mean square of the activations by column, as `llama_model_quantize` takes it: 32-bit floats.

        An expert that no token went to counts each column as 1, as llama-quantize does.
        """
        return {name: _means(tensor) for name, tensor in self.tensors.items()}


class ImatrixFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a build notes about the importance matrix it used."""

    path: str
    sha256: str
    text_sha256: str
    chunks: int
    chunk_tokens: int
    tensors: int
    partial: tuple[str, ...]  # tensors with experts that no token went to
    seconds: float


def collect_imatrix(
    engine: Engine,
    gguf: Path,
    text: Path,
    out: Path,
    *,
    chunks: int | None = None,
    context: int = CONTEXT,
    threads: int | None = None,
    progress: Progress | None = None,
) -> ImatrixFacts:
    """Let the model at `gguf` read `text` in chunks of `context` tokens and write its importance matrix to `out`.

    The text is cut as llama-imatrix cuts it; `chunks` limits how much of it is read. Raises ImatrixError where the
    text is too short for two chunks or the model cannot read it, and EngineError where the engine is missing or breaks
    down.
    """
    started = time.monotonic()
    question = OpenCalibration(str(gguf), str(text), context, chunks, threads)
    opened = _answer(engine.open_calibration(question, timeout_s=CHUNK_TIMEOUT_S))
    for chunk in range(opened.chunks):
        _answer(engine.calibrate_chunk(chunk, timeout_s=CHUNK_TIMEOUT_S))
        if progress is not None:
            progress(chunk + 1, opened.chunks, time.monotonic() - started)
    taken = _answer(engine.take_imatrix(timeout_s=CHUNK_TIMEOUT_S))
    matrix = Imatrix(tensors=taken.tensors, datasets=(text.name,), chunks=opened.chunks, chunk_tokens=context)
    write_imatrix(matrix, out)
    return ImatrixFacts(
        path=str(out),
        sha256=sha256_of(out),
        text_sha256=sha256_of(text),
        chunks=opened.chunks,
        chunk_tokens=context,
        tensors=len(matrix.tensors),
        partial=tuple(sorted(name for name, tensor in matrix.tensors.items() if 0 in tensor.counts)),
        seconds=time.monotonic() - started,
    )


def write_imatrix(matrix: Imatrix, path: Path) -> None:
    """Write `matrix` to `path` in llama.cpp's GGUF format, byte for byte as llama-imatrix would."""
    infos: list[TensorInfo] = []
    blobs: list[bytes] = []
    for name, tensor in sorted(matrix.tensors.items()):
        matrices = len(tensor.counts)
        infos += [
            TensorInfo(name + _SUMS, _shape(len(tensor.sums) // 4 // matrices, matrices), "F32"),
            TensorInfo(name + _COUNTS, _shape(1, matrices), "F32"),
        ]
        blobs += [tensor.sums, struct.pack(f"<{matrices}f", *tensor.counts)]
    metadata: dict[str, MetadataValue] = {
        "general.type": "imatrix",
        "imatrix.datasets": list(matrix.datasets),
        "imatrix.chunk_count": matrix.chunks,
        "imatrix.chunk_size": matrix.chunk_tokens or 0,
    }
    head, _ = header(metadata, infos)
    with path.open("wb") as file:
        file.write(head)
        for blob in blobs:
            file.write(blob + bytes(padded(len(blob)) - len(blob)))


def read_imatrix(path: Path) -> Imatrix:
    """The importance matrix at `path`, in llama.cpp's GGUF format or its older one. Raises ImatrixError."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                file.seek(0)
                return _read_dat(path, file)
            return _read_gguf(path, file)
    except OSError as error:
        raise ImatrixError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_gguf(path: Path, file: BinaryIO) -> Imatrix:
    try:
        contents = read_header(path, model=False)
    except InvalidModelError as error:
        raise ImatrixError(str(error)) from error
    if contents.metadata.get("general.type") != "imatrix":
        raise ImatrixError(f"{path} is a GGUF file but no importance matrix")
    infos = {tensor.name: tensor for tensor in contents.tensors}
    tensors = {}
    for name, info in infos.items():
        if not name.endswith(_SUMS):
            continue
        weight = name.removesuffix(_SUMS)
        counts = infos.get(weight + _COUNTS)
        if counts is None or info.type != "F32" or counts.type != "F32":
            raise ImatrixError(f"{path} has no counts for {weight}, or in a type that is not known")
        matrices = math.prod(counts.shape)
        if math.prod(info.shape) % matrices:
            raise ImatrixError(f"{path} has {matrices} counts for {weight}, which do not divide its sums")
        file.seek(info.offset)
        sums = file.read(info.bytes)
        file.seek(counts.offset)
        numbers = struct.unpack(f"<{matrices}f", file.read(counts.bytes))
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ImatrixError(f"{path} has counts for {weight} that are no counts")
        tensors[weight] = ImatrixTensor(sums, tuple(round(number) for number in numbers))
    if not tensors:
        raise ImatrixError(f"{path} holds no data")
    datasets = contents.metadata.get("imatrix.datasets", ())
    return Imatrix(
        tensors=tensors,
        datasets=tuple(map(str, datasets)) if isinstance(datasets, tuple) else (),
        chunks=_whole(path, contents, "imatrix.chunk_count"),
        chunk_tokens=_whole(path, contents, "imatrix.chunk_size"),
    )


def _whole(path: Path, contents: Header, key: str) -> int:
    value = contents.metadata.get(key)
    if type(value) is not int:
        raise ImatrixError(f"{path} lacks {key}: it was not written by llama-imatrix, or is damaged")
    return value


def _read_dat(path: Path, file: BinaryIO) -> Imatrix:
    """The older format: each tensor's mean squares times a number of calls, without an account of experts."""

    def take(n: int) -> bytes:
        data = file.read(n)
        if len(data) < n:
            raise ImatrixError(f"{path} is no importance matrix, or is cut off")
        return data

    def number(most: int) -> int:
        value: int = struct.unpack("<i", take(4))[0]
        if not 0 <= value <= most:
            raise ImatrixError(f"{path} is no importance matrix: it claims {value} at byte {file.tell() - 4}")
        return value

    size = path.stat().st_size
    tensors = {}
    for _ in range(number(_MAX_DAT_ENTRIES)):
        name = take(number(_MAX_NAME_BYTES)).decode(errors="replace")
        calls = number((1 << 31) - 1)
        tensors[name] = ImatrixTensor(take(4 * number(size // 4)), (max(calls, 1),))
    if not tensors:
        raise ImatrixError(f"{path} holds no data")
    chunks, datasets = 0, tuple[str, ...]()
    if len(rest := file.read(8)) == 8:
        chunks, length = struct.unpack("<ii", rest)
        datasets = (file.read(max(length, 0)).decode(errors="replace"),)
    return Imatrix(tensors=tensors, datasets=datasets, chunks=chunks, chunk_tokens=None)


def _means(tensor: ImatrixTensor) -> bytes:
    sums = array("f", tensor.sums)
    columns = len(sums) // len(tensor.counts)
    means = array("f")
    for row, count in enumerate(tensor.counts):
        values = sums[row * columns : (row + 1) * columns]
        means.extend([value / count for value in values] if count else [1.0] * columns)
    return means.tobytes()


def _shape(columns: int, rows: int) -> tuple[int, ...]:
    return (columns,) if rows == 1 else (columns, rows)


def _answer(reply: T | EngineFailure) -> T:
    if isinstance(reply, EngineFailure) and reply.kind == "refused":
        raise ImatrixError(reply.message)
    return require(reply)
