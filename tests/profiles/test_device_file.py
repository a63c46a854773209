"""Device files and inline devices: strict where a slip would give an answer for another machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from profiles.detect import detect
from profiles.device import Device
from profiles.device_file import load_device_file, read_device
from profiles.errors import InvalidDeviceError, UnknownDeviceError
from profiles.ledger import missing_sources
from profiles.resolve import resolve_device
from tests.profiles.recordings import NAMES, machine

GIB = 1 << 30


def written(folder: Path, content: object) -> str:
    path = folder / "device.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"memory": {"total_bytes": "16 GB"}}, "memory.total_bytes: expected int, got str"),
        ({"memory": {"total_bytes": 16.5e9}}, "memory.total_bytes: expected int, got float"),
        ({"memory": {"total_bytes": True}}, "memory.total_bytes: expected int, got bool"),
        ({"memory": {"total_bytes": -1}}, "memory.total_bytes: -1 bytes cannot be"),
        ({"memory": {"total_bytes": 0}}, "memory.total_bytes: 0 bytes cannot be"),
        ({"memory": {"total_bytes": 16}}, "memory.total_bytes: 16 bytes cannot be"),
        ({"memory": {"bandwidth_bytes_per_s": 68.2}}, "memory.bandwidth_bytes_per_s: 68.2 bytes per second"),
        (
            {"memory": {"total_gb": 16}},
            "memory.total_gb: there is no such field (did you mean 'total_bytes'?)",
        ),
        ({"memory": "16 GB"}, "memory: expected an object, got str"),
        ({"colour": "grey"}, "colour: there is no such field"),
        ({"class": "toaster"}, "class: 'toaster' is not allowed; allowed is nvidia, amd"),
        ({"accelerators": {"name": "RTX 4090"}}, "accelerators: expected a list, got an object"),
        ({"accelerators": [{"backend": "cude"}]}, "accelerators[0].backend: 'cude' is not allowed"),
        ({"accelerators": [{"fp16_flops": 82.6}]}, "accelerators[0].fp16_flops: 82.6 operations per second"),
        ({"accelerators": [{}] * 65}, "accelerators: 65 of them"),
        ({"cpu": {"performance_cores": 0, "efficiency_cores": 0}}, "a processor has at least one core"),
        ({"cpu": {"performance_cores": 0}}, "a processor has at least one core"),
        ({"memory": {"total_bytes": 10**400}}, "memory.total_bytes: a number of hundreds of digits"),
        ({"cpu": {"name": ""}}, "expected 1 to 200 characters"),
        ({"cpu": {"cores": 16, "threads": 8}}, "cpu.cores: 16 is more than cpu.threads"),
        ({"memory": {"total_bytes": 8 * GIB, "available_bytes": 9 * GIB}}, "memory.available_bytes: "),
        ({"schema": "slm-advisor/recommendation", "name": "x"}, "is not a device"),
        ({}, "the device has no fields"),
        ([1], "expected an object with the fields of a device, got a list"),
        ("Pixel 9", "expected an object with the fields of a device, got a string"),
    ],
)
def test_a_slip_is_refused_with_its_path(fields: Any, words: str, tmp_path: Path) -> None:
    """Wrong fields, types, units and choices are named; nothing is skipped or rounded."""
    content = json.dumps(fields)
    with pytest.raises(InvalidDeviceError) as caught:
        load_device_file(written(tmp_path, content))
    assert words in str(caught.value)
    assert "device.json" in str(caught.value)


def test_a_pipe_is_no_device_file(tmp_path: Path) -> None:
    """A pipe that nobody writes to would be waited for without end."""
    pipe = tmp_path / "device.json"
    os.mkfifo(pipe)
    with pytest.raises(InvalidDeviceError, match="not a file"):
        load_device_file(pipe)


def test_a_null_character_in_a_file_name_is_a_clear_error() -> None:
    """A row of a batch can hold any text."""
    with pytest.raises(InvalidDeviceError, match="null"):
        resolve_device("a\0b.json")


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    """Some editors write one before UTF-8."""
    path = tmp_path / "device.json"
    path.write_bytes(b'\xef\xbb\xbf{"name": "a board", "memory": {"total_bytes": 1073741824}}')
    assert load_device_file(path).name == "a board"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ('{"name": "x"', "not JSON"),
        ("[" * 100_000, "not JSON"),
        (" " * (1 << 20) + "{}", "larger than 1 MiB"),
        ('{"memory": {"total_bytes": NaN}}', "not JSON"),
    ],
)
def test_what_is_no_json_is_a_clear_error(content: str, words: str, tmp_path: Path) -> None:
    """Cut, nested without end, huge, or not JSON at all."""
    with pytest.raises(InvalidDeviceError, match=words):
        load_device_file(written(tmp_path, content))


def test_bytes_that_are_no_text_are_a_clear_error(tmp_path: Path) -> None:
    """A model file given by mistake is refused, not read as a device."""
    path = tmp_path / "model.json"
    path.write_bytes(b'{"name": "\xff\xfe"}')
    with pytest.raises(InvalidDeviceError, match="not JSON"):
        load_device_file(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """The path and the system's reason."""
    with pytest.raises(InvalidDeviceError, match=r"nowhere\.json: No such file"):
        resolve_device(str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_reads_back_as_it_was_written(name: str, tmp_path: Path) -> None:
    """`profile --json > FILE` and `--device FILE` give the same device, for every recorded machine."""
    device = detect(machine(name, tmp_path / "root"))
    envelope = {
        "schema": "slm-advisor/profile",
        "schema_version": 1,
        "tool_version": "0",
        "catalog_version": "0",
    }
    document = {**envelope, **msgspec.to_builtins(device)}
    assert msgspec.structs.replace(load_device_file(written(tmp_path, document)), notes=()) == (
        msgspec.structs.replace(device, notes=())
    )


def test_what_a_file_leaves_out_comes_from_the_library_and_is_marked(tmp_path: Path) -> None:
    """A file that names the chip gets its bandwidth; what it gives itself is kept."""
    fields = {"name": "my board", "cpu": {"name": "BCM2712"}, "memory": {"total_bytes": 8 * GIB}}
    path = written(tmp_path, fields)
    device = load_device_file(path)
    assert device.name == "my board"
    assert device.class_ == "sbc"
    assert device.memory.total_bytes == 8 * GIB
    assert device.memory.bandwidth_bytes_per_s == 17.1e9
    assert device.sources["memory.bandwidth_bytes_per_s"].startswith("library: BCM2712 (general knowledge")
    assert device.sources["memory.total_bytes"] == f"device file {path}"
    assert missing_sources(device, device.sources) == []


def test_a_cards_name_is_enough() -> None:
    """{"accelerators": [{"name": "RTX 4090"}]} has memory, bandwidth, backend and TFLOPS."""
    device = read_device({"accelerators": [{"name": "RTX 4090"}]})
    (card,) = device.accelerators
    assert card.memory_bytes == 24 * GIB
    assert card.memory_bandwidth_bytes_per_s == 1010e9
    assert card.backend == "cuda"
    assert card.name == "RTX 4090"


def test_cores_tell_variants_of_a_chip_apart() -> None:
    """An M3 Max with 12 performance cores is the one with 400 GB/s; without a hint neither is chosen."""
    cpu = {"name": "Apple M3 Max", "performance_cores": 12, "efficiency_cores": 4}
    assert read_device({"cpu": cpu}).memory.bandwidth_bytes_per_s == 400e9
    unknown = read_device({"cpu": {"name": "Apple M3 Max"}})
    assert unknown.memory.bandwidth_bytes_per_s is None
    assert any("ambiguous" in note.message for note in unknown.notes)


def test_what_the_library_guessed_or_lacks_is_noted() -> None:
    """A phone's memory is the smallest it is sold with, and a card's name does not tell the host's memory."""
    phone = {note.field: note.message for note in read_device({"name": "OnePlus 13"}).notes}
    assert "the smallest was taken" in phone["memory.total_bytes"]
    card = {note.field: note.message for note in read_device({"name": "RTX 4090"}).notes}
    assert "memory of the host" in card["memory.total_bytes"]


def test_given_values_win_over_the_library() -> None:
    """A card with other memory clocks keeps them."""
    given = {"accelerators": [{"name": "RTX 4090", "memory_bandwidth_bytes_per_s": 1.1e12}]}
    assert read_device(given).accelerators[0].memory_bandwidth_bytes_per_s == 1.1e12


def test_no_accelerators_means_none() -> None:
    """An empty list says that there is no accelerator; leaving the field out asks the library."""
    assert read_device({"name": "Pixel 9", "accelerators": []}).accelerators == ()
    assert read_device({"name": "Pixel 9"}).accelerators[0].name == "Mali-G715 MP7"


def test_memory_given_without_budgets_gets_one() -> None:
    """12 GiB on a phone leave 7.5 with other applications closed, as the table of reserves says."""
    device = read_device({"class": "phone", "memory": {"total_bytes": 12 * GIB}})
    assert device.memory.budget_cleared_bytes == pytest.approx(7.5 * GIB)
    assert device.memory.budget_now_bytes is None


def test_an_unknown_name_in_a_file_is_no_error() -> None:
    """A device nobody knows is described by its own figures alone."""
    device = read_device(
        {"name": "prototype 7", "memory": {"total_bytes": 4 * GIB, "bandwidth_bytes_per_s": 2e10}}
    )
    assert device.name == "prototype 7"
    assert device.class_ is None


def test_a_device_is_a_name_a_file_or_an_object(tmp_path: Path) -> None:
    """The three ways agree, and a name is not mistaken for a file."""
    by_file = resolve_device(written(tmp_path, {"name": "Google Pixel 9"}))
    by_object = resolve_device({"name": "Google Pixel 9"})
    by_name = resolve_device("Pixel 9")
    assert by_file.memory == by_object.memory == by_name.memory
    with pytest.raises(UnknownDeviceError):
        resolve_device("pixel99")


def test_an_object_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that repeats a device pays for it once."""
    fields = {"name": "Pixel 9", "memory": {"total_bytes": 16 * GIB}}
    first = resolve_device(fields)
    assert resolve_device(dict(fields)) is first
    assert isinstance(first, Device)
