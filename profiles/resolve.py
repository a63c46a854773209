"""From what a user gives as a device to a `Device`: nothing, a name, a file, or an object in a row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from profiles.device import Device, Note
from profiles.errors import InvalidDeviceError

QUICK_MEASUREMENT_S = 0.05


def resolve_device(given: str | Mapping[str, Any] | None = None) -> Device:
    """None: this machine. A path to a file: the device it describes. Other text: a name of the library.

    An object is a device file's content. Names and objects are remembered, so that a batch pays for each once.
    Raises UnknownDeviceError for a name, InvalidDeviceError for a file or an object.
    """
    if given is None:
        return _this_machine()
    if isinstance(given, str):
        if is_file_name(given):
            from profiles.device_file import load_device_file

            return load_device_file(given)
        from profiles.library import find

        return find(given)
    if not isinstance(given, Mapping):
        raise InvalidDeviceError(f"expected a device's name or an object, got {type(given).__name__}")
    from profiles.device_file import read_device_json

    return read_device_json(msgspec.json.encode(given))


def _this_machine() -> Device:
    """This machine; where its memory's bandwidth is unknown or only usual for its chip, it is measured briefly.

    Without a bandwidth there is no speed estimate at all, and a virtual machine's share of its host's, or the modules
    in a computer, are not what the data sheet of the processor says. A calibration that holds replaces that.
    """
    from profiles.detect import detect
    from profiles.fill import OWN_MODULES

    device = with_calibration(detect())
    if device.calibration is not None and device.calibration.of("cpu", None) is not None:
        return device
    source = device.sources.get("memory.bandwidth_bytes_per_s", "")
    guessed = source.startswith("library") and device.class_ in OWN_MODULES
    if device.memory.bandwidth_bytes_per_s is None or guessed:
        from profiles.measure import measured

        device = measured(device, QUICK_MEASUREMENT_S, caches=2)
    return device


def with_calibration(device: Device) -> Device:
    """This machine with its calibration where there is one that holds; a note says why one does not."""
    from profiles.calibration_store import load_calibration
    from profiles.engine.installed import installed_engine
    from profiles.fingerprint import fingerprint

    engine = installed_engine()
    loaded = load_calibration(fingerprint(device), engine.identity if engine else None)
    if loaded.problem is not None:
        note = Note("calibration", loaded.problem)
        return msgspec.structs.replace(device, notes=(*device.notes, note))
    return msgspec.structs.replace(device, calibration=loaded.calibration)


def is_file_name(text: str) -> bool:
    """Whether a device given as text means a file: it ends in .json, or there is such a file."""
    return text.lower().endswith(".json") or Path(text).is_file()
