"""The wizard under test: a device that does not change, a few models, and surroundings that are the same everywhere."""

from __future__ import annotations

import functools
import gettext
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from textual import events
from textual.pilot import Pilot

from advisor import language
from advisor.catalog import Model, load_catalog
from advisor.recommend import recommend
from advisor.target import make_target
from advisor.tui.app import Wizard
from advisor.tui.screens.base import StepScreen
from advisor.workload import make_workload
from profiles.resolve import resolve_device
from quantize.manifest import FileNote, Manifest, ModelNote, RecipeNote, SourceNote, write_manifest

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


@pytest.fixture(params=["en", pytest.param("ja", marks=pytest.mark.slow)])
def code(request: pytest.FixtureRequest) -> str:
    """The language a path through the wizard is gone in: each of them, Japanese among the slow tests."""
    found: str = request.param
    return found


in_both = pytest.mark.parametrize("code", ["en", "ja"])
"""For a path that is gone in Japanese by every run of the tests."""

in_english = pytest.mark.parametrize("code", ["en"])
"""For what is no path, and the same in every language."""

NO_ENGINE = (
    "The engine is not installed. In a terminal: slm-advisor engine install (it builds llama.cpp for this machine), "
    "then start again."
)

Open = Callable[..., Wizard]
Shown = TypeVar("Shown", bound=StepScreen)


@pytest.fixture
def wizard(code: str, board: str, few: tuple[Model, ...]) -> Open:
    """A wizard for the board and the few models; each can be another."""
    language.use(code)

    def make(device: str | None = board, **given: Any) -> Wizard:
        return Wizard(device=device, **{"models": few, **given})

    return make


@pytest.fixture
def built(board: str, few: tuple[Model, ...], tmp_path: Path) -> Path:
    """A folder as `build` leaves it in the working folder, for the variant that the wizard recommends."""
    workload = make_workload()
    ranked = recommend(few, make_target(resolve_device(board), workload), workload).ranked
    (one,) = [each for each in ranked if each.model.name == "SmolLM2-135M-Instruct"]
    model, quant = one.model, one.variant.quant
    folder = tmp_path / f"{model.name}-{quant}"
    folder.mkdir()
    file = folder / f"{folder.name}.gguf"
    file.write_bytes(b"weights")
    manifest = Manifest(
        tool_version="1",
        built_at="2026-01-01T00:00:00Z",
        model=ModelNote(name=model.name, id=model.id),
        variant=quant,
        files=(FileNote(name=file.name, bytes=7, sha256="a" * 64),),
        bytes_by_type={"Q8_0": 7},
        bits_per_weight=8.5,
        source=SourceNote(kind="gguf", origin="local"),
        recipe=RecipeNote(method="gguf", preset=quant),
        tools={},
    )
    write_manifest(manifest, folder)
    return folder


def said(text: str, many: str = "", /, **values: Any) -> str:
    """A text of the source as the wizard says it in the language in use; `many`: of a `count` that is not one.

    One without a translation is refused, in English too: the Japanese run would be held against English.
    """
    japanese = _japanese()
    translation = japanese.ngettext(text, many, 2) if many else japanese.gettext(text)
    assert translation not in (text, many), (
        f"the source has no {text!r}, or Japanese has no translation of it"
    )
    words = language.plural(text, many, values["count"]) if many else language._(text)
    return words.format(**values) if values else words


def fixed_part(text: str) -> str:
    """The longest part of what `said` gives that no value is in."""
    return max(re.split(r"\{[^}]*\}", said(text)), key=len)


@functools.cache
def _japanese() -> gettext.NullTranslations:
    return gettext.translation(language.DOMAIN, language.FOLDER, ["ja"])


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


def shown(pilot: Pilot[Any], part: str = "Screen") -> str:
    """The screen, or a part of it, as somebody at the terminal sees it."""
    screen = pilot.app.screen
    lines = screen._compositor.render_strips()
    seen = []
    for widget in [screen] if part == "Screen" else screen.query(part):
        left, top, width, height = widget.region
        seen += [line.crop(left, left + width).text.rstrip() for line in lines[top : top + height]]
    return "\n".join(seen)


def reads(pilot: Pilot[Any], words: str, part: str | None = None) -> bool:
    """Whether the words are in a part, else in the open dialog or on the screen, wherever lines are broken."""
    part = part or (".dialog" if pilot.app.screen.query(".dialog") else "Screen")
    return _without_breaks(words) in _without_breaks(shown(pilot, part))


def _without_breaks(text: str) -> str:
    return re.sub(r"[\s│▌]+", "", text)


async def choose(pilot: Pilot[Any], name: str, step: str) -> None:
    """Put the cursor of the list on a model, by its name, and go to a step, by its key."""
    await answered(pilot)
    await pilot.press("3", "slash")
    await paste(pilot, name)
    await pilot.press("enter", step)
    await pilot.pause()


async def smollm2_at(pilot: Pilot[Any], step: str, kind: type[Shown]) -> Shown:
    """Choose SmolLM2-135M, and the screen of a step, gone to by its key."""
    await choose(pilot, "smollm2-135m", step)
    screen = pilot.app.screen
    assert isinstance(screen, kind)
    return screen


async def take(pilot: Pilot[Any], key: str, path: Path) -> None:
    """Give the path that a key asks for."""
    await pilot.press(key, "ctrl+u")
    await paste(pilot, str(path))
    await pilot.press("enter")
    await pilot.pause()


async def paste(pilot: Pilot[Any], text: str) -> None:
    """Put a text into the field with the cursor at once, as a terminal does with what is pasted."""
    pilot.app.post_message(events.Paste(text))
    await pilot.pause()
