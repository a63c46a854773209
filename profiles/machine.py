"""The seam between probes and the machine: files under a root, saved command answers, NVML, the environment.

A probe never opens a path or starts a program itself; it asks a `Machine`. The default one is the machine this
process runs on. Any other is made of recorded answers: a folder that holds a copy of parts of /proc and /sys,
a dictionary of command outputs, saved NVML answers. Both read files the same way, so what the tests exercise is
what runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from profiles.probes.nvidia import NvmlAnswer

COMMAND_TIMEOUT_S = 5.0
READ_LIMIT_BYTES = 2 << 20
"""No file a probe reads is larger; a device node read by mistake must not fill memory. At 4 MiB or more, Linux refuses
to read /proc/sys at all."""


class Machine:
    """What probes may ask of a machine.

    root: folder that stands for "/".
    commands: saved outputs by command line ("sysctl -a"); None runs the programs of this machine.
    nvml: returns saved NVML answers; None asks the driver of this machine.
    disk_free: free bytes by path; None asks the file system of this machine.
    system: "linux", "darwin", "android", "windows"; None derives it.
    """

    def __init__(
        self,
        root: str | Path = "/",
        *,
        commands: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        nvml: Callable[[], NvmlAnswer] | None = None,
        disk_free: Mapping[str, int] | None = None,
        system: str | None = None,
    ) -> None:
        self.root = str(root).rstrip("/")
        self.commands = commands
        self.environ = os.environ if environ is None else environ
        self.nvml = nvml
        self.disk_free_saved = disk_free
        self.is_local = self.root == "" and commands is None
        self._outputs: dict[tuple[str, ...], str | None] = {}
        self.system = system if system is not None else self._system()

    def _system(self) -> str:
        if self.exists("/system/build.prop") or self.environ.get("ANDROID_ROOT"):
            return "android"
        if self.root:
            return "linux"
        return {"win32": "windows"}.get(sys.platform, sys.platform)

    def path(self, path: str) -> str:
        return self.root + path

    def read_bytes(self, path: str) -> bytes | None:
        """The first 2 MiB of a file, or None where it is missing or may not be read."""
        try:
            with Path(self.root + path).open("rb") as file:
                return file.read(READ_LIMIT_BYTES)
        except OSError:
            return None

    def read(self, path: str) -> str | None:
        """A file as text without its surrounding white space and NULs, or None where it cannot be read."""
        content = self.read_bytes(path)
        return None if content is None else content.decode("utf-8", "replace").strip(" \t\r\n\0")

    def read_int(self, path: str) -> int | None:
        """A file that holds one integer, decimal or 0x-prefixed; None for anything else."""
        text = self.read(path)
        try:
            return None if text is None else int(text, 0)
        except ValueError:
            return None

    def list(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty where there is no such folder."""
        try:
            return sorted(entry.name for entry in Path(self.root + path).iterdir())
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        try:
            return Path(self.root + path).exists()
        except OSError:  # a folder on the way may not be entered
            return False

    def denied(self, path: str) -> bool:
        """Whether the file is there but may not be read."""
        return self.exists(path) and not os.access(self.root + path, os.R_OK)

    def run(self, *argv: str) -> str | None:
        """Standard output of a program, or None where it is missing, fails or takes longer than 5 s.

        A program runs once: several probes ask `sysctl` and `getprop`.
        """
        if self.commands is not None:
            return self.commands.get(" ".join(argv))
        if self.is_local and argv not in self._outputs:
            self._outputs[argv] = self._start(argv)
        return self._outputs.get(argv)

    def _start(self, argv: tuple[str, ...]) -> str | None:
        import subprocess

        try:
            result = subprocess.run(
                argv, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return result.stdout.decode("utf-8", "replace") if result.returncode == 0 else None

    def disk_free(self, path: str) -> int | None:
        """Free bytes for this user where `path` is, or would be made; None where the system does not say."""
        if self.disk_free_saved is not None:
            return self.disk_free_saved.get(path)
        if not self.is_local:
            return None
        import shutil

        place = Path(path)
        for folder in (place, *place.parents):
            try:
                return shutil.disk_usage(folder).free
            except FileNotFoundError:
                continue
            except OSError:
                return None
        return None
