"""The device: frozen structs for what the hardware is, each fact with its source.

The same structs describe this machine (`profiles.detect`), a library entry (`profiles.library`) and a device
file. JSON uses the field names below; `class_` is written `class`. Unknown is None, never 0.

Units: `_bytes` in bytes, `_bytes_per_s` in bytes per second, `_hz` in hertz, `_flops` in floating-point
operations per second (dense, without sparsity), `_w` in watts.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from profiles.backends import Backend as Backend
from profiles.calibration import Calibration

SCHEMA_VERSION = 1

DeviceClass = Literal[
    "nvidia",  # a computer whose accelerator is an NVIDIA card
    "amd",
    "intel-gpu",
    "jetson",
    "apple",
    "phone",
    "tablet",
    "laptop",
    "desktop-cpu",
    "server-cpu",
    "sbc",
]


class Cpu(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The processor as the operating system (or the data sheet) shows it."""

    name: str | None = None
    vendor: str | None = None
    architecture: str | None = None  # "x86_64", "aarch64", "riscv64"
    performance_cores: int | None = None
    efficiency_cores: int | None = None
    cores: int | None = None  # physical
    threads: int | None = None  # logical
    usable_threads: int | None = None  # after affinity mask and cgroup quota, rounded down, at least 1
    isa: tuple[str, ...] | None = None  # ggml's kernel features, lower case: "avx2", "avx512_vnni", "i8mm" …
    l1d_bytes: int | None = None  # of one core
    l2_bytes: int | None = None  # of one core (or the cluster it shares)
    l3_bytes: int | None = None  # of the largest last-level cache instance
    base_hz: int | None = None
    boost_hz: int | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Main memory and what of it this process may take."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    limit_bytes: int | None = None  # the tightest cgroup limit above this process
    budget_now_bytes: int | None = None  # what could be taken at this moment
    budget_cleared_bytes: int | None = None  # what could be taken with other applications closed
    type: str | None = None  # "LPDDR5-6400"
    bandwidth_bytes_per_s: float | None = None  # theoretical
    measured_bandwidth_bytes_per_s: float | None = None  # read bandwidth, all usable threads


class Accelerator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A GPU or NPU that llama.cpp has a backend for."""

    name: str | None = None
    vendor: str | None = None
    backend: Backend | None = None
    memory_bytes: int | None = None  # for shared memory: what the device may address
    memory_free_bytes: int | None = None
    memory_limit_bytes: int | None = None  # working-set limit of the driver (Metal) or of one buffer
    shared_memory: bool | None = None  # takes from main memory; never count it twice
    memory_bandwidth_bytes_per_s: float | None = None
    fp16_flops: float | None = None  # what matrix products can reach: tensor cores where there are any
    compute_capability: str | None = None  # NVIDIA "8.9", AMD "gfx1100"
    power_limit_w: float | None = None
    driver: str | None = None


class Storage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where models and temporary files go."""

    models_path: str | None = None
    models_free_bytes: int | None = None
    temporary_path: str | None = None
    temporary_free_bytes: int | None = None


class Power(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    source: Literal["mains", "battery"] | None = None
    battery_percent: float | None = None


class Platform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    system: str | None = None  # "linux", "darwin", "windows", "android", "ios"
    release: str | None = None
    machine_model: str | None = None  # DMI product name, device-tree model, hw.model
    virtual_machine: str | None = None  # "kvm", "vmware" …; "none" when it is known to be bare metal
    container: str | None = None  # "docker", "podman", "lxc", "kubernetes"; "none" when known


class Note(msgspec.Struct, frozen=True):
    """Why a field is null, or what to know about it."""

    field: str  # dotted path, "memory.bandwidth_bytes_per_s"; "" for the whole device
    message: str


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the hardware is. `sources` maps a dotted field path to where the fact was read."""

    name: str | None = None
    class_: DeviceClass | None = msgspec.field(name="class", default=None)
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    accelerators: tuple[Accelerator, ...] = ()
    storage: Storage = Storage()
    power: Power = Power()
    platform: Platform = Platform()
    calibration: Calibration | None = None  # what `slm-advisor calibrate` measured
    sources: dict[str, str] = {}
    notes: tuple[Note, ...] = ()
