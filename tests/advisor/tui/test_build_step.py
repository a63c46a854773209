"""Building the chosen variant: what is said before, what is shown meanwhile, and that nothing half-built is left."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from advisor.catalog import Model
from advisor.sentences import translated
from advisor.tui.screens.build import BuildScreen
from advisor.tui.screens.trial import TrialScreen
from profiles.text import amount
from quantize.hashes import sha256_of
from quantize.manifest import read_manifest
from tests.advisor.tui.conftest import (
    NO_ENGINE,
    Open,
    answered,
    fixed_part,
    in_both,
    in_english,
    reads,
    said,
    shown,
    smollm2_at,
    take,
    until,
)
from tests.quantize.hub_server import Hub, Repo

ROOM = {"size": (100, 40), "notifications": True}

CHOOSE = "Choose where the weights come from: h for the Hub, f for a file or folder here."
OFFLINE = (
    "You chose never to touch the network, so the Hub is not offered: f takes a file or folder that is here."
)
ENGINE_ENDED = "{what}. Nothing else is lost: try again, or a smaller model or context."
DISK_FULL = (
    "the disk at {disk} became full ({words}), and nothing that was begun is left on it: free some, or give --out on "
    "another disk"
)
NO_ROOM = "{what} needs {needed} in {folder}, which has {free} free; free some, or {way} on another disk"


async def plan(pilot: Pilot[Any], source: Path) -> BuildScreen:
    """Take the source, and wait for what the build needs."""
    screen = await smollm2_at(pilot, "5", BuildScreen)
    await take(pilot, "f", source)
    await until(pilot, lambda: screen._stop is None, 60)
    assert screen._plan is not None, screen._words
    return screen


def left(folder: Path) -> list[str]:
    """What lies there, without the device file of the wizard under test."""
    return sorted(path.name for path in folder.iterdir() if path.name != "board.json")


async def test_who_never_touches_the_network_is_not_offered_the_hub(wizard: Open) -> None:
    """The screen says why, and h does nothing."""
    async with wizard().run_test(**ROOM) as pilot:
        await answered(pilot)
        await pilot.press("2", *["down"] * 7, "right")
        screen = await smollm2_at(pilot, "5", BuildScreen)
        assert reads(pilot, said(OFFLINE))
        assert said("From the Hub") not in shown(pilot).splitlines()[-1]
        await pilot.press("h")
        await pilot.pause()
        assert screen._stop is None


@in_both
async def test_the_step_begins_with_a_choice_of_the_source(wizard: Open) -> None:
    """Nothing has been asked of anybody yet."""
    async with wizard().run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "5", BuildScreen)
        assert reads(pilot, said(CHOOSE))
        assert screen._stop is None


@in_english
async def test_stop_is_offered_while_something_runs(wizard: Open) -> None:
    """Otherwise escape goes a step back, and the footer does not name it."""
    app = wizard()
    async with app.run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "5", BuildScreen)
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
        await smollm2_at(pilot, "5", BuildScreen)
        await pilot.press("h")
        await until(pilot, lambda: reads(pilot, said(NO_ENGINE)))


@pytest.mark.engine
async def test_a_hub_out_of_reach_is_said_in_the_words_of_the_command_line(
    wizard: Open, own_hub_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app stays up, and the file is still offered."""
    pytest.importorskip("llama_cpp")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    words = (
        "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF at http://127.0.0.1:9: the connection failed ([Errno "
        f"{errno.ECONNREFUSED}] {os.strerror(errno.ECONNREFUSED)}) (3 times in a row); nothing that could be used is "
        "in the cache"
    )
    async with wizard().run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "5", BuildScreen)
        await pilot.press("h")
        await until(pilot, lambda: screen._stop is None and "127.0.0.1" in screen._words, 60)
        assert screen._words.startswith(translated(words))
        assert (
            said(
                "Try again later: a download goes on where it ended. Or f takes a file or folder that is here."
            )
            in screen._words
        )
        assert screen.check_action("file", ())


@pytest.mark.engine
async def test_what_is_no_model_is_refused_by_name(wizard: Open, tmp_path: Path) -> None:
    """A file that only ends in .gguf is named."""
    pytest.importorskip("llama_cpp")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no model")
    async with wizard().run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "5", BuildScreen)
        await take(pilot, "f", broken)
        await until(pilot, lambda: screen._stop is None and "broken.gguf" in screen._words, 60)
        assert screen._words == translated(f"{broken} is not a GGUF file")
        assert screen._plan is None


@pytest.mark.engine
async def test_weights_of_the_hub_are_planned_before_any_is_fetched(
    wizard: Open, own_hub_cache: None, serve: Callable[[dict[str, Repo]], Hub], smollm2_f16: Path
) -> None:
    """What the Hub has is shown with what is to be downloaded; nothing is until s starts it."""
    pytest.importorskip("llama_cpp")
    name = "SmolLM2-135M-Instruct"
    repository = f"HuggingFaceTB/{name}-GGUF"
    hub = serve({repository: Repo({f"{name}-f16.gguf": smollm2_f16.read_bytes(), "LICENSE": b"Apache"})})
    async with wizard().run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "5", BuildScreen)
        await pilot.press("h")
        await until(pilot, lambda: screen._stop is None, 60)
        assert screen._plan is not None, screen._words
        assert reads(pilot, repository)
        size = amount(smollm2_f16.stat().st_size)
        assert reads(pilot, said(", download {size}", size=size) + said(". s starts."))
        assert screen.check_action("start", ())
        assert not [seen for seen in hub.gets(f"{name}-f16.gguf") if seen.method == "GET"]


async def test_a_build_that_is_here_is_offered_and_can_be_made_again(wizard: Open, built: Path) -> None:
    """It is named with what its manifest says, in either language; r asks for the source of another."""
    async with wizard().run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "5", BuildScreen)
        words = "It is built already, in {path}. n goes on with it, r builds it again in its place."
        assert reads(pilot, said(words, path=built.name))
        assert reads(pilot, "a" * 64)
        assert not screen.check_action("hub", ())
        await pilot.press("ctrl+l")
        await until(pilot, lambda: reads(pilot, said(words, path=built.name)))
        await pilot.press("ctrl+l", "r")
        await until(pilot, lambda: reads(pilot, said(CHOOSE)))
        assert screen.check_action("hub", ())
        assert not reads(pilot, "a" * 64)
        assert (built / f"{built.name}.gguf").exists()


@pytest.mark.engine
@pytest.mark.slow
async def test_a_build_shows_its_stages_and_is_used_by_the_try_step(
    wizard: Open, smollm2_f16: Path, tmp_path: Path
) -> None:
    """Plan, stages, facts; the hash is the file's; the next visit offers it, and Try runs it."""
    pytest.importorskip("llama_cpp")
    async with wizard().run_test(**ROOM) as pilot:
        screen = await plan(pilot, smollm2_f16)
        assert reads(pilot, said("quantizing"))
        assert reads(pilot, said("together"))
        await pilot.press("s")
        await until(pilot, lambda: "%" in shown(pilot), 120)
        await pilot.resize_terminal(40, 10)
        await pilot.pause()
        assert pilot.app.is_running
        await pilot.resize_terminal(100, 40)
        await until(pilot, lambda: screen._stop is None, 400)
        assert reads(pilot, said("Built. n goes on with it; the Try step runs it."))
        text = shown(pilot)
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
        screen = await smollm2_at(pilot, "5", BuildScreen)
        words = "It is built already, in {path}. n goes on with it, r builds it again in its place."
        assert reads(pilot, said(words, path=built.folder))
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
        await until(pilot, lambda: reads(pilot, said("Stopped. Nothing is left of it.")), 30)
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
        assert fixed_part(ENGINE_ENDED) in screen._words
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
    wizard: Open, few: tuple[Model, ...], smollm2_f16: Path, disk: Callable[[str], Path]
) -> None:
    """There was room when it was planned; then somebody else takes it. Nothing of the build is left."""
    pytest.importorskip("llama_cpp")
    folder = disk("900m")
    model = next(each for each in few if each.name == "SmolLM2-135M-Instruct")
    # Made without a minute's imatrix; the other one is what it is made from.
    at_q8_0 = msgspec.structs.replace(model, variants=(model.variant("F16"), model.variant("Q8_0")))
    async with wizard(models=(at_q8_0,)).run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "5", BuildScreen)
        await take(pilot, "o", folder)
        await take(pilot, "f", smollm2_f16)
        await until(pilot, lambda: screen._plan is not None, 60)
        assert screen._plan is not None
        assert screen._plan.obstacle is None
        with (folder / "of-somebody-else").open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, os.statvfs(folder).f_bavail * 4096 - 20_000_000)
        await pilot.press("s")
        await until(pilot, lambda: screen._stop is None, 400)
        assert fixed_part(DISK_FULL) in screen._words
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
        screen = await smollm2_at(pilot, "5", BuildScreen)
        await take(pilot, "o", small_disk)
        await take(pilot, "f", smollm2_f16)
        await until(pilot, lambda: screen._plan is not None, 60)
        assert screen._plan is not None
        obstacle = translated(screen._plan.obstacle or "")
        assert said("the build") in obstacle
        assert fixed_part(NO_ROOM) in obstacle
        assert reads(pilot, obstacle)
        assert not screen.check_action("start", ())
        assert left(small_disk) == []
