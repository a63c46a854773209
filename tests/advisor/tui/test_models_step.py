"""The list: sorting, filtering, comparing, details, the plot, and what was left out."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from advisor.tui.app import Wizard
from advisor.tui.columns import speed
from advisor.tui.screens.models import ModelsScreen
from advisor.tui.widgets.front import Front, fastest_first
from advisor.tui.widgets.grid import Grid
from advisor.tui.widgets.memory_bar import bar
from tests.advisor.tui.conftest import Open, answered, shown, until


async def at_models(pilot: Pilot[Any]) -> Grid[Any]:
    await answered(pilot)
    await pilot.press("3")
    await pilot.pause()
    return pilot.app.screen.query_one("#fitting", Grid)


async def test_the_list_is_sorted_by_any_column_and_back(wizard: Open) -> None:
    """s goes through the columns; what has no value comes last; after the last column the rank is back."""
    app = wizard()
    async with app.run_test(size=(140, 40)) as pilot:
        grid = await at_models(pilot)
        ranked = [row.model for row in grid.rows]
        grid.sort_by("quality", downwards=True)
        qualities = [row.quality.value for row in grid.rows]
        known = [value for value in qualities if value is not None]
        assert qualities == [*sorted(known, reverse=True), *[None] * (len(qualities) - len(known))]
        grid.sort_by("name")
        names = [row.name.lower() for row in grid.rows]
        assert names == sorted(names)
        await pilot.press("S")
        assert [row.name.lower() for row in grid.rows] == names[::-1]
        grid.sort_by(None)
        assert [row.model for row in grid.rows] == ranked


async def test_a_click_on_a_heading_sorts_and_a_second_one_turns(wizard: Open) -> None:
    """The mouse does what s does."""
    async with wizard().run_test(size=(140, 40)) as pilot:
        grid = await at_models(pilot)
        await pilot.click("#fitting", offset=(10, 0))
        assert grid.sorted_by == "name"
        await pilot.click("#fitting", offset=(10, 0))
        assert grid.downwards


async def test_the_filter_narrows_while_typing_and_escape_clears_it(wizard: Open) -> None:
    """Words are sought in name, family, quantization and licence; the row under the cursor is one that is shown."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        grid = await at_models(pilot)
        everything = len(grid.rows)
        await pilot.press("slash", *"llama")
        await pilot.pause()
        assert [row.name for row in grid.rows] == ["Llama-3.2-1B-Instruct"]
        assert app.chosen == "meta-llama/Llama-3.2-1B-Instruct"
        await pilot.press(*"xyz")
        await pilot.pause()
        assert "No row has that in it" in shown(pilot)
        await pilot.press("escape")
        await pilot.pause()
        assert len(grid.rows) == everything


async def test_two_models_are_compared_side_by_side(wizard: Open) -> None:
    """Space marks, c compares; a fourth mark is refused."""
    async with wizard().run_test(notifications=True, size=(120, 40)) as pilot:
        grid = await at_models(pilot)
        first, second = grid.rows[0].name, grid.rows[1].name
        await pilot.press("space", "down", "space", "c")
        await pilot.pause()
        text = shown(pilot)
        assert first in text
        assert second in text
        assert "Side by side" in text
        assert "●" in text
        await pilot.press("escape", "down", "space", "down", "space")
        await until(pilot, lambda: "take a mark away" in shown(pilot))
        assert len(grid.marks) == 3


async def test_enter_shows_every_term_of_a_row(wizard: Open) -> None:
    """Memory, speed, quality and score are taken apart."""
    async with wizard().run_test(size=(110, 90)) as pilot:
        await at_models(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "caution" in shown(pilot))  # the last of its parts
        text = shown(pilot)
        for words in (
            "KV cache",
            "weights in main memory",
            "of a token: overhead",
            "lost to quantization",
            "caution",
        ):
            assert words in text, words


async def test_what_is_left_out_says_why_and_what_would_help(wizard: Open) -> None:
    """x lists the others with their reasons; enter looks for changes that would let one in."""
    async with wizard().run_test(size=(120, 40)) as pilot:
        await at_models(pilot)
        await pilot.press("x")
        await pilot.pause()
        text = shown(pilot)
        assert "gemma-3-27b-it" in text
        assert "may generate only" in text
        await pilot.press("slash", *"llama-3.1", "enter", "enter")
        await until(pilot, lambda: "would let it in" in shown(pilot))
        assert "accept" in shown(pilot)
        assert "Q4_K_M" in shown(pilot)


async def test_the_plot_shares_a_wide_screen_and_takes_turns_on_a_narrow_one(wizard: Open) -> None:
    """Beside the list from 110 columns on; below, p puts it in the place of the reasons."""
    async with wizard().run_test(size=(140, 40)) as pilot:
        await at_models(pilot)
        await until(pilot, lambda: "quality against speed" in shown(pilot))
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert "quality against speed" not in shown(pilot)
        await pilot.press("p")
        await until(pilot, lambda: "quality against speed" in shown(pilot))
        assert pilot.app.screen.query_one(Front).display


async def test_the_list_stays_where_it_is_while_the_need_changes(wizard: Open) -> None:
    """The chosen model keeps its place under the cursor as long as it fits."""
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await at_models(pilot)
        await pilot.press("down")
        chosen = app.chosen
        await pilot.press("2", "down", "down", "down", "right", "right", "3")  # slower is enough
        await answered(pilot)
        assert app.chosen == chosen
        assert isinstance(app.screen, ModelsScreen)
        assert app.screen.query_one("#fitting", Grid).key == chosen


async def test_wide_letters_stand_in_their_columns(wizard: Open) -> None:
    """In Japanese at 80 columns each heading begins where its cells begin, and no line is too long."""
    from rich.cells import cell_len

    async with wizard(code="ja").run_test(size=(80, 24)) as pilot:
        await at_models(pilot)
        lines = shown(pilot).splitlines()
        assert max(cell_len(line) for line in lines) <= 80
        head = next(line for line in lines if "量子化" in line)
        row = next(line for line in lines if "Q8_0" in line or "Q6_K" in line or "Q4_" in line)
        at = cell_len(head[: head.index("量子化")])
        quant = next(quant for quant in ("Q8_0", "Q6_K", "Q4_") if quant in row)
        assert cell_len(row[: row.index(quant)]) == at


def test_the_bar_ends_at_what_could_be_free_and_ticks_at_what_is() -> None:
    """Two budgets in one bar: full at the larger, a tick at the smaller."""
    assert bar(10, 5e9, None, 10e9) == "█████░░░░░"
    assert bar(10, 2e9, 5e9, 10e9) == "██░░░╎░░░░"
    assert bar(10, 8e9, 5e9, 10e9) == "█████┃██░░"
    assert bar(10, 12e9, None, 10e9) == "██████████"
    assert bar(10, 1e9, None, None) == ""


def test_the_front_leaves_out_what_something_beats() -> None:
    """Only points that are faster or better than every other one are joined."""
    assert fastest_first([(1, 9), (2, 8), (2, 7), (3, 8), (4, 2), (0, 1)]) == [(4, 2), (3, 8), (1, 9)]


def test_a_speed_is_short_enough_for_its_column() -> None:
    """Three digits with their interval and mark take 14 cells at most."""
    from advisor.evidence import Value

    assert speed(Value(147.4, 61.2, 325.0)) == "~147 (61-325)"
    assert speed(Value(9.26, 8.14, 10.4, "measured")) == "m9.3 (8.1-10)"
    assert speed(None) == "-"


def test_a_wizard_has_no_list_before_there_is_a_device() -> None:
    """Nothing is ranked for a device that is not known yet."""
    assert Wizard().ranking is None


@pytest.mark.parametrize("away", ["3", "5"])
async def test_a_terminal_that_is_made_wide_shows_the_plot(away: str, wizard: Open) -> None:
    """On the list, and while another step was looked at."""
    async with wizard().run_test(size=(80, 24)) as pilot:
        await answered(pilot)
        await pilot.press("3", away)
        await pilot.pause()
        await pilot.resize_terminal(140, 40)
        await pilot.press("3")
        await until(pilot, lambda: pilot.app.screen.query(Front))


async def test_what_wraps_in_a_comparison_stands_below_itself(wizard: Open) -> None:
    """The mark of the best has a column of its own."""
    app = wizard()
    async with app.run_test(size=(80, 40)) as pilot:
        await answered(pilot)
        await pilot.press("3", "space", "down", "space", "down", "space", "c")
        await pilot.pause()
        lines = shown(pilot).splitlines()
        (first,) = [number for number, line in enumerate(lines) if "│ known" in line]
        at = lines[first + 1].index("sheets")
        assert lines[first][at:].startswith("from data")
