"""Recorded machines as `Machine`s: a TOML file is unpacked to a folder that stands for "/"."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec

from profiles.machine import Machine
from profiles.probes.nvidia import NvmlAnswer
from tests.profiles.smbios import TABLES

FOLDER = Path(__file__).with_name("machines")
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))


class Recording(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a machine's files, commands and NVML answered; `origin` says whether that was recorded."""

    origin: str
    system: str
    environ: dict[str, str] = {}
    disk_free: dict[str, int] = {}
    commands: dict[str, str] = {}
    files: dict[str, str] = {}
    nvml: NvmlAnswer | None = None


def read_recording(name: str) -> Recording:
    """One recording by its file's name."""
    return msgspec.convert(tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8")), Recording)


def machine(name: str, folder: Path, **changes: object) -> Machine:
    """The recorded machine, its files unpacked below `folder`; `changes` replaces fields of the recording."""
    recording = msgspec.structs.replace(read_recording(name), **changes)
    unpack(recording.files, folder)
    nvml = recording.nvml
    return Machine(
        folder,
        commands=recording.commands,
        environ=recording.environ,
        nvml=None if nvml is None else lambda: nvml,
        disk_free=recording.disk_free,
        system=recording.system,
    )


def unpack(files: dict[str, str], folder: Path) -> None:
    """Write the files, with ranges in their paths written out."""
    for pattern, content in files.items():
        for path, text in _written_out(pattern, content):
            place = folder / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if content in TABLES:
                place.write_bytes(TABLES[content])
            else:
                place.write_text(text.lstrip("\n"), "utf-8")


def _written_out(pattern: str, content: str) -> list[tuple[str, str]]:
    match = re.search(r"\{(\d+)-(\d+)\}", pattern)
    if not match:
        return [(pattern, content)]
    pairs = []
    for number in range(int(match[1]), int(match[2]) + 1):
        # "{}" is the number, "{+8}" and "{-8}" its neighbours
        text = re.sub(r"\{([+-]\d+)?\}", lambda m, n=number: str(n + int(m[1] or 0)), content)
        pairs.append((pattern[: match.start()] + str(number) + pattern[match.end() :], text))
    return pairs
