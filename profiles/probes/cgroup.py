"""Memory and CPU limits of the control groups this process is in, versions 1 and 2.

A limit may be set at any level, so every ancestor up to the mount point is read and the tightest one counts. Page
cache is charged to a group but given back under pressure: what a group can still take is

    headroom = limit - (usage - inactive_file - active_file - slab_reclaimable)

(field meanings: Linux documentation, admin-guide/cgroup-v2 and admin-guide/cgroup-v1/memory).
"""

from __future__ import annotations

import posixpath
from typing import TypeVar

import msgspec

from profiles.machine import Machine

N = TypeVar("N", int, float)

# Version 1 says "no limit" with the largest multiple of the page size below 2^63.
UNLIMITED_BYTES = 1 << 60


class CgroupLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The tightest limits above this process; None is "no limit set"."""

    version: int | None = None  # 1, 2, or None where no memory controller is mounted
    memory_limit_bytes: int | None = None
    memory_headroom_bytes: int | None = None  # smallest over all levels, page cache given back
    memory_path: str | None = None  # the group that sets the smallest headroom
    cpu_quota: float | None = None  # processors' worth of time


class Mount(msgspec.Struct, frozen=True):
    """A mounted hierarchy: `root` is the group that `point` shows."""

    root: str
    point: str
    version: int
    controllers: frozenset[str]


def read_cgroup(machine: Machine) -> CgroupLimits:
    """Limits from /proc/self/cgroup, /proc/self/mountinfo and the group folders they name."""
    groups = membership(machine.read("/proc/self/cgroup") or "")
    version = limit = headroom = path = quota = None
    for mount in mounts(machine.read("/proc/self/mountinfo") or ""):
        for controller in ("memory", "cpu"):
            if mount.version == 1 and controller not in mount.controllers:
                continue
            group = groups.get(controller if mount.version == 1 else "")
            if group is None:
                continue
            for folder in ancestors(mount, group):
                if controller == "cpu":
                    quota = _smaller(quota, _cpu_quota(machine, folder, mount.version))
                    continue
                if machine.exists(
                    f"{folder}/{'memory.usage_in_bytes' if mount.version == 1 else 'memory.stat'}"
                ):
                    version = mount.version
                level = _memory_level(machine, folder, mount.version)
                if level is None:
                    continue
                limit = _smaller(limit, level[0])
                if headroom is None or level[1] < headroom:
                    headroom, path = level[1], folder
    return CgroupLimits(
        version=version,
        memory_limit_bytes=limit,
        memory_headroom_bytes=headroom,
        memory_path=path,
        cpu_quota=quota,
    )


def membership(text: str) -> dict[str, str]:
    """Controller -> group path; the key "" is the unified hierarchy of version 2."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            groups[controller] = path or "/"
    return groups


def mounts(text: str) -> list[Mount]:
    """The cgroup mounts of /proc/self/mountinfo: `… root point options … - type source super-options`."""
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not dash or len(fields) < 5 or not kind or kind[0] not in ("cgroup", "cgroup2"):
            continue
        options = frozenset(kind[-1].split(","))
        found.append(Mount(fields[3], fields[4], 2 if kind[0] == "cgroup2" else 1, options))
    return found


def ancestors(mount: Mount, group: str) -> list[str]:
    """Folders of the group and all its ancestors that are visible below the mount point, innermost first.

    In a container the mount's root may be the group itself, or a path of the host that this process cannot see:
    then only the mount point is readable, and it stands for the container's own group.
    """
    root = mount.root.rstrip("/")
    inside = group[len(root) :] if root and group.startswith(root) else ("" if root else group)
    inside = posixpath.normpath("/" + inside.lstrip("/"))
    parts = [part for part in inside.split("/") if part and part != ".."]
    return [
        posixpath.join(mount.point, *parts[:depth]) if depth else mount.point
        for depth in range(len(parts), -1, -1)
    ]


def _memory_level(machine: Machine, folder: str, version: int) -> tuple[int, int] | None:
    """(limit, headroom) of one group, or None where it sets no limit."""
    if version == 1:
        limit = machine.read_int(f"{folder}/memory.limit_in_bytes")
        usage = machine.read_int(f"{folder}/memory.usage_in_bytes")
        stat = _stat(machine.read(f"{folder}/memory.stat"))
        # The plain counters of version 1 leave out child groups; the usage includes them.
        cache = stat.get("total_inactive_file", stat.get("inactive_file", 0)) + stat.get(
            "total_active_file", stat.get("active_file", 0)
        )
    else:
        # Above memory.high the kernel throttles and reclaims: a model there is unusable, so it counts as a limit.
        limit = _smaller(machine.read_int(f"{folder}/memory.max"), machine.read_int(f"{folder}/memory.high"))
        usage = machine.read_int(f"{folder}/memory.current")
        stat = _stat(machine.read(f"{folder}/memory.stat"))
        cache = stat.get("inactive_file", 0) + stat.get("active_file", 0) + stat.get("slab_reclaimable", 0)
    if limit is None or limit >= UNLIMITED_BYTES:
        return None
    taken = max(0, (usage or 0) - cache)
    return limit, max(0, limit - taken)


def _cpu_quota(machine: Machine, folder: str, version: int) -> float | None:
    """Processors' worth of time a group may use, or None without a quota."""
    if version == 1:
        quota = machine.read_int(f"{folder}/cpu.cfs_quota_us")
        period = machine.read_int(f"{folder}/cpu.cfs_period_us")
    else:
        fields = (machine.read(f"{folder}/cpu.max") or "").split()
        if len(fields) != 2 or not all(field.isdigit() for field in fields):
            return None
        quota, period = int(fields[0]), int(fields[1])
    if quota is None or period is None or quota <= 0 or period <= 0:
        return None
    return quota / period


def _stat(text: str | None) -> dict[str, int]:
    values = {}
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            values[key] = int(value)
    return values


def _smaller(a: N | None, b: N | None) -> N | None:
    return b if a is None else a if b is None else min(a, b)
