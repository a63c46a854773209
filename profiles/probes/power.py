"""Mains or battery: a laptop on its battery clocks down, and a phone throttles within a minute."""

from __future__ import annotations

import re

from profiles.device import Power
from profiles.ledger import Ledger
from profiles.machine import Machine

SUPPLIES = "/sys/class/power_supply"


def probe_power(machine: Machine, ledger: Ledger) -> Power:
    """Power source and charge: sysfs on Linux and Android, `pmset` on macOS, psutil elsewhere."""
    if machine.system == "darwin":
        return _darwin(machine, ledger)
    if machine.system not in ("linux", "android"):
        return _elsewhere(ledger)
    mains: list[bool] = []
    charge: int | None = None
    discharging = False
    for name in machine.list(SUPPLIES):
        folder = f"{SUPPLIES}/{name}"
        kind = machine.read(f"{folder}/type")
        if kind in ("Mains", "USB", "USB_C", "Wireless"):
            mains.append(machine.read_int(f"{folder}/online") == 1)
        # A mouse or a keyboard also has a battery; its scope says "Device".
        elif kind == "Battery" and machine.read(f"{folder}/scope") != "Device":
            charge = machine.read_int(f"{folder}/capacity")
            discharging = machine.read(f"{folder}/status") == "Discharging"
    if not mains and charge is None:
        ledger.note(
            "source", "no power supply in /sys/class/power_supply (usual for desktops and virtual machines)"
        )
        return Power()
    on_battery = discharging or (bool(mains) and not any(mains) and charge is not None)
    return Power(
        source=ledger.fact("source", "battery" if on_battery else "mains", SUPPLIES),
        battery_percent=ledger.fact(
            "battery_percent", float(charge) if charge is not None else None, SUPPLIES
        ),
    )


def _darwin(machine: Machine, ledger: Ledger) -> Power:
    text = machine.run("pmset", "-g", "batt") or ""
    source = re.search(r"Now drawing from '(AC|Battery) Power'", text)
    charge = re.search(r"\b(\d{1,3})%", text)
    if source is None:
        ledger.note("source", "pmset gave no answer")
        return Power()
    return Power(
        source=ledger.fact("source", "mains" if source[1] == "AC" else "battery", "pmset -g batt"),
        battery_percent=ledger.fact("battery_percent", float(charge[1]) if charge else None, "pmset -g batt"),
    )


def _elsewhere(ledger: Ledger) -> Power:
    import psutil

    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is None:
        ledger.note("source", "psutil sees no battery")
        return Power()
    return Power(
        source=ledger.fact("source", "mains" if battery.power_plugged else "battery", "psutil"),
        battery_percent=ledger.fact("battery_percent", float(battery.percent), "psutil"),
    )
