"""`profile` shows what a device is; `devices` looks into the library of known ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from advisor.cli.output import narrate, write_json, write_text
from advisor.text import amount
from profiles.device import DeviceClass

if TYPE_CHECKING:
    from profiles.device import Device
    from profiles.entry import Entry

WIDTH = 80


@click.command(epilog="Example: slm-advisor profile --measure --json > this-machine.json")
@click.option("--device", "given", metavar="NAME|FILE.json", help="Show this device instead of this machine.")
@click.option("--measure", is_flag=True, help="Also measure the memory bandwidth (under a second).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document; --device reads it back.")
def profile(given: str | None, measure: bool, as_json: bool) -> None:
    """Show what this device is: processor, memory, accelerators, storage, power, with each fact's source."""
    if given is not None and measure:
        raise click.UsageError("--measure works on this machine only: leave --device out")
    if given is not None:
        from profiles.resolve import resolve_device

        device = resolve_device(given)
    else:
        from profiles.detect import detect
        from profiles.resolve import with_calibration

        device = with_calibration(detect(measure=measure))
    if as_json:
        write_json("device", device)
    else:
        write_text(_render(device))


@click.group(epilog="Example: slm-advisor devices show 'Pixel 9'")
def devices() -> None:
    """The library of known devices: phones, computers, boards, cards and chips."""


@devices.command("list", epilog="Example: slm-advisor devices list --class phone")
@click.option(
    "--class", "class_", type=click.Choice(get_args(DeviceClass)), help="Only devices of this class."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_(class_: str | None, as_json: bool) -> None:
    """List the library: name, class, memory, bandwidth, accelerator."""
    from profiles.library import load_library

    _write_entries([e for e in load_library().entries if class_ in (None, e.class_)], as_json)


@devices.command(epilog="Example: slm-advisor devices find snapdragon")
@click.argument("text")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def find(text: str, as_json: bool) -> int:
    """Find devices whose name, chip or graphics holds every word of TEXT."""
    from profiles.library import nearest, search

    found = search(text)
    if not found:
        near = nearest(text)
        if as_json:
            write_json("devices", {"devices": [], "nearest": list(near)})
        else:
            narrate(f"slm-advisor: nothing in the library fits '{text}'")
            if near:
                narrate("  nearest: " + ", ".join(near))
        return 3
    _write_entries(found, as_json)
    return 0


@devices.command(epilog="Example: slm-advisor devices show 'RTX 4090' --json")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON document in the schema of `profile --json`.")
def show(name: str, as_json: bool) -> None:
    """Show one device of the library with the source of each figure."""
    from profiles.library import find as find_device

    device = find_device(name)
    if as_json:
        write_json("device", device)
    else:
        write_text(_render(device))


def _write_entries(entries: list[Entry], as_json: bool) -> None:
    from profiles.library import summary

    rows = [summary(entry) for entry in entries]
    if as_json:
        write_json("devices", {"devices": rows})
        return
    table = [("NAME", "CLASS", "MEMORY", "GB/s", "ACCELERATOR")]
    for row in rows:
        sizes = row["memory_gb"]
        memory = "?" if not sizes else f"{sizes[0]:g}" if len(sizes) == 1 else f"{sizes[0]:g}-{sizes[-1]:g}"
        speed = row["bandwidth_bytes_per_s"]
        graphics = ", ".join(row["accelerators"]) or "-"
        table.append(
            (row["name"], row["class"], memory + " GB", "?" if not speed else f"{speed / 1e9:.4g}", graphics)
        )
    widths = (35, 11, 10, 6, 14)
    lines = [
        " ".join(_cut(cell, width).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    write_text(
        "\n".join(lines) + f"\n{len(rows)} devices. 'slm-advisor devices show NAME' for the figures.\n"
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def _render(device: Device) -> str:
    """The device as lines of at most 80 columns: a fact, its value, where it comes from."""
    import textwrap

    lines = [device.name or "unknown device", ""]
    for label, value, path in _facts(device):
        if value is None:
            continue
        source = device.sources.get(path, "")
        short = f"[{_origin(source)}]" if source else ""
        head = f"  {label:<20}"
        body = textwrap.wrap(value, WIDTH - len(head) - len(short) - 1) or [""]
        lines.append(f"{head}{body[0].ljust(WIDTH - len(head) - len(short) - 1)} {short}".rstrip())
        lines += [" " * len(head) + rest for rest in body[1:]]
    if device.notes:
        lines += ["", "Notes"]
        for note in device.notes:
            text = f"{note.field}: {note.message}" if note.field else note.message
            lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines) + "\n"


def _origin(source: str) -> str:
    """One word for where a fact comes from; `--json` has the whole source."""
    if source.startswith("library"):
        return "library, unverified" if "unverified" in source else "library"
    if source.startswith("measured"):
        return "measured"
    if source.startswith(("device file", "device given")):
        return "given"
    return "derived" if "reserve" in source or "share" in source else "read here"


def _facts(device: Device) -> list[tuple[str, str | None, str]]:
    """(label, value, path) of every fact people look for, in order."""
    cpu, memory, storage, power, platform = (
        device.cpu,
        device.memory,
        device.storage,
        device.power,
        device.platform,
    )
    facts: list[tuple[str, str | None, str]] = [
        ("class", device.class_, "class"),
        ("processor", cpu.name, "cpu.name"),
        ("cores", _cores(device), "cpu.cores"),
        ("usable threads", _text(cpu.usable_threads), "cpu.usable_threads"),
        ("kernel features", " ".join(cpu.isa) if cpu.isa else None, "cpu.isa"),
        ("caches L1d/L2/L3", _caches(device), "cpu.l2_bytes"),
        ("clock, base", _scaled(cpu.base_hz, 1e9, "GHz"), "cpu.base_hz"),
        ("clock, boost", _scaled(cpu.boost_hz, 1e9, "GHz"), "cpu.boost_hz"),
        ("memory", _memory(memory.total_bytes, memory.type), "memory.total_bytes"),
        ("cgroup limit", _amount(memory.limit_bytes), "memory.limit_bytes"),
        ("budget now", _amount(memory.budget_now_bytes), "memory.budget_now_bytes"),
        ("budget cleared", _amount(memory.budget_cleared_bytes), "memory.budget_cleared_bytes"),
        (
            "bandwidth, spec",
            _scaled(memory.bandwidth_bytes_per_s, 1e9, "GB/s"),
            "memory.bandwidth_bytes_per_s",
        ),
        (
            "bandwidth, measured",
            _scaled(memory.measured_bandwidth_bytes_per_s, 1e9, "GB/s"),
            "memory.measured_bandwidth_bytes_per_s",
        ),
    ]
    for i, accelerator in enumerate(device.accelerators):
        path = f"accelerators.{i}"
        shared = " (shares main memory)" if accelerator.shared_memory else ""
        details = [
            accelerator.backend,
            _amount(accelerator.memory_bytes),
            f"{_amount(accelerator.memory_free_bytes)} free"
            if accelerator.memory_free_bytes is not None
            else None,
            f"limit {_amount(accelerator.memory_limit_bytes)}" if accelerator.memory_limit_bytes else None,
            _scaled(accelerator.memory_bandwidth_bytes_per_s, 1e9, "GB/s"),
            _scaled(accelerator.fp16_flops, 1e12, "TFLOPS"),
            accelerator.compute_capability,
            _scaled(accelerator.power_limit_w, 1, "W"),
        ]
        facts.append((f"accelerator {i}", f"{accelerator.name or 'unnamed'}{shared}", f"{path}.name"))
        facts.append(("", ", ".join(d for d in details if d), f"{path}.memory_bandwidth_bytes_per_s"))
    place = f"{_amount(storage.models_free_bytes)} free at {storage.models_path}"
    temporary = f"{_amount(storage.temporary_free_bytes)} free at {storage.temporary_path}"
    battery = f", battery {power.battery_percent:g}%" if power.battery_percent is not None else ""
    facts += [
        ("models go to", place if storage.models_free_bytes is not None else None, "storage.models_path"),
        (
            "temporary files",
            temporary if storage.temporary_free_bytes is not None else None,
            "storage.temporary_path",
        ),
        ("calibrated", _calibrated(device), "calibration"),
        ("power", f"{power.source}{battery}" if power.source else None, "power.source"),
        ("system", " ".join(filter(None, (platform.system, platform.release))) or None, "platform.system"),
        ("machine", platform.machine_model, "platform.machine_model"),
        ("virtual machine", platform.virtual_machine, "platform.virtual_machine"),
        ("container", platform.container, "platform.container"),
    ]
    return facts


def _calibrated(device: Device) -> str | None:
    """When and for which engine; a calibration's age says how far to trust it on a machine that changes."""
    from datetime import UTC, datetime

    own = device.calibration
    if own is None:
        return None
    try:
        days = (datetime.now(UTC) - datetime.fromisoformat(own.at)).days
        age = "today" if days < 1 else f"{days} day{'s' if days != 1 else ''} ago"
    except (ValueError, TypeError, OverflowError):  # a device file may say anything
        age = own.at
    return f"{age}, with {own.engine}"


def _cores(device: Device) -> str | None:
    cpu = device.cpu
    if cpu.performance_cores is None:
        return _text(cpu.cores)
    kinds = (
        f"{cpu.performance_cores} performance + {cpu.efficiency_cores} efficiency"
        if cpu.efficiency_cores
        else None
    )
    threads = f", {cpu.threads} threads" if cpu.threads else ""
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


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
