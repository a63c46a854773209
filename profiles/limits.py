"""A process held to an amount of memory and a number of cores, as far as this system lets us.

    with confine(memory_bytes=2 << 30, cores=4) as limits:
        with Engine(prefix=limits.prefix) as engine:
            ...
        limits.oom_kills()

Memory is limited by a control group of the process's own, of version 2 where that may be made, else of version 1; both
count what is resident, and the kernel ends a process that needs more. Without either RLIMIT_DATA is set, which counts
what is reserved: the engine is then refused memory that it might never have touched. Cores are limited by affinity,
with one logical CPU of each core.

`prefix` goes before a command. It starts a small program that sets the limits on itself and becomes the command, so
that every page and every thread of the command is under them. What could not be limited is said and not limited.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from profiles.machine import Machine
from profiles.probes.cgroup import ancestors, membership, mounts, read_cgroup

Method = Literal["cgroup v2", "cgroup v1", "RLIMIT_DATA"]
METHODS: tuple[Method, ...] = ("cgroup v2", "cgroup v1", "RLIMIT_DATA")

_NAME = "slm-advisor-"  # of our groups; the number of the process that made it follows
_ENTER = "from profiles.limits import enter; enter()"
_REMOVE_S = 5.0
_TRIAL_S = 20.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a command that is started behind `prefix`.

    Where the memory, or the number of cores, is not limited `memory_problem` or `cores_problem` says why. `cpus` are
    the logical CPUs, one of each core.
    """

    method: Method | None = None
    memory_bytes: int | None = None
    memory_problem: str = ""
    cpus: tuple[int, ...] = ()
    cores_problem: str = ""
    group: str | None = None  # folder of the control group

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words to put before a command; none where nothing is limited."""
        words = []
        if self.group is not None:
            words.append(f"group={self.group}")
        elif self.memory_bytes is not None:
            words.append(f"data={self.memory_bytes}")
        if self.cpus:
            words.append(f"cpus={','.join(map(str, self.cpus))}")
        return (sys.executable, "-P", "-c", _ENTER, *words, "--") if words else ()

    def oom_kills(self) -> int | None:
        """How many processes the kernel has ended for want of memory in the group; None without one."""
        if self.group is None:
            return None
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                for line in (Path(self.group) / name).read_text().splitlines():
                    key, _, count = line.partition(" ")
                    if key == "oom_kill":
                        return int(count)
        return None


@contextlib.contextmanager
def confine(
    *, memory_bytes: int | None = None, cores: int | None = None, methods: Sequence[Method] = METHODS
) -> Iterator[Limits]:
    """Limits for one command at a time, tried before they are promised; the group goes when the block ends.

    memory_bytes, cores: None limits nothing. What is left in the group at the end is killed.
    """
    cpus, cores_problem = _cpus(cores)
    limits = Limits(cpus=cpus, cores_problem=cores_problem)
    if memory_bytes is None:
        yield limits
        return
    reasons = []
    for method in methods:
        with contextlib.ExitStack() as stack:
            try:
                group = None
                if method != "RLIMIT_DATA":
                    group = stack.enter_context(_group(2 if method == "cgroup v2" else 1, memory_bytes))
                limited = msgspec.structs.replace(
                    limits, method=method, memory_bytes=memory_bytes, group=group
                )
                _try(limited)
            except OSError as error:
                reasons.append(f"{method}: {error.strerror or error}")
                continue
            yield limited
            return
    yield msgspec.structs.replace(limits, memory_problem="; ".join(reasons) or "no method was allowed")


def enter() -> None:
    """Set the limits that the words before `--` name on this process, and become the command behind it."""
    place = sys.argv.index("--")
    for word in sys.argv[1:place]:
        key, _, value = word.partition("=")
        if key == "cpus":
            os.sched_setaffinity(0, {int(number) for number in value.split(",")})
        elif key == "data":
            import resource

            resource.setrlimit(resource.RLIMIT_DATA, (int(value), int(value)))
        elif key == "group":
            (Path(value) / "cgroup.procs").write_text("0")
    os.execvp(sys.argv[place + 1], sys.argv[place + 1 :])


def usable_cores(machine: Machine | None = None) -> tuple[int, ...]:
    """One logical CPU of each core that this process may use, whose siblings share its arithmetic."""
    machine = machine or Machine()
    if not hasattr(os, "sched_getaffinity"):
        return ()
    cores: dict[object, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        topology = f"/sys/devices/system/cpu/cpu{cpu}/topology"
        package, core = (
            machine.read_int(f"{topology}/{name}") for name in ("physical_package_id", "core_id")
        )
        cores.setdefault(cpu if core is None else (package, core), cpu)
    return tuple(cores.values())


def _cpus(cores: int | None) -> tuple[tuple[int, ...], str]:
    """As many CPUs as `cores` asks for, or none and the reason."""
    if cores is None:
        return (), ""
    machine = Machine()
    there = usable_cores(machine)
    if not there:
        return (), "this system cannot keep a process to some of its processors"
    if len(there) < cores:
        return (), f"this machine gives us {len(there)} of the {cores} cores"
    quota = read_cgroup(machine).cpu_quota
    if quota is not None and quota < cores:
        return (), f"a control group gives us the time of {quota:g} of the {cores} cores"
    return there[:cores], ""


def _try(limits: Limits) -> None:
    """Start a command under the limits that does nothing. Raises OSError where it does not start."""
    command = [*limits.prefix, sys.executable, "-S", "-E", "-c", "pass"]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_S, check=False)
    except subprocess.TimeoutExpired:
        raise OSError("a process did not start under it") from None
    killed = tried.returncode == -signal.SIGKILL and limits.oom_kills()
    if tried.returncode and not killed and limits.method != "RLIMIT_DATA":
        last = tried.stderr.strip().rpartition("\n")[2]
        raise OSError(last or f"a process did not start under it ({tried.returncode})")


@contextlib.contextmanager
def _group(version: Literal[1, 2], memory_bytes: int) -> Iterator[str]:
    """A control group with that limit, and no swap. Raises OSError where none can be made."""
    folder = _make_folder(version)
    try:
        if version == 2:
            _limit(folder / "memory.max", memory_bytes)
            swap = folder / "memory.swap.max"
            if swap.exists():
                swap.write_text("0")
        else:
            _limit(folder / "memory.limit_in_bytes", memory_bytes)
            swap = folder / "memory.memsw.limit_in_bytes"
            if swap.exists():
                _limit(swap, memory_bytes)
            else:
                (folder / "memory.swappiness").write_text("0")
        yield str(folder)
    finally:
        _remove(folder)


def _make_folder(version: int) -> Path:
    """An empty group whose memory can be limited, beside or below our own. Raises OSError."""
    machine = Machine()
    groups = membership(machine.read("/proc/self/cgroup") or "")
    problem = OSError("there is none with a memory controller")
    for mount in mounts(machine.read("/proc/self/mountinfo") or ""):
        group = groups.get("" if version == 2 else "memory")
        if mount.version != version or group is None or (version == 1 and "memory" not in mount.controllers):
            continue
        above = ancestors(mount, group)
        if version == 2:
            # A group with processes in it hands no controller down: the nearest that does is above our own.
            above = [
                folder
                for folder in above
                if "memory" in (machine.read(f"{folder}/cgroup.subtree_control") or "").split()
            ]
        for parent in above[:1]:
            _sweep(Path(parent))
            folder = Path(parent) / f"{_NAME}{os.getpid()}"
            try:
                folder.mkdir()
            except OSError as error:
                problem = error
            else:
                return folder
    raise problem


def _limit(file: Path, bytes_: int) -> None:
    """Write a limit and read it back: a group that ignores it limits nothing. Raises OSError."""
    file.write_text(str(bytes_))
    said = file.read_text().strip()
    if not said.isdigit() or not bytes_ - os.sysconf("SC_PAGE_SIZE") < int(said) <= bytes_:
        raise OSError(f"{file.name} became {said} instead of {bytes_}")


def _sweep(parent: Path) -> None:
    """Remove groups whose maker was killed before it could."""
    for folder in parent.glob(f"{_NAME}*"):
        number = folder.name.removeprefix(_NAME)
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            with suppress(OSError):  # somebody is in it
                folder.rmdir()


def _remove(folder: Path) -> None:
    """End what is left in a group, and remove it; a process that is dying holds it for a moment."""
    until = time.monotonic() + _REMOVE_S
    while True:
        with suppress(OSError):
            for pid in (folder / "cgroup.procs").read_text().split():
                with suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > until:
                return
            time.sleep(0.02)
        else:
            return
