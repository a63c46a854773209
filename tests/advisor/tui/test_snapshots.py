"""Pictures of the screens, at the smallest size that is promised and at a wide one.

`pytest --snapshot-update tests/advisor/tui/test_snapshots.py` takes them anew; look at each before it is committed.
They are compared on the Python version they were made with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from advisor.tui.steps import STEPS
from tests.advisor.tui.conftest import Open, answered, until

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the pictures are made with Python 3.11"
)


@pytest.fixture
def code() -> str:
    """English, where a picture is not taken in both languages."""
    return "en"


SIZES = {"80x24": (80, 24), "140x40": (140, 40)}


@pytest.mark.parametrize("code", ["en", "ja"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", ["device", "need", "models", "try", "build", "export"])
def test_a_step_looks_as_it_did(
    step: str, size: str, wizard: Open, snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step, in each language, at each size."""
    monkeypatch.setattr("advisor.pin.now", lambda: "2026-01-01T00:00:00Z")

    async def ready(pilot: Pilot[Any]) -> None:
        await answered(pilot)
        await pilot.press(str(1 + [each.id for each in STEPS].index(step)))
        await pilot.pause(0.3)  # the plot waits until the cursor rests

    assert snap_compare(wizard(device="Raspberry Pi 5 8GB"), terminal_size=SIZES[size], run_before=ready)


def test_the_light_theme_looks_as_it_did(wizard: Open, snap_compare: Callable[..., bool]) -> None:
    """The list on a light background."""

    async def ready(pilot: Pilot[Any]) -> None:
        await answered(pilot)
        await pilot.press("3", "ctrl+t")
        await pilot.pause(0.3)

    assert snap_compare(wizard(device="Raspberry Pi 5 8GB"), terminal_size=(140, 40), run_before=ready)


def test_a_comparison_looks_as_it_did(wizard: Open, snap_compare: Callable[..., bool]) -> None:
    """Three models side by side."""

    async def ready(pilot: Pilot[Any]) -> None:
        await answered(pilot)
        await pilot.press("3", "space", "down", "space", "down", "space", "c")
        await pilot.pause()

    assert snap_compare(wizard(device="Raspberry Pi 5 8GB"), terminal_size=(140, 40), run_before=ready)


def test_a_list_of_answers_looks_as_it_did(wizard: Open, snap_compare: Callable[..., bool]) -> None:
    """The contexts with what each leaves."""

    async def ready(pilot: Pilot[Any]) -> None:
        await answered(pilot)
        await pilot.press("2", "down", "down", "enter")
        await until(pilot, lambda: len(pilot.app.screen._counts) == 8)  # type: ignore[attr-defined]

    assert snap_compare(wizard(device="Raspberry Pi 5 8GB"), terminal_size=(80, 24), run_before=ready)
