"""What `collect.sh` sent from a target, as a `Machine`: the probes ask it as they ask this machine.

The answer is not trusted. Only files, commands and variables that the script asks for are accepted, each at most as
long as the longest of its kind can be; a line that is nothing of this refuses the whole answer. Nothing of it is
written to this machine's disk.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from profiles.errors import RemoteAnswerError
from profiles.machine import Machine
from profiles.probes.nvidia import NvmlAnswer, NvmlCard

SCRIPT = Path(__file__).with_name("collect.sh")
ENTRY_LIMIT_BYTES = 2 << 20  # /proc/cpuinfo of a server with 1,000 threads
LINE_LIMIT_BYTES = 1 << 14  # the feature flags of a processor take 3 KB
_COMMANDS = (
    "getprop",
    "nvidia-smi",
    "pmset -g batt",
    "sysctl -a",
    "system_profiler -json SPDisplaysDataType",
    "uname -s",
    "vm_stat",
)
_VARIABLES = (
    "ANDROID_ROOT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HOME",
    "KUBERNETES_SERVICE_HOST",
    "TEMP",
    "TMP",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "container",
)


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the script. A file is None where it is there and its content was not sent."""

    files: dict[str, bytes | None]
    denied: frozenset[str]
    commands: dict[str, str]
    environ: dict[str, str]
    disk_free: dict[str, int]


class CollectedMachine(Machine):
    """A machine made of what was collected on it; nothing is asked of the machine that this process runs on."""

    def __init__(self, collected: Collected) -> None:
        self.files = collected.files
        self.folders = _folders(collected.files)
        self.unreadable = collected.denied
        nvidia = collected.commands.get("nvidia-smi")
        super().__init__(
            "/dev/null",
            commands=collected.commands,
            environ=collected.environ,
            nvml=lambda: read_nvidia_smi(nvidia),
            disk_free=collected.disk_free,
            system=_system(collected),
        )

    def read_bytes(self, path: str) -> bytes | None:
        return self.files.get(path)

    def list(self, path: str) -> list[str]:
        return sorted(self.folders.get(path, ()))

    def exists(self, path: str) -> bool:
        return path in self.files or path in self.folders

    def denied(self, path: str) -> bool:
        return path in self.unreadable


def read_collected(content: bytes) -> Collected:
    """The entries of an answer. Raises RemoteAnswerError for a line that `collect.sh` does not write."""
    files: dict[str, bytes | None] = {}
    denied: set[str] = set()
    texts: dict[tuple[str, str], str] = {}
    for kind, name, lines in _entries(content):
        if kind in "FBXE":
            if not _is_asked_for(name):
                raise RemoteAnswerError(f"the target sent a file that nobody asked for: '{name[:200]}'")
            if kind == "X":
                denied.add(name)
            if kind in "XE":
                files.setdefault(name, None)
            else:
                files[name] = b"\n".join(lines) if kind == "F" else _bytes(name, lines)
        elif kind == "D" or name in (_COMMANDS if kind == "C" else _VARIABLES):
            texts[kind, name] = b"\n".join(lines).decode("utf-8", "replace")
        else:
            raise RemoteAnswerError(f"the target sent something that nobody asked for: '{name[:200]}'")
    free = {name: _available(text) for (kind, name), text in texts.items() if kind == "D"}
    return Collected(
        files=files,
        denied=frozenset(denied),
        commands={name: text for (kind, name), text in texts.items() if kind == "C"},
        environ={name: text for (kind, name), text in texts.items() if kind == "V"},
        disk_free={path: size for path, size in free.items() if size is not None},
    )


def _entries(content: bytes) -> list[tuple[str, str, list[bytes]]]:
    """(letter, name, lines of content) of each entry."""
    entries: list[tuple[str, str, list[bytes]]] = []
    size = 0
    for raw in content.split(b"\n"):
        line = raw.removesuffix(b"\r")
        if len(line) > LINE_LIMIT_BYTES:
            raise RemoteAnswerError(f"the target sent a line of {len(line)} bytes: {_shown(line)}")
        if re.match(rb"[FBXECVD] .", line):
            entries.append((line[:1].decode(), line[2:].decode("utf-8", "surrogateescape"), []))
            size = 0
        elif line and entries and line[:1] == (b" " if entries[-1][0] == "B" else b"|"):
            size += len(line)
            if size > ENTRY_LIMIT_BYTES:
                raise RemoteAnswerError(f"the target sent more than 2 MiB for {_shown(entries[-1][1])}")
            entries[-1][2].append(line[1:])
        elif line.strip():
            raise RemoteAnswerError(
                f"the target's answer has a line that the script does not write: {_shown(line)}"
            )
    return entries


def _bytes(name: str, lines: list[bytes]) -> bytes:
    try:
        return bytes.fromhex(b" ".join(lines).decode("ascii"))
    except ValueError:
        raise RemoteAnswerError(f"the target sent no hexadecimal numbers for {name}") from None


def _available(text: str) -> int | None:
    """Free bytes in the output of `df -Pk`: file system, blocks, used, available, share used, mount point."""
    match = re.search(r"\s\d{1,18}\s+\d{1,18}\s+(\d{1,15})\s+\d{1,3}%", text)
    return int(match[1]) << 10 if match else None


def _shown(text: str | bytes) -> str:
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"'{shown[:120]}'"


@cache
def _asked_for() -> tuple[re.Pattern[str], frozenset[str]]:
    """(what paths may look like, names of files in the folders of control groups), from the lists in the script."""
    lists = dict(re.findall(r"^([A-Z_]+)='\n([^']*)'$", SCRIPT.read_text("utf-8"), re.MULTILINE))
    patterns = [
        "".join({"*": "[^/]*", "[0-9]": "[0-9]"}.get(part) or re.escape(part) for part in parts)
        for name in ("FILES", "BYTES", "THERE", "NAME_LISTS")
        for parts in (re.split(r"(\*|\[0-9\])", line) for line in lists[name].split())
    ]
    return re.compile("|".join(["/proc/self/mountinfo", *patterns])), frozenset(lists["GROUP_FILES"].split())


def _is_asked_for(path: str) -> bool:
    pattern, group_files = _asked_for()
    folder, _, name = path.rpartition("/")
    return bool(pattern.fullmatch(path)) or (folder.startswith("/") and name in group_files)


def _folders(files: Mapping[str, object]) -> dict[str, set[str]]:
    folders: dict[str, set[str]] = {}
    for path in files:
        while path:
            path, _, name = path.rpartition("/")
            folders.setdefault(path or "/", set()).add(name)
    return folders


def _system(collected: Collected) -> str:
    """As the probes call it. Raises RemoteAnswerError for a system that none of them reads."""
    name = collected.commands.get("uname -s", "").strip()
    if name == "Darwin":
        return "darwin"
    if name not in ("Linux", "Toybox", ""):
        raise RemoteAnswerError(
            f"the target runs {_shown(name)}; only Linux, Android and macOS can be read over a shell. Describe it in "
            "a file: --device FILE.json"
        )
    android = (
        "/system/build.prop" in collected.files
        or "ANDROID_ROOT" in collected.environ
        or "getprop" in collected.commands
    )
    if not android and "/proc/meminfo" not in collected.files:
        raise RemoteAnswerError(
            "the target's shell can read neither /proc/meminfo nor Android's properties: nothing is known of it"
        )
    return "android" if android else "linux"


def read_nvidia_smi(text: str | None) -> NvmlAnswer:
    """What NVML would have said, from the lines of `nvidia-smi --query-gpu`, which asks it; memory is in MiB.

    The order of the columns is that of collect.sh: name, driver_version, memory.total, memory.free,
    enforced.power.limit, mig.mode.current and, from driver 510 on, compute_cap. The bus width is not among them.
    """
    if not text:
        return NvmlAnswer(failure="nvidia-smi is not there, or gives no answer")
    cards: list[NvmlCard] = []
    driver = None
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) < 6:
            return NvmlAnswer(failure=f"nvidia-smi's answer cannot be understood: {_shown(' '.join(row))}")
        driver = row[1]
        total, free, limit = _number(row[2]), _number(row[3]), _number(row[4])
        capability = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", row[6]) if len(row) > 6 else None
        cards.append(
            NvmlCard(
                name=row[0],
                memory_total_bytes=None if total is None else round(total) << 20,
                memory_free_bytes=None if free is None else round(free) << 20,
                compute_capability=(int(capability[1]), int(capability[2])) if capability else None,
                power_limit_mw=None if limit is None else round(limit * 1000),
                mig_enabled={"Enabled": True, "Disabled": False}.get(row[5]),
                refusals={"memory_total_bytes": row[2]} if total is None else {},
            )
        )
    return NvmlAnswer(driver=driver, cards=tuple(cards))


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text) else None
