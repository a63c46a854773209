"""What keeps a key press short: styles parsed once, keys below a screen made once, garbage looked for while nobody
types, nothing heavy to import.

How short it is, `make bench` measures.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest
from textual.css.stylesheet import Stylesheet

from advisor.tui import garbage
from advisor.tui.widgets.keys import Keys
from tests.advisor.tui.conftest import Open, answered, shown, until


@pytest.fixture
def code() -> str:
    """English: how quick a key is does not depend on the language."""
    return "en"


async def test_a_screen_that_is_first_gone_to_parses_no_style_again(
    wizard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source is parsed once while the theme stays; another theme parses them anew, in its colours."""
    parsed: list[object] = []
    parse_rules = Stylesheet._parse_rules

    def counted(self: Stylesheet, css: str, read_from: object, *rest: object, **named: object) -> object:
        key = (css, read_from, *rest, *named.items())
        if key not in self._parse_cache:
            parsed.append(read_from)
        return parse_rules(self, css, read_from, *rest, **named)  # type: ignore[arg-type]

    app = wizard()
    async with app.run_test(size=(140, 40)) as pilot:
        await answered(pilot)
        await pilot.press("2", "3", "enter", "escape")
        monkeypatch.setattr(Stylesheet, "_parse_rules", counted)
        await pilot.press("1", "2", "3", "enter")
        await pilot.pause()
        assert parsed == []
        await pilot.press("escape")
        before = app.screen.styles.background
        await pilot.press("ctrl+t")
        await pilot.pause()
        assert parsed
        assert app.screen.styles.background != before


async def test_a_step_that_is_gone_back_to_is_painted_as_it_is(
    wizard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and its keys are not made anew; where they differ they are."""
    made: list[str] = []
    waited: list[float] = []
    app = wizard()
    async with app.run_test(size=(100, 30)) as pilot:
        await answered(pilot)
        await pilot.press("2", "3", "2", "3")
        recompose, set_timer = Keys.recompose, app.set_timer

        async def counted(self: Keys) -> None:
            made.append(type(self.screen).__name__)
            await recompose(self)

        def timed(delay: float, *rest: Any, **named: Any) -> Any:
            waited.append(delay) if named.get("name") == "delay_update" else None
            return set_timer(delay, *rest, **named)

        monkeypatch.setattr(Keys, "recompose", counted)
        monkeypatch.setattr(app, "set_timer", timed)
        await pilot.press("2", "3", "2")
        await pilot.pause()
        assert (made, waited) == ([], [])
        assert "Next" in shown(pilot)
        await pilot.press("4")
        await pilot.pause()
        assert set(made) == {"TrialScreen"}
        assert waited


async def test_later_screens_are_imported_once_there_is_a_list(wizard: Open) -> None:
    """In the background, so that the first key that opens one need not wait for it."""
    async with wizard().run_test() as pilot:
        await answered(pilot)
        await until(pilot, lambda: "advisor.tui.widgets.front" in sys.modules)
        assert "advisor.tui.screens.export" in sys.modules
        assert "processor" in shown(pilot)


def test_garbage_is_collected_only_while_nobody_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after a key, once after a pause, and not again before the next key."""
    now = 100.0
    monkeypatch.setattr(garbage.time, "monotonic", lambda: now)
    collected: list[str] = []
    watch = lambda phase, info: collected.append(phase) if info["generation"] == 2 else None  # noqa: E731
    gc.callbacks.append(watch)
    try:
        sweeper = garbage.Sweeper()
        now += 1
        sweeper.touch()
        now += garbage.IDLE_S / 2
        assert not sweeper.sweep()
        now += garbage.IDLE_S
        assert sweeper.sweep()
        assert collected == ["start", "stop"]
        now += 10 * garbage.IDLE_S
        assert not sweeper.sweep()
    finally:
        gc.callbacks.remove(watch)
