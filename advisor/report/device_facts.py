"""The facts of a device that people look for: what each is called, its value in words, and where it was read."""

from __future__ import annotations

from typing import Any

import msgspec

from advisor.language import _, marked, plural
from profiles.device import Device
from profiles.text import amount


class Fact(msgspec.Struct, frozen=True):
    """One line about a device. `value` is None where it is not known; `path` is its field, as in `Device.sources`."""

    label: str  # in English; "" continues the line before
    value: str | None
    path: str


def origin(source: str) -> str:
    """One word, in English, for where a fact comes from; `Device.sources` has the whole source."""
    if source.startswith("library"):
        return marked("library, unverified") if "unverified" in source else marked("library")
    if source.startswith("measured"):
        return marked("measured")
    if source.startswith(("device file", "device given")):
        return marked("given")
    return marked("derived") if "reserve" in source or "share" in source else marked("read here")


def facts(device: Device) -> list[Fact]:
    """Every fact people look for, in order."""
    cpu, memory, storage, power, platform = (
        device.cpu,
        device.memory,
        device.storage,
        device.power,
        device.platform,
    )
    found = [
        Fact(marked("class"), device.class_, "class"),
        Fact(marked("processor"), cpu.name, "cpu.name"),
        Fact(marked("cores"), _cores(device), "cpu.cores"),
        Fact(marked("usable threads"), _text(cpu.usable_threads), "cpu.usable_threads"),
        Fact(marked("kernel features"), " ".join(cpu.isa) if cpu.isa else None, "cpu.isa"),
        Fact(marked("caches L1d/L2/L3"), _caches(device), "cpu.l2_bytes"),
        Fact(marked("clock, base"), _scaled(cpu.base_hz, 1e9, "GHz"), "cpu.base_hz"),
        Fact(marked("clock, boost"), _scaled(cpu.boost_hz, 1e9, "GHz"), "cpu.boost_hz"),
        Fact(marked("memory"), _memory(memory.total_bytes, memory.type), "memory.total_bytes"),
        Fact(marked("cgroup limit"), _amount(memory.limit_bytes), "memory.limit_bytes"),
        Fact(marked("budget now"), _amount(memory.budget_now_bytes), "memory.budget_now_bytes"),
        Fact(marked("budget cleared"), _amount(memory.budget_cleared_bytes), "memory.budget_cleared_bytes"),
        Fact(
            marked("bandwidth, spec"),
            _scaled(memory.bandwidth_bytes_per_s, 1e9, "GB/s"),
            "memory.bandwidth_bytes_per_s",
        ),
        Fact(
            marked("bandwidth, measured"),
            _scaled(memory.measured_bandwidth_bytes_per_s, 1e9, "GB/s"),
            "memory.measured_bandwidth_bytes_per_s",
        ),
    ]
    for i, accelerator in enumerate(device.accelerators):
        path = f"accelerators.{i}"
        shared = _(" (shares main memory)") if accelerator.shared_memory else ""
        details = [
            accelerator.backend,
            _amount(accelerator.memory_bytes),
            _("{size} free").format(size=_amount(accelerator.memory_free_bytes))
            if accelerator.memory_free_bytes is not None
            else None,
            _("limit {size}").format(size=_amount(accelerator.memory_limit_bytes))
            if accelerator.memory_limit_bytes
            else None,
            _scaled(accelerator.memory_bandwidth_bytes_per_s, 1e9, "GB/s"),
            _scaled(accelerator.fp16_flops, 1e12, "TFLOPS"),
            accelerator.compute_capability,
            _scaled(accelerator.power_limit_w, 1, "W"),
        ]
        label = _("accelerator {number}").format(number=i)
        found.append(Fact(label, f"{accelerator.name or _('unnamed')}{shared}", f"{path}.name"))
        found.append(Fact("", ", ".join(d for d in details if d), f"{path}.memory_bandwidth_bytes_per_s"))
    free_at = _("{size} free at {folder}")
    place = free_at.format(size=_amount(storage.models_free_bytes), folder=storage.models_path)
    temporary = free_at.format(size=_amount(storage.temporary_free_bytes), folder=storage.temporary_path)
    battery = (
        _(", battery {percent:g}%").format(percent=power.battery_percent)
        if power.battery_percent is not None
        else ""
    )
    found += [
        Fact(
            marked("models go to"),
            place if storage.models_free_bytes is not None else None,
            "storage.models_path",
        ),
        Fact(
            marked("temporary files"),
            temporary if storage.temporary_free_bytes is not None else None,
            "storage.temporary_path",
        ),
        Fact(marked("calibrated"), _calibrated(device), "calibration"),
        Fact(
            marked("power"), f"{_(_POWER[power.source])}{battery}" if power.source else None, "power.source"
        ),
        Fact(
            marked("system"),
            " ".join(filter(None, (platform.system, platform.release))) or None,
            "platform.system",
        ),
        Fact(marked("machine"), platform.machine_model, "platform.machine_model"),
        Fact(marked("virtual machine"), _named(platform.virtual_machine), "platform.virtual_machine"),
        Fact(marked("container"), _named(platform.container), "platform.container"),
    ]
    return found


_POWER = {"mains": marked("mains"), "battery": marked("battery")}


def _calibrated(device: Device) -> str | None:
    """When and for which engine; a calibration's age says how far to trust it on a machine that changes."""
    from datetime import UTC, datetime

    own = device.calibration
    if own is None:
        return None
    try:
        days = (datetime.now(UTC) - datetime.fromisoformat(own.at)).days
        age = _("today") if days < 1 else plural("{days} day ago", "{days} days ago", days).format(days=days)
    except (ValueError, TypeError, OverflowError):  # a device file may say anything
        age = own.at
    return _("{age}, with {engine}").format(age=age, engine=own.engine)


def _cores(device: Device) -> str | None:
    cpu = device.cpu
    if cpu.performance_cores is None:
        return _text(cpu.cores)
    kinds = (
        _("{performance} performance + {efficiency} efficiency").format(
            performance=cpu.performance_cores, efficiency=cpu.efficiency_cores
        )
        if cpu.efficiency_cores
        else None
    )
    threads = _(", {threads} threads").format(threads=cpu.threads) if cpu.threads else ""
    return f"{kinds or cpu.performance_cores}{threads}"


def _caches(device: Device) -> str | None:
    sizes = (device.cpu.l1d_bytes, device.cpu.l2_bytes, device.cpu.l3_bytes)
    if all(size is None for size in sizes):
        return None
    return " / ".join(
        "?" if s is None else f"{s >> 20} MiB" if s >= 1 << 20 else f"{s >> 10} KiB" for s in sizes
    )


def _memory(total: int | None, kind: str | None) -> str | None:
    return " ".join(filter(None, (_amount(total), kind))) or None


def _amount(value: int | None) -> str | None:
    return None if value is None else amount(value)


def _scaled(value: float | None, unit: float, name: str) -> str | None:
    return None if value is None else f"{value / unit:.4g} {name}"


def _named(value: str | None) -> str | None:
    return {"none": _("none"), "unknown hypervisor": _("unknown hypervisor")}.get(value or "", value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
