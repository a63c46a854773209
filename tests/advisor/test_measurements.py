"""Measurements are kept, whatever other processes, crashes and strangers do to their file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from advisor import measurements as module
from advisor.evidence import Value
from advisor.measurements import Measurement, all_stores, measurements, read_store, record

DEVICE, ENGINE = "0123456789abcdef", "llama-cpp-python 0.3.36 (1a2b3c4d)"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "slm-advisor" / "measurements"


def made(rate: float = 20.0, **fields: Any) -> Measurement:
    """A measurement of tg128."""
    given = {
        "at": "2026-11-23T21:40:05Z",
        "evidence": "measured",
        "load_digest": "feedfeedfeedfeed",
        "device": DEVICE,
        "engine": ENGINE,
        "backend": "cpu",
        "threads": 2,
        "n_gen": 128,
        "tg": Value(rate, 0.95 * rate, 1.05 * rate, "measured"),
        "predicted_tg": Value(18.0, 12.0, 25.0, "calibrated"),
        **fields,
    }
    return Measurement(**given)


def test_what_was_recorded_is_read_back_in_order_for_this_engine_only() -> None:
    """Another build of the engine may be twice as fast: its results are kept and not given out."""
    first, second = made(20.0), made(21.0, depth=512)
    other = made(40.0, engine="llama-cpp-python 0.4.0 (99999999)")
    for each in (first, other, second):
        assert record(each) is None
    assert measurements(DEVICE, ENGINE) == (first, second)
    assert read_store(DEVICE).measurements == (first, other, second)
    assert measurements("f" * 16, ENGINE) == ()


def test_each_device_has_a_file_of_its_own() -> None:
    """A home that several machines share gives each its own results."""
    record(made())
    record(made(device="f" * 16))
    assert len(read_store(DEVICE).measurements) == 1
    assert {store.measurements[0].device for store in all_stores()} == {DEVICE, "f" * 16}


DAMAGED = {
    "half a line": b'{"at": "2026-11-23T21:4',
    "no JSON": b"\x00\xff\x1b[2J",
    "deep nesting": b"[" * 10_000,
    "another type": b"[1, 2, 3]",
    "no date": msgspec.json.encode(made(at="\x1b[31myesterday")),
    "a negative rate": msgspec.json.encode(made(tg=Value(-1.0, -2.0, 1.0, "measured"))),
    "an interval beside its value": msgspec.json.encode(made(tg=Value(5.0, 7.0, 9.0, "measured"))),
    "an endless rate": msgspec.json.encode(made()).replace(b"20.0", b"1e999"),
    "no result": msgspec.json.encode(made(tg=None)),
    "a result of no test": msgspec.json.encode(made(n_gen=0)),
    "another device's": msgspec.json.encode(made(device="f" * 16)),
    "a very long line": msgspec.json.encode(made(file="x" * 100_000)),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_line_is_left_out_and_counted(what: str, folder: Path) -> None:
    """The lines before and after it count."""
    record(made(20.0))
    with (folder / f"{DEVICE}.jsonl").open("ab") as file:
        file.write(DAMAGED[what] + b"\n")
    record(made(21.0))
    store = read_store(DEVICE)
    assert [each.tg.value for each in store.measurements if each.tg] == [20.0, 21.0]
    assert store.damaged == 1


def test_fields_of_a_later_version_do_not_make_a_line_useless(folder: Path) -> None:
    """A newer program beside this one adds fields; what this one knows still counts."""
    record(made())
    path = folder / f"{DEVICE}.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"at"', b'{"joules": 5, "at"'))
    assert read_store(DEVICE).measurements == (made(),)


def test_what_is_no_file_of_ours_counts_as_empty(folder: Path) -> None:
    """A folder or a pipe in place of the file neither fails nor blocks."""
    import os

    folder.mkdir(parents=True)
    (folder / f"{DEVICE}.jsonl").mkdir()
    assert read_store(DEVICE).measurements == ()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / f"{'f' * 16}.jsonl")
        assert read_store("f" * 16).measurements == ()


def test_a_file_name_that_is_not_utf_8_is_kept_as_well_as_can_be() -> None:
    """File systems allow any bytes; the result counts all the same."""
    assert record(made(file="model-\udcff.gguf")) is None
    assert [each.file for each in read_store(DEVICE).measurements] == ["model-?.gguf"]


def test_a_result_that_cannot_be_kept_says_so(folder: Path) -> None:
    """A home that cannot be written costs the record and not the result."""
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    problem = record(made())
    assert problem is not None
    assert "could not be kept" in problem


def test_the_file_stays_bounded_and_keeps_the_newest_of_every_test(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeating one test a thousand times does not push the others out."""
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 40_000)
    rare = made(9.0, depth=4096)
    record(rare)
    for i in range(200):
        record(made(10.0 + i))
    assert (folder / f"{DEVICE}.jsonl").stat().st_size <= 40_000
    kept = read_store(DEVICE)
    assert kept.damaged == 0
    assert rare in kept.measurements
    assert kept.measurements[-1] == made(209.0)
    values = [each.tg.value for each in kept.measurements if each.tg]
    assert values == sorted(values)


def test_a_file_that_grew_too_long_is_read_at_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading takes bounded time, whoever wrote the file."""
    for i in range(30):
        record(made(10.0 + i))
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 5_000)
    store = read_store(DEVICE)
    assert store.damaged == 0
    assert 0 < len(store.measurements) < 30
    assert store.measurements[-1] == made(39.0)


WRITER = """
import sys, msgspec
from advisor.measurements import Measurement, record
for line in sys.stdin.buffer:
    assert record(msgspec.json.decode(line, type=Measurement)) is None
"""


def test_two_processes_that_record_at_once_lose_nothing() -> None:
    """Lines never mix and none is overwritten."""
    batches = [
        b"".join(msgspec.json.encode(made(10.0 + i, depth=depth)) + b"\n" for i in range(100))
        for depth in (1, 2)
    ]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER], stdin=subprocess.PIPE) for _ in batches]
    for writer, batch in zip(writers, batches, strict=True):
        assert writer.stdin is not None
        writer.stdin.write(batch)
        writer.stdin.close()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    store = read_store(DEVICE)
    assert store.damaged == 0
    for depth in (1, 2):
        found = [each.tg.value for each in store.measurements if each.depth == depth and each.tg]
        assert found == [10.0 + i for i in range(100)]
