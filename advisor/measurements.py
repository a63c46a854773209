"""What was measured on this device: kept line by line, and read back for the estimates it answers.

Each device has a file of its own below the data folder, named by its fingerprint; each line is one test as JSON.
Lines come from other versions of this program and from crashes: one that cannot be read is left out and counted,
and the others count. The file keeps its size: what newer measurements of the same thing answer goes first.
"""

from __future__ import annotations

import math
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from advisor.evidence import Value
from profiles.data_folder import append_line, data_folder, locked, write_whole
from profiles.device import Backend

MAX_FILE_BYTES = 1 << 19  # some 700 lines, read in 3 ms
MAX_LINE_BYTES = 1 << 14
KEPT_AFTER_COMPACTION = 0.5  # of MAX_FILE_BYTES, so that it is rarely done

FlashChoice = Literal["auto", "on", "off"]


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One test of one model on one device, and what was predicted for it without this measurement.

    Rates are tokens per second. `pp` is None for a test without a prompt, `tg` for one that generates nothing.
    Threads are those that really ran; `flash_attention` is what was asked for.
    """

    at: str  # ISO 8601, UTC: "2026-11-23T21:40:05Z"
    evidence: Literal["probed", "measured"]
    model: str | None = None  # id in the catalog; None for a file that is not of it
    quant: str | None = None
    file: str | None = None  # name of the file that was run, without its folder
    load_digest: str  # `advisor.load.load_digest`
    file_sha256: str | None = None
    parameters: int | None = None
    main_type: str | None = None  # tensor type that most of the bytes have
    device: str  # fingerprint
    engine: str  # identity
    backend: Backend
    type_k: str = "f16"
    type_v: str = "f16"
    micro_batch: int = 512
    offload_layers: int = 0
    threads: int | None = None
    threads_batch: int | None = None  # None: as `threads`
    flash_attention: FlashChoice = "auto"
    n_prompt: int = 0
    n_gen: int = 0
    depth: int = 0
    pp: Value | None = None
    tg: Value | None = None
    predicted_pp: Value | None = None
    predicted_tg: Value | None = None

    @property
    def test(self) -> str:
        """As llama-bench writes it: "pp512", "tg128 @ d4096"."""
        parts = [f"pp{self.n_prompt}"] if self.n_prompt else []
        parts += [f"tg{self.n_gen}"] if self.n_gen else []
        return "+".join(parts) + (f" @ d{self.depth}" if self.depth else "")


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of a device, oldest first, and how many lines of its file could not be read."""

    path: Path | None
    measurements: tuple[Measurement, ...] = ()
    damaged: int = 0


def now() -> str:
    """The time as `Measurement.at` has it."""
    from datetime import UTC

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def measurements_folder() -> Path | None:
    """Where the files are; None for a user without a home folder."""
    folder = data_folder()
    return folder / "measurements" if folder else None


def record(measurement: Measurement) -> str | None:
    """Keep a measurement; the reason, for people, where it cannot be kept.

    A result is worth showing whether or not it can be kept, so nothing is raised for the disk's sake.
    """
    path = _path(measurement.device)
    if path is None:
        return "the result could not be kept: there is no home folder; set XDG_DATA_HOME"
    if measurement.file is not None:  # a name on disk need not be UTF-8
        name = measurement.file.encode("utf-8", "replace").decode()
        measurement = msgspec.structs.replace(measurement, file=name)
    line = msgspec.json.encode(measurement)
    assert _read_line(line) == measurement, "a measurement must be readable again"
    try:
        with locked(path):
            if path.exists() and path.stat().st_size + len(line) + 2 > MAX_FILE_BYTES:
                _compact(path)
            append_line(path, line)
    except OSError as error:
        return f"the result could not be kept in {path}: {error.strerror or error}"
    return None


def measurements(device: str, engine: str) -> tuple[Measurement, ...]:
    """What was measured on the device with this fingerprint by the engine of this identity, oldest first."""
    return tuple(found for found in read_store(device).measurements if found.engine == engine)


def read_store(device: str) -> Store:
    """All measurements of a device, by whatever engine. A file that cannot be read counts as an empty one."""
    path = _path(device)
    return Store(path=None) if path is None else _read(path, device)


def all_stores() -> tuple[Store, ...]:
    """The measurements of every device there is a file of."""
    folder = measurements_folder()
    try:
        paths = sorted(folder.glob("*.jsonl")) if folder else []
    except OSError:
        paths = []
    return tuple(_read(path, path.stem) for path in paths if _FINGERPRINT.fullmatch(path.stem))


_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_decoder = msgspec.json.Decoder(Measurement)


def _path(device: str) -> Path | None:
    if not _FINGERPRINT.fullmatch(device):
        raise ValueError(f"{device!r} is no fingerprint of a device")
    folder = measurements_folder()
    return folder / f"{device}.jsonl" if folder else None


def _read(path: Path, device: str) -> Store:
    found, damaged = [], 0
    for line in _lines(path):
        measurement = _read_line(line)
        if measurement is not None and measurement.device == device:
            found.append(measurement)
        else:
            damaged += 1
    return Store(path=path, measurements=tuple(found), damaged=damaged)


def _lines(path: Path) -> list[bytes]:
    """The lines of a file; of one that grew beyond its bound, those at its end."""
    try:
        if not path.is_file():  # opening a pipe that nobody writes to would wait forever
            return []
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_FILE_BYTES))
            content = file.read(MAX_FILE_BYTES)
    except OSError:
        return []
    lines = content.split(b"\n")
    if size > MAX_FILE_BYTES:
        lines = lines[1:]  # the first is only the end of one
    return [line for line in lines if line.strip()]


def _read_line(line: bytes) -> Measurement | None:
    """A line's measurement; None where it is damaged or says what no measurement can say."""
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        found = _decoder.decode(line)
        datetime.fromisoformat(found.at)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    values = (found.pp, found.tg, found.predicted_pp, found.predicted_tg)
    sizes = (found.n_prompt, found.n_gen, found.depth, found.offload_layers, found.micro_batch - 1)
    if found.pp is None and found.tg is None:
        return None
    if any(value is not None and not _plausible(value) for value in values) or min(sizes) < 0:
        return None
    # A rate belongs to a phase the test has.
    if (found.pp is not None and not found.n_prompt) or (found.tg is not None and not found.n_gen):
        return None
    return found


def _plausible(value: Value) -> bool:
    return 0 < value.low <= value.value <= value.high < math.inf


def _compact(path: Path) -> None:
    """Rewrite the file with half of its bound at most: the newest of each test first, then the newest of all.

    The caller holds the lock. Raises OSError.
    """
    room = int(MAX_FILE_BYTES * KEPT_AFTER_COMPACTION)
    lines = [(line, found) for line in _lines(path) if (found := _read_line(line)) is not None]
    newest = {_subject(found): i for i, (_, found) in enumerate(lines)}
    latest = set(newest.values())
    kept: set[int] = set()
    for i in sorted(range(len(lines)), key=lambda i: (i in latest, i), reverse=True):
        room -= len(lines[i][0]) + 1
        if room < 0:
            break
        kept.add(i)
    write_whole(path, b"".join(line + b"\n" for i, (line, _) in enumerate(lines) if i in kept))


_RESULTS = frozenset(
    {"at", "pp", "tg", "predicted_pp", "predicted_tg", "file", "file_sha256", "model", "quant"}
)
_SUBJECT = tuple(name for name in Measurement.__struct_fields__ if name not in _RESULTS)


def _subject(measurement: Measurement) -> tuple[object, ...]:
    """All that a newer measurement must share to answer the same question."""
    return tuple(getattr(measurement, name) for name in _SUBJECT)
