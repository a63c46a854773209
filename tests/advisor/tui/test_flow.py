"""The way through the wizard, as a newcomer and as somebody with practice goes it."""

from __future__ import annotations

import os
import re

import pytest

from advisor import language
from advisor.tui.screens.base import StepScreen
from advisor.tui.screens.calibrate import CalibrateScreen
from advisor.tui.screens.choose_device import ChooseDevice
from advisor.tui.screens.choose_file import ChooseFile
from advisor.tui.screens.choose_languages import ChooseLanguages
from advisor.tui.screens.choose_option import ChooseOption
from advisor.tui.screens.compare import CompareScreen
from advisor.tui.screens.details import DetailsScreen
from advisor.tui.screens.help import HelpScreen
from advisor.tui.screens.why import WhyScreen
from advisor.tui.steps import STEPS, Step
from advisor.tui.widgets.grid import Grid
from tests.advisor.tui.conftest import (
    FEW,
    Open,
    answered,
    fixed_part,
    in_both,
    in_english,
    paste,
    reads,
    said,
    shown,
    until,
)

WORDS = (
    "processor",
    "Task",
    "* on the front",
    "{device} is not this machine, so nothing can be tried on it from here. On it: slm-advisor bench FILE.",
    "Choose where the weights come from: h for the Hub, f for a file or folder here.",
    "There is no file yet: the Build step makes one, f takes one that is here. The manifest can be had without it.",
)
"""What each step shows, and none of the others."""


@in_both
async def test_next_leads_from_the_device_to_the_last_step(wizard: Open) -> None:
    """Six screens, each reached with n, each in the language that was asked for."""
    async with wizard().run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        for words in WORDS:
            await until(pilot, lambda words=words: reads(pilot, fixed_part(words)))
            await pilot.press("n")
            await pilot.pause()


async def test_each_step_is_a_key_away_and_a_click_away(wizard: Open) -> None:
    """Digits and the bar at the top go to any step, forwards and back."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        for number, step in reversed(list(enumerate(STEPS, 1))):
            await pilot.press(str(number))
            assert app.step == step.id
        await pilot.click("#tab-models")
        await pilot.pause()
        assert app.step == STEPS[2].id


async def test_a_step_is_as_it_was_left(wizard: Open) -> None:
    """Answers, the order of the list, the filter and the row under the cursor outlast going back and forth."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("2", "down", "right", "right")
        await answered(pilot)
        need = app.need
        await pilot.press("3", "s", "s", "down", "down")
        before = shown(pilot)
        await pilot.press("1", "2", "4", "3")
        await pilot.pause()
        assert app.need == need
        assert shown(pilot) == before


def remaining(count: int) -> str:
    return said(
        "{count} of {all} models remains", "{count} of {all} models remain", count=count, all=len(FEW)
    )


async def test_an_answer_changes_at_once_how_many_models_remain(wizard: Open) -> None:
    """The count follows each key; after many quick ones it is that of the last."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("2")
        assert app.ranking is not None
        before = len(app.ranking.rows)
        await until(pilot, lambda: reads(pilot, remaining(before)))
        await pilot.press("down", "down", *["right"] * 7)  # a context of 131,072 tokens
        await answered(pilot)
        assert app.need.context_length == 131072
        assert len(app.ranking.rows) < before
        assert reads(pilot, remaining(len(app.ranking.rows)))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.id)
async def test_a_terminal_of_any_size_shows_something(step: Step, wizard: Open) -> None:
    """A screen that is made small, or very small, stays up and still has its keys; and it comes back."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press(str(STEPS.index(step) + 1))
        for size in ((40, 10), (20, 5), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            lines = shown(pilot).splitlines()
            assert len(lines) <= size[1]
            assert any(line.strip() for line in lines)
            await pilot.press("tab", "down", *("nb" if step is STEPS[0] else "bn"))
            assert app.step == step.id
        assert reads(pilot, f"▸{STEPS.index(step) + 1} {said(step.title)}")


@in_both
async def test_every_screen_has_help_with_its_keys(wizard: Open) -> None:
    """? explains the screen in whole sentences and lists what its keys do."""
    async with wizard().run_test(size=(100, 50)) as pilot:
        await answered(pilot)
        for number in range(1, len(STEPS) + 1):
            await pilot.press(str(number))
            screen = pilot.app.screen
            assert isinstance(screen, StepScreen)
            await pilot.press("question_mark")
            await pilot.pause()
            assert isinstance(pilot.app.screen, HelpScreen)
            assert reads(pilot, said(screen.HELP))
            assert reads(pilot, said("to the next step, or back"))
            await pilot.press("escape")
            assert pilot.app.screen is screen


DIALOGS = {
    "1 c": ChooseDevice,
    "1 f": ChooseFile,
    "1 k": CalibrateScreen,
    "2 enter": ChooseOption,
    "2 down enter": ChooseLanguages,
    "3 space down c": CompareScreen,
    "3 enter": DetailsScreen,
    "3 x enter": WhyScreen,
}


async def test_every_dialog_has_help(wizard: Open) -> None:
    """f1 explains a dialog, where ? may be a letter to type; escape leads back to it, and from it to its step."""
    async with wizard(device=None).run_test(size=(100, 50)) as pilot:
        await answered(pilot)
        for keys, dialog in DIALOGS.items():
            await pilot.press(*keys.split())
            screen = pilot.app.screen
            assert isinstance(screen, dialog)
            await pilot.press("f1")
            assert isinstance(pilot.app.screen, HelpScreen)
            assert reads(pilot, said(screen.HELP))
            await pilot.press("escape")
            assert pilot.app.screen is screen
            await pilot.press("escape")
            assert isinstance(pilot.app.screen, StepScreen)


async def test_the_palette_has_every_action_of_the_screen(wizard: Open) -> None:
    """What the footer and the help name can also be found by typing, and run."""
    app = wizard()
    async with app.run_test(size=(80, 50)) as pilot:
        await answered(pilot)
        await pilot.press("3")
        screen = app.screen
        titles = {command.title for command in app.get_system_commands(screen)}
        actions = ("Find", "Compare", "Plot", "Out", "Mark", "Sort", "Help", "Quit")
        assert {*map(said, actions), said("Go to {step}", step=said("Device"))} <= titles
        await pilot.press("ctrl+p")
        await paste(pilot, said("Go to {step}", step=said("Need")).lower())
        await pilot.press("enter")
        await until(pilot, lambda: app.step == "need")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.id)
async def test_a_small_terminal_shows_where_one_is_and_what_matters(step: Step, wizard: Open) -> None:
    """At 40×10 the present step has its title, the others their numbers; facts are whole words."""
    async with wizard().run_test(size=(40, 10)) as pilot:
        await answered(pilot)
        number = STEPS.index(step) + 1
        await pilot.press(str(number))
        await pilot.pause()
        bar = shown(pilot).splitlines()[0].split()
        rest = [str(each) for each in range(1, 7) if each != number]
        assert bar == [*rest[: number - 1], f"▸{number}", said(step.title), *rest[number - 1 :]]
        if step.id == "device":
            assert "Cortex-A76" in shown(pilot)


async def test_the_footer_of_every_step_has_room_for_its_keys(wizard: Open) -> None:
    """At 80 columns the last key, help, is read with its word, and the palette after it."""
    async with wizard().run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        for number in range(1, 7):
            await pilot.press(str(number))
            await pilot.pause()
            last = rf"\? {said('Help')} *▏ ?\^p {said('All')}$"
            assert re.search(last, shown(pilot).splitlines()[-1])


@in_english
async def test_a_dialog_names_its_help(wizard: Open) -> None:
    """F1, which a field does not take for a letter."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("c")
        await pilot.pause()
        assert "F1 Help" in shown(pilot)
        await pilot.press("f1")
        await until(pilot, lambda: "Type any part of a name" in shown(pilot))


async def test_the_keys_of_textual_itself_are_not_listed(wizard: Open) -> None:
    """Neither help nor palette is filled with scrolling and editing, in a step, in a dialog or in a field."""
    app = wizard()
    async with app.run_test(size=(80, 60)) as pilot:
        await answered(pilot)
        for keys in (("6",), ("1", "c"), ("3", "enter")):
            await pilot.press(*keys)
            await pilot.pause()
            titles = {command.title for command in app.get_system_commands(app.screen)}
            assert not titles & {"Scroll Up", "Page Down", "Last", "Select", "Submit", "Move cursor left"}
            await pilot.press("f1")
            await pilot.pause()
            assert isinstance(app.screen, HelpScreen)
            assert "cursor" not in shown(pilot)
            assert "Scroll" not in shown(pilot)
            await pilot.press("escape", "escape")


async def test_the_language_changes_on_the_spot(code: str, wizard: Open) -> None:
    """ctrl+l puts every screen that was opened, and its sentences, into the other one."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        assert app.ranking is not None
        before = app.ranking.rows[0].why
        await pilot.press("3", "ctrl+l")
        assert language.current() != code
        await until(pilot, lambda: app.ranking is not None and app.ranking.rows[0].why != before)
        assert reads(pilot, app.ranking.rows[0].why[0])
        assert reads(pilot, said("Sort"))
        await pilot.press("1")
        await pilot.pause()
        assert reads(pilot, said("processor"))


async def test_each_step_changes_its_language_and_stays(wizard: Open) -> None:
    """In the midst of any step, to the other language and back."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        for number, (step, words) in enumerate(zip(STEPS, WORDS, strict=True), 1):
            await pilot.press(str(number))
            await until(pilot, lambda words=words: reads(pilot, fixed_part(words)))
            before = shown(pilot)
            await pilot.press("ctrl+l")
            await until(pilot, lambda words=words: reads(pilot, fixed_part(words)))
            assert shown(pilot) != before
            await pilot.press("ctrl+l")
            await until(pilot, lambda before=before: shown(pilot) == before)
            assert app.step == step.id


async def test_light_and_dark_are_a_key_away(wizard: Open) -> None:
    """ctrl+t changes between the two themes."""
    app = wizard()
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.current_theme.dark
        await pilot.press("ctrl+t")
        assert not app.current_theme.dark


async def test_a_light_terminal_gets_the_light_theme(wizard: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """COLORFGBG says what the background is."""
    monkeypatch.setenv("COLORFGBG", "0;15")
    app = wizard()
    async with app.run_test() as pilot:
        await pilot.pause()
        assert not app.current_theme.dark


async def test_without_colours_the_present_row_and_step_are_told_apart(
    wizard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under NO_COLOR no shade but grey is left, and marks say what colours said."""
    monkeypatch.setenv("NO_COLOR", "1")
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("2")
        await pilot.pause()
        text = shown(pilot)
        assert f"▸2 {said('Need')}" in text
        assert f"▌{said('Task')}" in text


async def test_privacy_sets_the_switch_that_downloads_obey(wizard: Open) -> None:
    """Never to touch the network holds for worker processes too, and can be taken back."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("2", *["down"] * 7, "right")
        assert app.need.offline
        assert os.environ["HF_HUB_OFFLINE"] == "1"
        await pilot.press("left")
        assert not app.need.offline
        assert "HF_HUB_OFFLINE" not in os.environ


async def test_who_is_offline_already_stays_so(wizard: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own HF_HUB_OFFLINE is the answer to begin with."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    app = wizard()
    async with app.run_test() as pilot:
        await answered(pilot)
        assert app.need.offline
        assert os.environ["HF_HUB_OFFLINE"] == "1"


async def test_the_first_row_is_what_the_command_line_recommends(wizard: Open, board: str) -> None:
    """The wizard calls what `recommend` calls: the same order with the same numbers."""
    from advisor.catalog import load_catalog
    from advisor.recommend import recommend
    from advisor.target import make_target
    from advisor.workload import make_workload
    from profiles.resolve import resolve_device

    app = wizard(models=None)
    async with app.run_test() as pilot:
        await answered(pilot)
        workload = make_workload()
        expected = recommend(load_catalog().models, make_target(resolve_device(board), workload), workload)
        assert app.ranking is not None
        assert [row.model for row in app.ranking.rows] == [each.model.id for each in expected.ranked]
        assert app.ranking.considered == len(load_catalog().models)


async def test_steps_not_gone_to_are_not_made(wizard: Open) -> None:
    """The first screen is painted without the others' widgets or the plotting library."""
    app = wizard()
    async with app.run_test() as pilot:
        await pilot.pause()
        assert set(app.opened) == {"device"}
        assert isinstance(app.screen, StepScreen)
        assert not app.screen.query(Grid)
