"""Device files: any subset of the fields `profile --json` writes, read strictly.

A wrong field or value is refused with its path, never skipped: an estimate for another machine than the one the user
described would look just as good.
"""

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from profiles.calibration import problem_of
from profiles.device import Device
from profiles.errors import InvalidDeviceError
from profiles.files import read_at_most
from profiles.fill import fill_in
from profiles.ledger import missing_sources

SIZE_LIMIT_BYTES = 1 << 20
ACCELERATOR_LIMIT = 64
# What a document of `profile --json` carries besides the device
ENVELOPE = ("schema", "schema_version", "tool_version", "catalog_version")

MIB, TIB = 1 << 20, 1 << 40
# field name -> (smallest, largest, unit): outside of it a value is a slip, mostly of the unit
_BOUNDS: dict[str, tuple[float, float, str]] = {
    "total_bytes": (16 * MIB, 256 * TIB, "bytes"),
    "limit_bytes": (MIB, 256 * TIB, "bytes"),
    "memory_bytes": (16 * MIB, 256 * TIB, "bytes"),
    "memory_limit_bytes": (MIB, 256 * TIB, "bytes"),
    "available_bytes": (0, 256 * TIB, "bytes"),
    "budget_now_bytes": (0, 256 * TIB, "bytes"),
    "budget_cleared_bytes": (0, 256 * TIB, "bytes"),
    "memory_free_bytes": (0, 256 * TIB, "bytes"),
    "models_free_bytes": (0, 1e21, "bytes"),
    "temporary_free_bytes": (0, 1e21, "bytes"),
    "l1d_bytes": (1 << 10, 1 << 30, "bytes"),
    "l2_bytes": (1 << 10, 1 << 32, "bytes"),
    "l3_bytes": (1 << 10, 1 << 36, "bytes"),
    "bandwidth_bytes_per_s": (1e8, 1e14, "bytes per second"),
    "measured_bandwidth_bytes_per_s": (1e8, 1e14, "bytes per second"),
    "memory_bandwidth_bytes_per_s": (1e8, 1e14, "bytes per second"),
    "fp16_flops": (1e9, 1e17, "operations per second"),
    "base_hz": (1e6, 2e10, "hertz"),
    "boost_hz": (1e6, 2e10, "hertz"),
    "performance_cores": (0, 4096, "cores"),
    "efficiency_cores": (0, 4096, "cores"),
    "cores": (1, 4096, "cores"),
    "threads": (1, 8192, "threads"),
    "usable_threads": (1, 8192, "threads"),
    "power_limit_w": (0.1, 1e5, "watts"),
    "battery_percent": (0, 100, "percent"),
}


def load_device_file(path: str | Path) -> Device:
    """The device a JSON file describes, with its gaps filled in from the library.

    Raises InvalidDeviceError, with the file and the JSON path, for anything that cannot be understood.
    """
    try:
        content = read_at_most(Path(path), SIZE_LIMIT_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise InvalidDeviceError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        fields = msgspec.json.decode(content.removeprefix(codecs.BOM_UTF8))  # some editors write one
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidDeviceError(f"{path}: not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise InvalidDeviceError(f"{path}: not JSON: not UTF-8") from error
    try:
        return read_device(fields, f"device file {path}")
    except InvalidDeviceError as error:
        raise InvalidDeviceError(f"{path}: {error}") from error


def read_device(fields: object, source: str = "device given inline") -> Device:
    """The device a decoded JSON object describes, checked and filled in.

    `source` is what `sources` says of the facts it gives. Raises InvalidDeviceError with the JSON path.
    """
    if not isinstance(fields, Mapping):
        raise InvalidDeviceError(f"expected an object with the fields of a device, got {_kind(fields)}")
    own = {key: value for key, value in fields.items() if key not in ENVELOPE}
    schema = fields.get("schema")
    if schema is not None and schema not in ("slm-advisor/profile", "slm-advisor/device"):
        raise InvalidDeviceError(f"schema: '{schema}' is not a device; expected 'slm-advisor/profile'")
    try:
        device = msgspec.convert(own, Device, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidDeviceError(_reworded(str(error), own)) from error
    _check(device)
    given = dict.fromkeys(missing_sources(device, device.sources), source)
    device = msgspec.structs.replace(device, sources={**device.sources, **given})
    if device.name is None and device.class_ is None and not given:
        raise InvalidDeviceError("the device has no fields: give at least a name or memory.total_bytes")
    return fill_in(device, add_accelerators="accelerators" not in own)


@functools.lru_cache(maxsize=1024)
def read_device_json(text: bytes) -> Device:
    """`read_device` of JSON text, remembered: rows of a batch repeat their devices."""
    return read_device(msgspec.json.decode(text))


def _check(device: Device) -> None:
    """Refuse values no device has."""
    if device.calibration is not None and (problem := problem_of(device.calibration)):
        raise InvalidDeviceError(problem)
    if len(device.accelerators) > ACCELERATOR_LIMIT:
        raise InvalidDeviceError(
            f"accelerators: {len(device.accelerators)} of them, at most {ACCELERATOR_LIMIT}"
        )
    parts: list[tuple[str, msgspec.Struct]] = [
        ("cpu", device.cpu),
        ("memory", device.memory),
        ("storage", device.storage),
        ("power", device.power),
        *((f"accelerators[{i}]", accelerator) for i, accelerator in enumerate(device.accelerators)),
    ]
    for part, struct in parts:
        for field in struct.__struct_fields__:
            bounds, value = _BOUNDS.get(field), getattr(struct, field)
            if bounds is None or value is None:
                continue
            low, high, unit = bounds
            if not low <= value <= high:  # also refuses NaN
                shown = f"{value:g}" if abs(value) < 1e300 else "a number of hundreds of digits of"
                raise InvalidDeviceError(
                    f"{part}.{field}: {shown} {unit} cannot be; allowed is {low:g} to {high:g} "
                    f"(in {unit}; null where it is unknown)"
                )
    for name in (device.name, device.cpu.name, *(a.name for a in device.accelerators)):
        if name is not None and not 0 < len(name.strip()) <= 200:
            raise InvalidDeviceError("name: expected 1 to 200 characters (null where it is unknown)")
    memory = device.memory
    if memory.total_bytes is not None:
        for field in ("available_bytes", "budget_now_bytes", "budget_cleared_bytes"):
            value = getattr(memory, field)
            if value is not None and value > memory.total_bytes:
                raise InvalidDeviceError(f"memory.{field}: {value} is more than memory.total_bytes")
    cpu = device.cpu
    if cpu.threads is not None and cpu.cores is not None and cpu.cores > cpu.threads:
        raise InvalidDeviceError(f"cpu.cores: {cpu.cores} is more than cpu.threads ({cpu.threads})")
    if cpu.performance_cores == 0 and not (cpu.efficiency_cores or cpu.cores or cpu.threads):
        raise InvalidDeviceError("cpu.performance_cores: a processor has at least one core")
    for i, accelerator in enumerate(device.accelerators):
        free, total = accelerator.memory_free_bytes, accelerator.memory_bytes
        if free is not None and total is not None and free > total:
            raise InvalidDeviceError(f"accelerators[{i}].memory_free_bytes: {free} is more than memory_bytes")


_WORDS = {"`": "", " | null": "", "object": "an object", "array": "a list"}


def _reworded(message: str, fields: Mapping[str, Any]) -> str:
    """msgspec's message with the path first: "memory.total_bytes: expected int, got str"."""
    text, _, path = message.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown:
        field = f"{path}.{unknown[1]}" if path else unknown[1]
        return f"{field}: there is no such field{_near_field(unknown[1])}"
    enum = re.fullmatch(r"Invalid enum value '(.*)'", text)
    if enum:
        return f"{path}: '{enum[1]}' is not allowed; allowed is {_choices(path)}"
    for old, new in _WORDS.items():
        text = text.replace(old, new)
    text = text[:1].lower() + text[1:]
    return f"{path}: {text}" if path else text


def _near_field(name: str) -> str:
    """A hint at the field that was meant, wherever in the device it is."""
    import difflib

    parts: list[type] = [Device, *_part_types()]
    known = {field.encode_name for part in parts for field in msgspec.structs.fields(part)}
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _part_types() -> list[type]:
    from profiles.device import Accelerator, Cpu, Memory, Platform, Power, Storage

    return [Accelerator, Cpu, Memory, Platform, Power, Storage]


def _choices(path: str) -> str:
    from typing import get_args

    from profiles.device import Backend, DeviceClass

    if path == "class":
        return ", ".join(get_args(DeviceClass))
    if path.endswith("backend"):
        return ", ".join(get_args(Backend))
    return "mains, battery"


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", type(None): "null", bool: "a boolean"}.get(
        type(value), "a number"
    )
