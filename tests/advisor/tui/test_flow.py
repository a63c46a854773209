"""The way through the wizard, as a newcomer and as somebody with practice goes it."""

from __future__ import annotations

import os
import re

import pytest

from advisor.tui.screens.base import StepScreen
from advisor.tui.screens.help import HelpScreen
from advisor.tui.steps import STEPS, Step
from advisor.tui.widgets.grid import Grid
from tests.advisor.tui.conftest import Open, answered, shown, until

WORDS = {
    "en": (
        "processor",
        "Task",
        "tokens/s",
        "nothing can be tried on it from here",
        "Choose where",
        "There is no file yet",
    ),
    "ja": (
        "プロセッサ",
        "用途",
        "トークン/秒",
        "ここからは試せません",
        "重みの取得元",
        "ファイルはまだありません",
    ),
}


@pytest.mark.parametrize("code", ["en", "ja"])
async def test_next_leads_from_the_device_to_the_last_step(code: str, wizard: Open) -> None:
    """Six screens, each reached with n, each in the language that was asked for."""
    async with wizard(code=code).run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        for words in WORDS[code]:
            await until(pilot, lambda words=words: words in shown(pilot).replace("\n", ""))
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


async def test_an_answer_changes_at_once_how_many_models_remain(wizard: Open) -> None:
    """The count follows each key; after many quick ones it is that of the last."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("2")
        await until(pilot, lambda: "models remain" in shown(pilot))
        assert app.ranking is not None
        before = len(app.ranking.rows)
        await pilot.press("down", "down", *["right"] * 7)  # a context of 131,072 tokens
        await answered(pilot)
        assert app.need.context_length == 131072
        assert len(app.ranking.rows) < before
        assert f"{len(app.ranking.rows)} of 9 model" in shown(pilot)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.id)
@pytest.mark.parametrize(
    "size", [(40, 10), (20, 5), (80, 24), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}"
)
async def test_a_terminal_of_any_size_shows_something(
    step: object, size: tuple[int, int], wizard: Open
) -> None:
    """A screen that is made small, or very small, stays up and still has its keys."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press(str(STEPS.index(step) + 1))  # type: ignore[arg-type]
        await pilot.resize_terminal(*size)
        await pilot.pause()
        lines = shown(pilot).splitlines()
        assert len(lines) <= size[1]
        assert any(line.strip() for line in lines)
        await pilot.press("tab", "down", "n", "b")
        assert app.is_running


@pytest.mark.parametrize("code", ["en", "ja"])
async def test_every_screen_has_help_with_its_keys(code: str, wizard: Open) -> None:
    """? explains the screen in whole sentences and lists what its keys do."""
    async with wizard(code=code).run_test(size=(100, 50)) as pilot:
        await answered(pilot)
        for number in range(1, len(STEPS) + 1):
            await pilot.press(str(number), "question_mark")
            await pilot.pause()
            assert isinstance(pilot.app.screen, HelpScreen)
            text = shown(pilot)
            assert ("next step" if code == "en" else "次の段階") in text
            assert len(text) > 400
            await pilot.press("escape")


async def test_the_palette_has_every_action_of_the_screen(wizard: Open) -> None:
    """What the footer and the help name can also be found by typing, and run."""
    app = wizard()
    async with app.run_test(size=(80, 50)) as pilot:
        await answered(pilot)
        await pilot.press("3")
        screen = app.screen
        titles = {command.title for command in app.get_system_commands(screen)}
        assert {"Find", "Compare", "Plot", "Out", "Mark", "Sort", "Help", "Quit", "Go to Device"} <= titles
        await pilot.press("ctrl+p")
        await pilot.press(*"go to need", "enter")
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
        assert bar == [*rest[: number - 1], f"▸{number}", step.title, *rest[number - 1 :]]
        if step.id == "device":
            assert "Cortex-A76" in shown(pilot)


async def test_the_footer_of_every_step_has_room_for_its_keys(wizard: Open) -> None:
    """At 80 columns the last key, help, is read with its word, and the palette after it."""
    async with wizard().run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        for number in range(1, 7):
            await pilot.press(str(number))
            await pilot.pause()
            assert re.search(r"\? Help *▏ ?\^p All$", shown(pilot).splitlines()[-1])


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


async def test_the_language_changes_on_the_spot(wizard: Open) -> None:
    """ctrl+l puts every screen that was opened, and its sentences, into Japanese."""
    async with wizard().run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("3", "ctrl+l")
        await until(pilot, lambda: "生成速度" in shown(pilot))
        assert "並替" in shown(pilot)
        await pilot.press("1")
        await pilot.pause()
        assert "プロセッサ" in shown(pilot)


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
        assert "▸2 Need" in text
        assert "▌Task" in text


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
