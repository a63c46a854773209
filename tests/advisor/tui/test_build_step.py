"""Building the chosen variant: what is said before, what is shown meanwhile, and that nothing half-built is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from advisor.tui.screens.build import BuildScreen
from advisor.tui.screens.trial import TrialScreen
from quantize.hashes import sha256_of
from quantize.manifest import read_manifest
from tests.advisor.tui.conftest import Open, answered, shown, until

ROOM = {"size": (100, 40), "notifications": True}


async def build_step(pilot: Pilot[Any]) -> BuildScreen:
    """Choose SmolLM2-135M and go to the Build step."""
    await answered(pilot)
    await pilot.press("3", "slash", *"smollm2-135m", "enter", "5")
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, BuildScreen)
    return screen


async def plan(pilot: Pilot[Any], source: Path) -> BuildScreen:
    """Take the source, and wait for what the build needs."""
    screen = await build_step(pilot)
    await pilot.press("f", *str(source), "enter")
    await until(pilot, lambda: screen._plan is not None or "free" in screen._words, 60)
    return screen


def left(folder: Path) -> list[str]:
    """What lies there, without the device file of the wizard under test."""
    return sorted(path.name for path in folder.iterdir() if path.name != "board.json")


async def test_who_never_touches_the_network_is_not_offered_the_hub(wizard: Open) -> None:
    """The screen says why, and h does nothing."""
    async with wizard().run_test(**ROOM) as pilot:
        await answered(pilot)
        await pilot.press("2", *["down"] * 7, "right")
        screen = await build_step(pilot)
        assert "never to touch the network" in shown(pilot)
        assert "From the Hub" not in shown(pilot).splitlines()[-1]
        await pilot.press("h")
        await pilot.pause()
        assert screen._stop is None


@pytest.mark.parametrize(("code", "words"), [("en", "Choose where"), ("ja", "重みの取得元")])
async def test_the_step_begins_with_a_choice_of_the_source(code: str, words: str, wizard: Open) -> None:
    """In the language in use; nothing has been asked of anybody yet."""
    async with wizard(code=code).run_test(**ROOM) as pilot:
        screen = await build_step(pilot)
        assert words in shown(pilot)
        assert screen._stop is None


async def test_stop_is_offered_while_something_runs(wizard: Open) -> None:
    """Otherwise escape goes a step back, and the footer does not name it."""
    app = wizard()
    async with app.run_test(**ROOM) as pilot:
        screen = await build_step(pilot)
        assert "esc Stop" not in shown(pilot)
        stop = screen._begin("building …")
        screen.show()
        await pilot.pause()
        assert "esc Stop" in shown(pilot)
        await pilot.press("escape")
        assert stop.stopped
        assert app.step == "build"
        screen._end("")
        await pilot.press("escape")
        assert app.step == "try"


async def test_without_an_engine_the_way_to_one_is_shown(
    wizard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is started, and the wizard stays."""
    monkeypatch.setitem(sys.modules, "llama_cpp", None)  # as importlib sees a package that is not installed
    async with wizard().run_test(**ROOM) as pilot:
        await build_step(pilot)
        await pilot.press("h")
        await until(pilot, lambda: "slm-advisor engine install" in shown(pilot))


@pytest.mark.engine
async def test_a_hub_out_of_reach_is_said_in_the_words_of_the_command_line(
    wizard: Open, own_hub_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app stays up, and the file is still offered."""
    pytest.importorskip("llama_cpp")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    async with wizard().run_test(**ROOM) as pilot:
        screen = await build_step(pilot)
        await pilot.press("h")
        await until(pilot, lambda: screen._stop is None and "127.0.0.1" in screen._words, 60)
        assert "nothing that could be used is in the cache" in screen._words
        assert "f takes a file or folder that is here" in screen._words
        assert screen.check_action("file", ())


@pytest.mark.engine
async def test_what_is_no_model_is_refused_by_name(wizard: Open, tmp_path: Path) -> None:
    """A file that only ends in .gguf is named."""
    pytest.importorskip("llama_cpp")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no model")
    async with wizard().run_test(**ROOM) as pilot:
        screen = await build_step(pilot)
        await pilot.press("f", *str(broken), "enter")
        await until(pilot, lambda: screen._stop is None and "broken.gguf" in screen._words, 60)
        assert screen._plan is None


@pytest.mark.engine
@pytest.mark.slow
async def test_a_build_shows_its_stages_and_is_used_by_the_try_step(
    wizard: Open, smollm2_f16: Path, tmp_path: Path
) -> None:
    """Plan, stages, facts; the hash is the file's; the next visit offers it, and Try runs it."""
    pytest.importorskip("llama_cpp")
    async with wizard().run_test(**ROOM) as pilot:
        screen = await plan(pilot, smollm2_f16)
        text = shown(pilot)
        assert "quantizing" in text
        assert "together" in text
        await pilot.press("s")
        await until(pilot, lambda: "%" in shown(pilot), 120)
        await pilot.resize_terminal(40, 10)
        await pilot.pause()
        assert pilot.app.is_running
        await pilot.resize_terminal(100, 40)
        await until(pilot, lambda: screen._stop is None, 400)
        text = shown(pilot)
        assert "Built." in text
        (built,) = pilot.app.built.values()  # type: ignore[attr-defined]
        assert sha256_of(built.file) in text
        assert "±" in text
        assert read_manifest(built.folder) == built.manifest
        assert left(tmp_path) == [built.folder.name]
        await pilot.press("4")
        await pilot.pause()
        trial = pilot.app.screen
        assert isinstance(trial, TrialScreen)
        ranking = trial.wizard.ranking
        assert ranking is not None
        candidate = ranking.candidate(built.manifest.model.id)
        assert candidate is not None
        assert trial._files(candidate)[0] == str(built.file.absolute())
    async with wizard().run_test(**ROOM) as pilot:
        screen = await build_step(pilot)
        assert "built already" in shown(pilot)
        await pilot.press("r")
        await pilot.pause()
        assert screen._replace
        assert built.file.exists()


@pytest.mark.engine
@pytest.mark.slow
async def test_a_build_that_is_stopped_leaves_nothing(
    wizard: Open, smollm2_f16: Path, tmp_path: Path
) -> None:
    """Escape ends worker and build; no name, no hidden folder, no process."""
    pytest.importorskip("llama_cpp")
    async with wizard().run_test(**ROOM) as pilot:
        screen = await plan(pilot, smollm2_f16)
        await pilot.press("s")
        await until(pilot, lambda: screen._stop is not None and screen._stop.pids, 60)
        stop = screen._stop
        assert stop is not None
        await until(pilot, lambda: "%" in shown(pilot), 120)
        await pilot.press("escape")
        await until(pilot, lambda: "Nothing is left of it" in shown(pilot), 30)
        assert stop.pids == ()
        assert left(tmp_path) == []


@pytest.mark.engine
@pytest.mark.slow
async def test_a_worker_that_dies_ends_the_build_and_not_the_wizard(
    wizard: Open, smollm2_f16: Path, tmp_path: Path
) -> None:
    """What happened is said, nothing is left, and the same can be started again."""
    pytest.importorskip("llama_cpp")
    async with wizard().run_test(**ROOM) as pilot:
        screen = await plan(pilot, smollm2_f16)
        await pilot.press("s")
        await until(pilot, lambda: "%" in shown(pilot), 120)
        assert screen._stop is not None
        (worker,) = screen._stop.pids
        os.kill(worker, signal.SIGKILL)
        await until(pilot, lambda: screen._stop is None, 60)
        assert "try again" in screen._words
        assert left(tmp_path) == []
        assert screen.check_action("start", ())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file system of a size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: str) -> Path:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("a file system can be mounted by root only")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


@pytest.mark.engine
@pytest.mark.slow
async def test_a_disk_that_fills_during_a_build_is_named_and_left_as_it_was(
    wizard: Open, smollm2_f16: Path, disk: Callable[[str], Path]
) -> None:
    """There was room when it was planned; then somebody else takes it. Nothing of the build is left."""
    pytest.importorskip("llama_cpp")
    folder = disk("900m")
    async with wizard().run_test(**ROOM) as pilot:
        screen = await build_step(pilot)
        await pilot.press("o", *str(folder), "enter")
        await pilot.pause()
        await pilot.press("f", *str(smollm2_f16), "enter")
        await until(pilot, lambda: screen._plan is not None, 60)
        assert screen._plan is not None
        assert screen._plan.obstacle is None
        with (folder / "of-somebody-else").open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, os.statvfs(folder).f_bavail * 4096 - 20_000_000)
        await pilot.press("s")
        await until(pilot, lambda: screen._stop is None, 400)
        assert "became full" in screen._words
        assert str(folder) in screen._words
        assert left(folder) == ["of-somebody-else"]
        assert screen.check_action("start", ())


@pytest.mark.engine
@pytest.mark.slow
async def test_a_disk_without_room_is_said_before_anything_is_written(
    wizard: Open, smollm2_f16: Path, disk: Callable[[str], Path]
) -> None:
    """Refused with both amounts; the build cannot be started, and the disk stays empty."""
    pytest.importorskip("llama_cpp")
    small_disk = disk("100m")
    async with wizard().run_test(**ROOM) as pilot:
        screen = await build_step(pilot)
        await pilot.press("o", *f"{small_disk}", "enter")
        await pilot.pause()
        await pilot.press("f", *str(smollm2_f16), "enter")
        await until(pilot, lambda: screen._plan is not None, 60)
        assert screen._plan is not None
        assert "the build needs" in (screen._plan.obstacle or "")
        assert not screen.check_action("start", ())
        assert left(small_disk) == []
