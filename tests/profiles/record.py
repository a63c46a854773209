"""Record this machine: `python -m tests.profiles.record > tests/profiles/machines/NAME.toml`.

Writes every file the probes read here, and nothing else. Look it through before it goes into the repository: host
names, user names and the paths of control groups are in it.
"""

from __future__ import annotations

import sys

import tomlkit

from profiles.detect import detect
from profiles.machine import Machine


class RecordingMachine(Machine):
    """This machine, remembering what was asked and answered."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.free: dict[str, int] = {}
        self.outputs: dict[str, str] = {}
        super().__init__()

    def read_bytes(self, path: str) -> bytes | None:
        content = super().read_bytes(path)
        if content is not None:
            try:
                self.files[path] = content.decode("utf-8")
            except UnicodeDecodeError:
                self.files[path] = "hex:" + content.hex()
        return content

    def exists(self, path: str) -> bool:
        found = super().exists(path)
        if found and not path.startswith("/dev"):
            self.files.setdefault(path, "")
        return found

    def run(self, *argv: str) -> str | None:
        output = super().run(*argv)
        if output is not None:
            self.outputs[" ".join(argv)] = output
        return output

    def disk_free(self, path: str) -> int | None:
        free = super().disk_free(path)
        if free is not None:
            self.free[path] = free
        return free


def main() -> None:
    """Write the recording of this machine to standard output."""
    machine = RecordingMachine()
    detect(machine)
    document = tomlkit.document()
    document["origin"] = "recorded: "
    document["system"] = machine.system
    document["environ"] = {"HOME": "/home/user"}
    document["disk_free"] = machine.free
    document["commands"] = machine.outputs
    files = tomlkit.table()
    for path, text in machine.files.items():
        files[path] = tomlkit.string(text, multiline="\n" in text.strip())
    document["files"] = files
    sys.stdout.write(tomlkit.dumps(document))


if __name__ == "__main__":
    main()
