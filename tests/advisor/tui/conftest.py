"""The wizard under test: a device that does not change, a few models, and surroundings that are the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from advisor import language
from advisor.catalog import Model, load_catalog
from advisor.tui.app import Wizard

FEW = (
    "gemma-3-1b-it",
    "Llama-3.2-1B-Instruct",
    "Qwen2.5-0.5B-Instruct",
    "Qwen2.5-1.5B-Instruct",
    "Qwen2.5-7B-Instruct",
    "SmolLM2-135M-Instruct",
    "SmolLM2-1.7B-Instruct",
    "Llama-3.1-8B-Instruct",
    "gemma-3-27b-it",
)
BOARD = {
    "name": "a board on the bench",
    "class": "sbc",
    "cpu": {
        "name": "Cortex-A76",
        "architecture": "aarch64",
        "performance_cores": 4,
        "cores": 4,
        "threads": 4,
    },
    "memory": {"total_bytes": 8_589_934_592, "bandwidth_bytes_per_s": 17_100_000_000},
}


@pytest.fixture(autouse=True)
def surroundings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """No colours asked for or refused, no locale, no network switch; English afterwards."""
    for variable in ("NO_COLOR", "COLORFGBG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.chdir(tmp_path)
    # Neither the models nor the measurements of whoever runs the tests.
    for variable in ("HF_HUB_CACHE", "HF_HOME", "LLAMA_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    yield
    language.use("en")


@pytest.fixture(scope="session")
def few() -> tuple[Model, ...]:
    """Models whose answers are known; the catalog may grow without changing a picture."""
    catalog = load_catalog()
    return tuple(catalog.find(name) for name in FEW)


@pytest.fixture
def board(tmp_path: Path) -> str:
    """A device file."""
    file = tmp_path / "board.json"
    file.write_text(json.dumps(BOARD))
    return str(file)


Open = Callable[..., Wizard]


@pytest.fixture
def wizard(board: str, few: tuple[Model, ...]) -> Open:
    """A wizard for the board and the few models, in English; each can be another."""

    def make(device: str | None = board, code: str = "en", **given: Any) -> Wizard:
        language.use(code)
        return Wizard(device=device, **{"models": few, **given})

    return make


async def until(pilot: Pilot[Any], true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something that a worker brings about."""
    for _ in range(int(seconds / 0.02)):
        if true():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError(f"not within {seconds:g} s; the screen:\n{shown(pilot)}")


async def answered(pilot: Pilot[Any]) -> None:
    """Wait until the list answers the present question."""
    app = pilot.app
    assert isinstance(app, Wizard)
    await until(pilot, lambda: app.current or app.problem is not None)


def shown(pilot: Pilot[Any]) -> str:
    """The screen as somebody at the terminal sees it."""
    screen = pilot.app.screen
    return "\n".join(strip.text.rstrip() for strip in screen._compositor.render_strips())


Ready = Callable[[Pilot[Any]], Awaitable[None]]
