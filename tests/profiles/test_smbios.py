"""Theoretical bandwidth from the firmware's memory table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.probes.dmi import read_memory_modules
from tests.profiles.smbios import END, memory_device


def modules(*locators: str, speed: int = 3200, kind: int = 0x1A) -> bytes:
    """A table of 16 GiB modules at these locators."""
    return (
        b"".join(
            memory_device(name, "", size_mib=16384, speed=speed, configured=speed, kind=kind)
            for name in locators
        )
        + END
    )


@pytest.mark.parametrize(
    ("locators", "gigabytes"),
    [
        (("DIMM_A1", "DIMM_A2", "DIMM_B1", "DIMM_B2"), 51.2),  # four modules on two channels
        (("ChannelA-DIMM0", "ChannelB-DIMM0"), 51.2),
        (("P0 CHANNEL A", "P0 CHANNEL B", "P0 CHANNEL C", "P0 CHANNEL D"), 102.4),
        (("DIMM 0",), 25.6),  # one module: one channel
    ],
)
def test_modules_on_one_channel_share_it(locators: tuple[str, ...], gigabytes: float) -> None:
    """Bandwidth counts channels, not modules."""
    found = read_memory_modules(modules(*locators))
    assert found.type == "DDR4-3200"
    assert found.bandwidth_bytes_per_s == gigabytes * 1e9


def test_modules_that_do_not_tell_their_channel_give_no_bandwidth() -> None:
    """Four modules with names that say nothing may sit on two or four channels: unknown, with the reason."""
    found = read_memory_modules(modules("A", "B", "C", "D"))
    assert found.bandwidth_bytes_per_s is None
    assert found.reason is not None
    assert "4 memory modules" in found.reason


def test_empty_sockets_do_not_count() -> None:
    """A socket without a module has size 0."""
    empty = memory_device("DIMM_B1", "", size_mib=0, speed=0, configured=0, kind=2)
    full = memory_device("DIMM_A1", "", size_mib=8192, speed=2400, configured=2400, kind=0x1A)
    assert read_memory_modules(full + empty + END).bandwidth_bytes_per_s == 19.2e9


@given(st.integers(0, 400), st.binary(max_size=60))
def test_a_cut_or_damaged_table_never_crashes(cut: int, garbage: bytes) -> None:
    """Firmware tables can be cut or wrong anywhere; what comes out is a result all the same."""
    table = modules("DIMM_A1", "DIMM_B1")
    found = read_memory_modules(table[:cut] + garbage)
    assert found.bandwidth_bytes_per_s is None or found.bandwidth_bytes_per_s > 0
