"""Choosing the device: from the library, from a file, and what happens where it cannot be found."""

from __future__ import annotations

import json
import queue
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from advisor.calibration_lab import Step
from advisor.errors import AdvisorError, NotEnoughEvidenceError
from advisor.sentences import translated
from advisor.tui.screens.choose_file import ChooseFile
from profiles.calibration import Calibration
from profiles.device import Device
from profiles.engine.installed import installed_engine
from profiles.fingerprint import fingerprint
from tests.advisor.calibrations import CALIBRATION
from tests.advisor.tui.conftest import (
    NO_ENGINE,
    Open,
    answered,
    in_english,
    paste,
    reads,
    said,
    shown,
    take,
    until,
)


async def test_the_facts_have_sources_and_the_missing_ones_reasons(wizard: Open) -> None:
    """Each line says where it is from; below stands what is not known, and why."""
    async with wizard(device="Pixel 9").run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        assert "12.9 GB" in shown(pilot)
        assert reads(pilot, said("library, unverified"))
        assert reads(pilot, said("only a device that is asked knows what is free now"))


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


@in_english
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


@in_english
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
        assert "Rasberry Pi 55" in shown(pilot)
        assert reads(pilot, said("Near it: {names}", names="Raspberry Pi"))
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
        await pilot.press("f")
        await paste(pilot, "oth")  # behind the folder that the wizard runs in
        await pilot.press("tab")
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
        await take(pilot, "f", Path(board))
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
        words = said("Only this machine can be calibrated: press m to come back to it.")
        await until(pilot, lambda: reads(pilot, words, "Toast"))


async def test_calibrating_without_an_engine_says_how_to_get_one(
    wizard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dialog stays, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "llama_cpp", None)  # as importlib sees a package that is not installed
    app = wizard(device=None)
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("k", "enter")
        await until(pilot, lambda: reads(pilot, said(NO_ENGINE)))
        await pilot.press("escape")
        assert app.is_running


Course = queue.SimpleQueue[Step | AdvisorError | None]


@pytest.fixture
def course(monkeypatch: pytest.MonkeyPatch) -> Course:
    """How calibrating goes, in place of a minute of it: steps, and then an error, or None for its good end."""
    events: Course = queue.SimpleQueue()

    def calibrate(device: Device, *, report: Any, **_options: object) -> Calibration:
        while (event := events.get(timeout=30)) is not None:
            if isinstance(event, AdvisorError):
                raise event
            report(event)
        engine = installed_engine()
        return msgspec.structs.replace(
            CALIBRATION,
            fingerprint=fingerprint(device),
            engine=CALIBRATION.engine if engine is None else engine.identity,
        )

    monkeypatch.setattr("advisor.calibrate.calibrate", calibrate)
    return events


async def calibrating(pilot: Pilot[Any], course: Course) -> None:
    """Start calibrating, and wait for its first step."""
    await answered(pilot)
    await pilot.press("k")
    await until(pilot, lambda: reads(pilot, said("Enter starts; it takes a minute at most.")))
    course.put(Step("warming up", 3.0, 57.0))
    await pilot.press("enter")
    await until(pilot, lambda: reads(pilot, translated("warming up")))


async def test_a_calibration_shows_its_steps_until_it_is_stopped(wizard: Open, course: Course) -> None:
    """Each step with its seconds and a bar; escape stops it, and a second one closes the dialog."""
    async with wizard(device=None).run_test(size=(80, 24)) as pilot:
        await calibrating(pilot, course)
        course.put(Step("round 2 of 3", 30.0, 30.0))
        await until(pilot, lambda: reads(pilot, translated("round 2 of 3")) and "50%" in shown(pilot))
        assert reads(pilot, translated("warming up"))
        await pilot.press("escape")
        assert reads(pilot, said("stopping …"))
        course.put(Step("round 3 of 3", 31.0, 29.0))  # it hears of it with its next step
        await until(pilot, lambda: reads(pilot, said("Stopped: nothing is kept. Enter starts again.")))
        await pilot.press("escape")
        assert pilot.app.screen.query("#facts")


async def test_a_calibration_that_fails_says_why_and_can_be_tried_again(wizard: Open, course: Course) -> None:
    """In the core's words; enter starts anew."""
    words = (
        "calibrating took too long: this device is too slow, or too busy, for the first models to be measured within "
        "the minute; estimates stay at grade 'spec'"
    )
    async with wizard(device=None).run_test(size=(80, 24)) as pilot:
        await calibrating(pilot, course)
        course.put(NotEnoughEvidenceError(words))
        await until(pilot, lambda: reads(pilot, said("Enter tries again, escape closes.")))
        assert reads(pilot, translated(words))
        course.put(Step("round 1 of 3", 2.0, 58.0))
        await pilot.press("enter")
        await until(pilot, lambda: reads(pilot, translated("round 1 of 3")))
        course.put(None)
        await until(pilot, lambda: not reads(pilot, translated("round 1 of 3")))


async def test_what_was_calibrated_counts_from_then_on(wizard: Open, course: Course) -> None:
    """The dialog shows what changed and where it is kept; the device and the list have it at once."""
    app = wizard(device=None)
    async with app.run_test(size=(80, 40)) as pilot:
        await calibrating(pilot, course)
        course.put(None)
        done = said("Done in {seconds:.0f} s. Estimates fit this machine from now on.", seconds=42.0)
        await until(pilot, lambda: reads(pilot, done))
        assert "Llama-3.2-1B-Instruct:Q4_K_M" in shown(pilot)
        (kept,) = Path.home().rglob("calibrations/*.json")
        assert reads(pilot, said("Kept in {path}", path=kept))
        await until(pilot, lambda: app.found is not None and app.found.device.calibration is not None)
        await answered(pilot)
        await pilot.press("escape", "3")
        await until(pilot, lambda: reads(pilot, f"c {said('from a calibration of this device')}"))


async def test_this_machine_is_a_key_away(wizard: Open) -> None:
    """m looks at the machine the wizard runs on, in place of another device."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        assert reads(pilot, f"· {said('not this machine')}")
        await pilot.press("m")
        await until(pilot, lambda: reads(pilot, f"· {said('this machine')}"))
        assert app.found is not None
        assert app.found.here


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


@in_english
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
