"""The fingerprint: the same for the same hardware, another for what would run at another speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from profiles.detect import detect
from profiles.device import Accelerator, Device
from profiles.fingerprint import fingerprint
from tests.profiles.recordings import NAMES, machine


def changed(device: Device, part: str, **fields: Any) -> Device:
    """The device with fields of one part replaced."""
    inner = msgspec.structs.replace(getattr(device, part), **fields)
    return msgspec.structs.replace(device, **{part: inner})


@pytest.fixture
def device(tmp_path: Path) -> Device:
    found = detect(machine("desktop-rtx-4090", tmp_path))
    card = Accelerator(name="NVIDIA GeForce RTX 4070", vendor="NVIDIA", backend="cuda", memory_bytes=12 << 30)
    return msgspec.structs.replace(found, accelerators=(card,))


DAILY: dict[str, tuple[str, dict[str, Any]]] = {
    "free memory": ("memory", {"available_bytes": 1 << 30, "budget_now_bytes": 1 << 30}),
    "a measured bandwidth": ("memory", {"measured_bandwidth_bytes_per_s": 1e10}),
    "a memory limit": ("memory", {"limit_bytes": 1 << 30}),
    "the battery": ("power", {"source": "battery", "battery_percent": 12.0}),
    "free disk space": ("storage", {"models_free_bytes": 1 << 30}),
    "a new kernel": ("platform", {"release": "99.1"}),
}


@pytest.mark.parametrize("what", DAILY)
def test_what_changes_from_day_to_day_leaves_it_alone(what: str, device: Device) -> None:
    """A calibration made on battery with a full disk is still this device's."""
    part, fields = DAILY[what]
    assert fingerprint(changed(device, part, **fields)) == fingerprint(device)


def test_the_name_leaves_it_alone(device: Device) -> None:
    """A name is the user's to choose, and notes and sources are only words."""
    renamed = msgspec.structs.replace(device, name="my box", sources={}, notes=())
    assert fingerprint(renamed) == fingerprint(device)


def test_memory_the_firmware_keeps_leaves_it_alone(device: Device) -> None:
    """The same modules show a little less after an update of the firmware."""
    sixteen = [
        fingerprint(changed(device, "memory", total_bytes=size)) for size in (16_500_000_000, 16_600_000_000)
    ]
    assert sixteen[0] == sixteen[1]
    assert fingerprint(changed(device, "memory", total_bytes=33_000_000_000)) != sixteen[0]


HARDWARE: dict[str, tuple[str, dict[str, Any]]] = {
    "another processor": ("cpu", {"name": "Intel(R) Celeron(R) N4020"}),
    "fewer cores": ("cpu", {"cores": 1}),
    "fewer threads for this process": ("cpu", {"usable_threads": 1}),
    "fewer instructions": ("cpu", {"isa": ("sse3",)}),
    "more memory": ("memory", {"total_bytes": 1 << 40}),
    "another system": ("platform", {"system": "windows"}),
    "another model": ("platform", {"machine_model": "Some Laptop 14"}),
}


@pytest.mark.parametrize("what", HARDWARE)
def test_other_hardware_is_another_device(what: str, device: Device) -> None:
    """What runs models at another speed is never taken for this device."""
    part, fields = HARDWARE[what]
    assert fingerprint(changed(device, part, **fields)) != fingerprint(device)


def test_another_card_is_another_device_and_the_order_of_cards_is_not(device: Device) -> None:
    """Accelerators count with their names and memory, in whatever order the driver lists them."""
    first = device.accelerators[0]
    second = msgspec.structs.replace(first, name="NVIDIA GeForce RTX 3060")
    bigger = msgspec.structs.replace(first, memory_bytes=16 << 30)

    def of(*cards: Accelerator) -> str:
        return fingerprint(msgspec.structs.replace(device, accelerators=cards))

    assert of(first, second) == of(second, first)
    assert len({of(), of(first), of(second), of(bigger), of(first, second)}) == 5


def test_every_recorded_machine_has_its_own(tmp_path: Path) -> None:
    """No two of the recorded machines are taken for one, and a second look gives the same."""
    seen: dict[str, list[str]] = {}
    for name in NAMES:
        digest = fingerprint(detect(machine(name, tmp_path / name)))
        assert digest == fingerprint(detect(machine(name, tmp_path / name)))
        assert len(digest) == 16
        seen.setdefault(digest, []).append(name)
    assert all(len(names) == 1 for names in seen.values()), seen


def test_a_device_of_which_nothing_is_known_has_one() -> None:
    """No fact is needed."""
    assert len(fingerprint(Device())) == 16
