"""`profile` shows what a device is; `devices` looks into the library of known ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import click

from advisor.cli.options import device_over, refuse_two_devices, via_option
from advisor.cli.output import narrate, write_json, write_text
from profiles.device import DeviceClass

if TYPE_CHECKING:
    from profiles.device import Device
    from profiles.entry import Entry

WIDTH = 80


@click.command(
    epilog="Examples:  slm-advisor profile --measure --json > this-machine.json\n\n"
    "slm-advisor profile --via 'adb shell' --json > phone.json"
)
@click.option("--device", "given", metavar="NAME|FILE.json", help="Show this device instead of this machine.")
@via_option
@click.option("--measure", is_flag=True, help="Also measure the memory bandwidth (under a second).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document; --device reads it back.")
def profile(given: str | None, via: str | None, measure: bool, as_json: bool) -> None:
    """Show what this device is: processor, memory, accelerators, storage, power, with each fact's source."""
    refuse_two_devices(given, via)
    if (given is not None or via is not None) and measure:
        raise click.UsageError("--measure works on this machine only: leave --device and --via out")
    if via is not None:
        device = device_over(via)
    elif given is not None:
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

    from advisor.report.device_facts import facts, origin

    lines = [device.name or "unknown device", ""]
    for fact in facts(device):
        if fact.value is None:
            continue
        source = device.sources.get(fact.path, "")
        short = f"[{origin(source)}]" if source else ""
        head = f"  {fact.label:<20}"
        body = textwrap.wrap(fact.value, WIDTH - len(head) - len(short) - 1) or [""]
        lines.append(f"{head}{body[0].ljust(WIDTH - len(head) - len(short) - 1)} {short}".rstrip())
        lines += [" " * len(head) + rest for rest in body[1:]]
    if device.notes:
        lines += ["", "Notes"]
        for note in device.notes:
            text = f"{note.field}: {note.message}" if note.field else note.message
            lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines) + "\n"
