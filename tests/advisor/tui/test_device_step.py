"""Choosing the device: from the library, from a file, and what happens where it cannot be found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import Input

from advisor.tui.screens.choose_file import ChooseFile
from tests.advisor.tui.conftest import Open, answered, shown, until


async def test_the_facts_have_sources_and_the_missing_ones_reasons(wizard: Open) -> None:
    """Each line says where it is from; below stands what is not known, and why."""
    async with wizard(device="Pixel 9").run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        text = shown(pilot)
        assert "12.9 GB" in text
        assert "library, unverified" in text
        assert "only a device that is asked knows what is free" in text


async def test_a_device_of_the_library_is_found_while_typing(wizard: Open) -> None:
    """The list narrows with each letter; enter takes the marked one."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("c", *"pixel 9 pro")
        await pilot.pause()
        assert "Google Pixel 9 Pro" in shown(pilot)
        assert "Raspberry" not in shown(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: app.found is not None and app.found.device.name == "Google Pixel 9 Pro")
        await answered(pilot)
        assert "Google Pixel 9 Pro" in shown(pilot)


async def test_each_amount_of_memory_is_a_line_of_its_own(wizard: Open) -> None:
    """Who chooses a Raspberry Pi 5 from the list says with how much memory; a size that is typed leaves one line."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("c", *"raspberry pi 5")
        await pilot.pause()
        lines = [line.split() for line in shown(pilot).splitlines() if "Raspberry Pi 5" in line]
        assert [line[line.index("GB") - 1] for line in lines] == ["2", "4", "8", "16"]
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: app.found is not None and app.found.device.memory.total_bytes == 8 * 2**30)
        await pilot.press("c", *"pi 5 16gb", "enter")
        await until(
            pilot, lambda: app.found is not None and app.found.device.memory.total_bytes == 16 * 2**30
        )


async def test_a_misspelt_name_is_answered_while_it_is_typed(wizard: Open) -> None:
    """Names spelt like it are listed, and can be taken."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("c", *"rasbery pi 5")
        await pilot.pause()
        assert "Raspberry Pi 5" in shown(pilot)
        assert "These are spelt like it" in shown(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.found is not None and "Raspberry Pi" in (app.found.device.name or ""))


async def test_what_was_wrong_with_another_device_is_said_once(wizard: Open) -> None:
    """The device before stays, and so do its answers on the next step."""
    app = wizard()
    async with app.run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        await pilot.press("c", *"Rasberry Pi 55", "enter")
        await until(pilot, lambda: app.problem is not None)
        await pilot.press("2")
        await pilot.pause()
        assert "Rasberry" not in shown(pilot)
        assert "models remain" in shown(pilot)


async def test_a_name_the_library_lacks_is_answered_with_those_near_it(wizard: Open) -> None:
    """A typing error does not end anything: the device before stays, and names are offered."""
    app = wizard()
    async with app.run_test(size=(120, 30)) as pilot:
        await answered(pilot)
        await pilot.press("c", *"Rasberry Pi 55", "enter")
        await until(pilot, lambda: app.problem is not None)
        text = shown(pilot)
        assert "Rasberry Pi 55" in text
        assert "Near it: Raspberry Pi" in text
        assert app.found is not None
        assert app.found.device.name == "a board on the bench"


async def test_a_device_file_is_opened_by_its_path(wizard: Open, tmp_path: Path) -> None:
    """The path is completed with tab; the file's device takes over."""
    other = tmp_path / "other-board.json"
    other.write_text(
        json.dumps(
            {"name": "other", "memory": {"total_bytes": 2**32, "bandwidth_bytes_per_s": 10_000_000_000}}
        )
    )
    app = wizard(device="Pixel 9")
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("f", *f"{tmp_path}/oth", "tab")
        await pilot.pause()
        assert "other-board.json" in shown(pilot).replace("\n", "")
        await pilot.press("enter")
        await until(pilot, lambda: app.found is not None and app.found.device.name == "other")


@pytest.mark.parametrize(
    ("content", "named"),
    [('{"name": "x", "memory": {"total_bytes": "lots"}}', "memory.total_bytes"), ("{", "board")],
)
async def test_a_broken_device_file_is_named_with_its_field(
    content: str, named: str, wizard: Open, board: str
) -> None:
    """The message is the one of the command line; the wizard stays up."""
    app = wizard(device="Pixel 9")
    async with app.run_test(size=(160, 24)) as pilot:
        await answered(pilot)
        Path(board).write_text(content)
        await pilot.press("f", *board, "enter")
        await until(pilot, lambda: app.problem is not None)
        assert named in shown(pilot)
        assert app.found is not None
        assert app.found.device.name == "Google Pixel 9"


async def test_a_device_that_too_little_is_known_of_says_what_is_missing(wizard: Open, board: str) -> None:
    """Without a bandwidth there is no list, and the need says why."""
    Path(board).write_text('{"name": "bare", "memory": {"total_bytes": 8000000000}}')
    app = wizard()
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: app.problem is not None)
        await pilot.press("2")
        await pilot.pause()
        assert "memory.bandwidth_bytes_per_s" in shown(pilot)


async def test_only_this_machine_can_be_calibrated(wizard: Open) -> None:
    """For a device that is elsewhere, k says how to come back."""
    app = wizard()
    async with app.run_test(notifications=True, size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("k")
        await until(pilot, lambda: "Only this machine can be calibrated" in shown(pilot).replace("\n", " "))


async def test_calibrating_without_an_engine_says_how_to_get_one(
    wizard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dialog stays, with the command that installs it."""
    import sys

    monkeypatch.setitem(sys.modules, "llama_cpp", None)  # as importlib sees a package that is not installed
    app = wizard(device=None)
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("k", "enter")
        await until(pilot, lambda: "engine install" in shown(pilot))
        await pilot.press("escape")
        assert app.is_running


@pytest.mark.parametrize(
    "typed", ["~nobody-here/x", "x" * 5000, "/root/\0/x", "/proc/1/root/x", "///", "ラズ/"]
)
async def test_whatever_is_pasted_for_a_path_is_answered(typed: str, wizard: Open) -> None:
    """What is no path, or leads nowhere, ends nothing."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("f")
        await pilot.pause()
        app.screen.query_one(Input).value = typed
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, ChooseFile)
        assert app.is_running


async def test_a_link_to_a_file_that_is_gone_is_not_offered(wizard: Open, tmp_path: Path) -> None:
    """As a cache that was cleared leaves them; a folder with nothing to choose says so."""
    folder = tmp_path / "cleared"
    folder.mkdir()
    (folder / "gone.json").symlink_to(tmp_path / "nowhere")
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("f", *f"{folder}/")
        await until(pilot, lambda: "nothing in this folder to choose" in shown(pilot))
        assert "gone.json" not in shown(pilot)
