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
from tests.advisor.tui.conftest import (
    Open,
    answered,
    fixed_part,
    in_english,
    paste,
    reads,
    said,
    shown,
    until,
)


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
        await pilot.press("slash", *"lla")
        await paste(pilot, "ma")
        assert [row.name for row in grid.rows] == ["Llama-3.2-1B-Instruct"]
        assert app.chosen == "meta-llama/Llama-3.2-1B-Instruct"
        await paste(pilot, "xyz")
        assert reads(pilot, said("No row has that in it. Clear the filter with escape."))
        await pilot.press("escape")
        await pilot.pause()
        assert len(grid.rows) == everything


async def test_two_models_are_compared_side_by_side(wizard: Open) -> None:
    """Space marks, c compares; one alone is not compared, and a fourth mark is refused."""
    async with wizard().run_test(notifications=True, size=(120, 40)) as pilot:
        grid = await at_models(pilot)
        first, second = grid.rows[0].name, grid.rows[1].name
        await pilot.press("space", "c")
        words = said("Mark two or three models with space, then compare them.")
        await until(pilot, lambda: reads(pilot, words, "Toast"))
        await pilot.press("down", "space", "c")
        await pilot.pause()
        text = shown(pilot)
        assert first in text
        assert second in text
        assert said("Side by side") in text
        assert "●" in text
        await pilot.press("escape", "down", "space", "down", "space")
        words = said("Three can be compared: take a mark away first.")
        await until(pilot, lambda: reads(pilot, words, "Toast"))
        assert len(grid.marks) == 3
        third = grid.rows[2].name
        await pilot.press("c")
        await pilot.pause()
        assert all(reads(pilot, name) for name in (first, second, third))


async def test_enter_shows_every_term_of_a_row(wizard: Open) -> None:
    """Memory, speed, quality and score are taken apart."""
    async with wizard().run_test(size=(110, 90)) as pilot:
        await at_models(pilot)
        await pilot.press("enter")
        last = said("caution (half a standard error)")
        await until(pilot, lambda: reads(pilot, last))
        for words in ("KV cache", "weights in main memory", "lost to quantization"):
            assert reads(pilot, said(words)), words
        assert reads(pilot, f"{said('of a token')}: {said('overhead')}")


async def test_what_is_left_out_says_why_and_what_would_help(wizard: Open) -> None:
    """x lists the others with their reasons; enter looks for changes that would let one in."""
    async with wizard().run_test(size=(120, 40)) as pilot:
        await at_models(pilot)
        await pilot.press("x")
        await pilot.pause()
        assert "gemma-3-27b-it" in shown(pilot)
        # They cannot be compared, and have no speed whose evidence a legend could explain.
        for words in ("Mark", "Compare", "* on the front"):
            assert not reads(pilot, said(words))
        assert reads(pilot, fixed_part("may generate only {available} tokens/s, and {needed} are asked for"))
        await pilot.press("slash")
        await paste(pilot, "llama-3.1")
        await pilot.press("enter", "enter")
        await until(
            pilot, lambda: reads(pilot, said("No single change would let it in; all of these would:"))
        )
        assert reads(pilot, fixed_part("accept {rate} tokens/s at worst (--min-tg {option:.4g})"))
        assert "Q4_K_M" in shown(pilot)


async def test_the_plot_shares_a_wide_screen_and_takes_turns_on_a_narrow_one(wizard: Open) -> None:
    """Beside the list from 110 columns on; below, p puts it in the place of the reasons."""
    async with wizard().run_test(size=(140, 40)) as pilot:
        await at_models(pilot)
        title = said("quality against speed; line: the front")
        await until(pilot, lambda: title in shown(pilot))
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert title not in shown(pilot)
        await pilot.press("p")
        await until(pilot, lambda: title in shown(pilot))
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


async def test_a_list_that_nothing_is_in_says_where_to_look(wizard: Open) -> None:
    """What rules each model out is a key away, and from there what would help."""
    app = wizard()
    async with app.run_test(size=(100, 30)) as pilot:
        await answered(pilot)
        await pilot.press("2", "down", "down", "down", "enter")
        await paste(pilot, "500")  # tokens a second
        await pilot.press("enter")
        await until(pilot, lambda: app.current)
        assert app.ranking is not None
        assert not app.ranking.rows
        words = "Nothing fits. The models screen shows what comes near and what would let it in."
        assert reads(pilot, said(words))
        await pilot.press("3")
        await pilot.pause()
        words = "Nothing fits. Press x for what rules each model out, and enter there for what would help."
        assert reads(pilot, said(words))
        await pilot.press("x")
        await pilot.pause()
        assert not reads(pilot, said(words))
        assert reads(pilot, "gemma-3-27b-it")
        await pilot.press("enter")
        await until(pilot, lambda: reads(pilot, said("Any one of these would let it in:")))


@pytest.mark.parametrize("code", ["ja"])
async def test_wide_letters_stand_in_their_columns(wizard: Open) -> None:
    """In Japanese at 80 columns each heading begins where its cells begin, and no line is too long."""
    from rich.cells import cell_len

    async with wizard().run_test(size=(80, 24)) as pilot:
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


@in_english
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
