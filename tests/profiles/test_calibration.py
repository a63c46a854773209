"""A calibration is kept for one device and one engine, and a strange one is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from profiles.calibration import BackendCalibration, Calibration, KindCost, ThreadRate, TypeRate, problem_of
from profiles.calibration_store import load_calibration, save_calibration
from profiles.device import Device
from profiles.device_file import read_device
from profiles.errors import InvalidDeviceError

DEVICE, ENGINE = "0123456789abcdef", "llama-cpp-python 0.3.36 (1a2b3c4d)"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "slm-advisor" / "calibrations"


def made(**fields: Any) -> Calibration:
    """A plausible calibration of a CPU."""
    backend = BackendCalibration(
        backend="cpu",
        threads=2,
        threads_batch=4,
        token_s=1e-4,
        block_s=6e-5,
        element_s=1e-8,
        head_s=3e-9,
        attention_s_per_flop=1e-11,
        cache_s_per_byte=2e-11,
        prompt_attention_flops=1e11,
        types=(
            TypeRate(
                type="Q8_0",
                decode_bytes_per_s=4e10,
                row_s=1e-8,
                prompt_weights_per_s=1.5e11,
                batch_share=0.5,
            ),
        ),
        kinds=(KindCost(kind="experts", block_s=1e-4, prompt_factor=2.5),),
        by_threads=(ThreadRate(threads=2, tg_tokens_per_s=300.0, pp_tokens_per_s=1500.0),),
    )
    given: dict[str, Any] = {
        "at": "2026-11-23T23:00:00Z",
        "seconds": 42.0,
        "fingerprint": DEVICE,
        "engine": ENGINE,
        "backends": (backend,),
        **fields,
    }
    return Calibration(**given)


def test_what_was_kept_is_found_again() -> None:
    """The next start of the program has the very numbers of the last calibration."""
    save_calibration(made())
    assert load_calibration(DEVICE, ENGINE).calibration == made()


def test_another_device_has_no_calibration() -> None:
    """A disk that moved to another computer does not bring the old one's speed along."""
    save_calibration(made())
    assert load_calibration("fedcba9876543210", ENGINE).calibration is None


def test_another_engine_drops_it_and_says_so() -> None:
    """After an update of the engine its kernels may be others: estimates fall back, with the way out."""
    save_calibration(made())
    loaded = load_calibration(DEVICE, "llama-cpp-python 0.3.37 (99999999)")
    assert loaded.calibration is None
    assert "0.3.36" in (loaded.problem or "")
    assert "slm-advisor calibrate" in (loaded.problem or "")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000, b"x" * (2 << 20)],
    ids=["empty", "cut", "list", "binary", "gaps", "nested", "huge"],
)
def test_a_damaged_file_is_a_named_problem(folder: Path, content: bytes) -> None:
    """Nobody's estimate fails because of a file that a crash or a stranger left."""
    folder.mkdir(parents=True)
    (folder / f"{DEVICE}.json").write_bytes(content)
    loaded = load_calibration(DEVICE, ENGINE)
    assert loaded.calibration is None
    assert DEVICE in (loaded.problem or "")


def test_a_calibration_of_another_format_is_not_used() -> None:
    """Numbers whose meaning changed are measured again, not misread."""
    save_calibration(made(format=99))
    assert "format" in (load_calibration(DEVICE, ENGINE).problem or "")


def test_it_travels_in_a_device_file() -> None:
    """`profile --json` on the board, `--device` on the laptop: the estimates are the calibrated ones."""
    device = Device(name="a board", calibration=made())
    text = msgspec.json.encode({"schema": "slm-advisor/device", **msgspec.to_builtins(device)})
    assert read_device(json.loads(text)).calibration == made()


def number(path: str, value: object) -> dict[str, Any]:
    """A device file whose calibration has one field replaced."""
    fields = msgspec.to_builtins(Device(name="a board", calibration=made()))
    place: Any = fields["calibration"]
    *way, last = path.split(".")
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    return fields  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("backends.0.types.0.decode_bytes_per_s", 0),
        ("backends.0.types.0.decode_bytes_per_s", -1),
        ("backends.0.types.0.prompt_weights_per_s", 1e300),
        ("backends.0.prompt_attention_flops", 10**400),
        ("backends.0.block_s", -1e-6),
        ("backends.0.threads", 0),
        ("backends.0.types", []),
        ("backends.0.by_threads.0.tg_tokens_per_s", 0.0),
        ("backends.0.backend", "abacus"),
        ("backends.0.kinds.0.kind", "x" * 10_000),
        ("format", 1),
        ("sorcery", 1),
    ],
)
def test_a_hostile_calibration_is_refused_with_its_path(path: str, value: object) -> None:
    """A prediction divides by these numbers: none may be zero, negative, absurd or unknown."""
    with pytest.raises(InvalidDeviceError) as caught:
        read_device(number(path, value))
    assert "calibration" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_too_many_types_are_refused() -> None:
    """A list of a million entries is no calibration."""
    own = made().backends[0]
    many = msgspec.structs.replace(own, types=own.types * 1000)
    assert "at most" in (problem_of(made(backends=(many,))) or "")
