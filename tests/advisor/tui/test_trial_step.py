"""Trying a deployment: what is said where it cannot be tried, and the engine's good and bad days."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Input, Static

from advisor.catalog import Model
from advisor.local_files import files_of
from advisor.sentences import translated
from advisor.tui.screens.talk import TalkScreen
from advisor.tui.screens.trial import TrialScreen
from advisor.tui.work.trying import progress_in_words
from profiles.engine.installed import InstalledEngine
from profiles.engine.protocol import EngineFailure
from profiles.engine.stop import Stop
from profiles.errors import EngineError, NoisyError
from profiles.throughput import Progress, ThroughputTest
from tests.advisor.tui.conftest import (
    NO_ENGINE,
    Open,
    choose,
    fixed_part,
    in_english,
    reads,
    said,
    shown,
    smollm2_at,
    take,
    until,
)

ROOM = {"size": (100, 36), "notifications": True}

READY = "say something; {description}, {tokens} tokens of context"
ANSWERS = "this answer: {rate} tokens/s over {tokens} tokens"
KILLED = "the system ended the engine, most likely because memory ran out (SIGKILL)"


async def test_a_device_that_is_elsewhere_cannot_be_tried(wizard: Open) -> None:
    """The screen says so, and what to run over there."""
    async with wizard().run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "4", TrialScreen)
        words = "{device} is not this machine, so nothing can be tried on it from here. On it: slm-advisor bench FILE."
        assert reads(pilot, said(words, device="a board on the bench"))
        await pilot.press("p")
        await pilot.pause()
        assert screen._stop is None
        assert not reads(pilot, said("starting …"))


@in_english
async def test_the_keys_of_the_step_are_those_that_do_something(wizard: Open) -> None:
    """Stop is offered while something runs, a trial only on this machine; escape goes back otherwise."""
    app = wizard(device=None)
    async with app.run_test(**ROOM) as pilot:
        await choose(pilot, "smollm2-135m", "4")
        screen = app.screen
        assert isinstance(screen, TrialScreen)
        assert "p Probe" in shown(pilot)
        assert "esc Stop" not in shown(pilot)
        screen._stop = Stop()
        screen.show()
        await pilot.pause()
        assert "esc Stop" in shown(pilot)
        assert "p Probe" not in shown(pilot)
        await pilot.press("escape")
        assert screen._stop.stopped
        assert app.step == "try"
        screen._end("")
        await pilot.press("escape")
        assert app.step == "models"
    app = wizard()
    async with app.run_test(**ROOM) as pilot:
        await choose(pilot, "smollm2-135m", "4")
        assert "p Probe" not in shown(pilot)


@in_english
async def test_a_busy_machine_is_probed_all_the_same_on_request(
    wizard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal for noise offers u, which probes without keeping anything; a crash of the engine does not."""
    engine = InstalledEngine(version="0.3.36", folder="/nowhere", digest="1a2b3c4d")
    monkeypatch.setattr("profiles.engine.installed.installed_engine", lambda: engine)
    asked: list[bool] = []

    def probe_once(*_given: object, strict: bool, **_options: object) -> None:
        asked.append(strict)
        if strict:
            raise NoisyError("tg256 cannot be measured now: other programs took 0.3 of 2 CPUs")
        raise EngineError("the engine ended itself", EngineFailure("crashed", "it aborted"))

    monkeypatch.setattr("advisor.probe_candidate.probe_once", probe_once)
    async with wizard(device=None).run_test(**ROOM) as pilot:
        await choose(pilot, "smollm2-135m", "4")
        await pilot.press("p")
        await until(pilot, lambda: "u measures all the same" in shown(pilot))
        await pilot.press("u")
        await until(pilot, lambda: "the engine ended itself. Nothing else is lost" in shown(pilot))
        assert asked == [True, False]
        assert "u Measure anyway" not in shown(pilot)


def test_a_repeated_round_of_a_bench_says_so() -> None:
    """Repetitions that begin again are no mystery."""
    test = ThroughputTest(n_prompt=512, n_gen=0)
    progress = Progress(
        phase="running", test=test, test_number=1, tests=2, repetition=1, repetitions=5, round=2
    )
    assert progress_in_words(progress) == "test 1 of 2: pp512, repetition 1 of 5, again (round 2)"


async def test_without_an_engine_the_way_to_one_is_shown(
    wizard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is started, and the wizard stays."""
    monkeypatch.setitem(sys.modules, "llama_cpp", None)  # as importlib sees a package that is not installed
    async with wizard(device=None).run_test(**ROOM) as pilot:
        await smollm2_at(pilot, "4", TrialScreen)
        await pilot.press("p")
        await until(pilot, lambda: reads(pilot, said(NO_ENGINE)))
        assert pilot.app.is_running


async def test_what_is_no_model_is_refused_by_name(wizard: Open, tmp_path: Path) -> None:
    """A file that only ends in .gguf is named, with what is wrong with it."""
    pytest.importorskip("llama_cpp")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no model")
    async with wizard(device=None).run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "4", TrialScreen)
        await take(pilot, "f", broken)
        await until(pilot, lambda: screen._stop is None and "broken.gguf" in shown(pilot))
        assert screen._words == translated(f"{broken} is not a GGUF file")


def test_files_are_found_by_model_and_quantization(few: tuple[Any, ...], tmp_path: Path) -> None:
    """Spellings of Hub repositories count; another quantization or another model does not."""
    model = next(each for each in few if each.name == "Qwen2.5-0.5B-Instruct")
    folder = tmp_path / "models--Qwen--Qwen2.5-0.5B-Instruct-GGUF" / "snapshots" / "1"
    folder.mkdir(parents=True)
    for name in (
        "qwen2.5-0.5b-instruct-q4_k_m.gguf",
        "qwen2.5-0.5b-instruct-q8_0.gguf",
        "qwen2.5-1.5b-q4_k_m.gguf",
    ):
        (folder / name).touch()
    assert [path.name for path in files_of(model, "Q4_K_M", (tmp_path,))] == [
        "qwen2.5-0.5b-instruct-q4_k_m.gguf"
    ]
    assert files_of(model, "Q4_K_M", (tmp_path / "gone",)) == ()


@pytest.mark.engine
@pytest.mark.slow
async def test_a_conversation_streams_and_outlives_an_interruption(wizard: Open, smollm2: Path) -> None:
    """What the model says appears with its speed; escape ends an answer, and the next one comes."""
    pytest.importorskip("llama_cpp")
    async with wizard(device=None).run_test(**ROOM) as pilot:
        await smollm2_at(pilot, "4", TrialScreen)
        await take(pilot, "t", smollm2)
        await until(pilot, lambda: reads(pilot, fixed_part(READY)), 60)
        await pilot.press(*"Write a long story.", "enter")
        await until(pilot, lambda: reads(pilot, said(ANSWERS).partition("{")[0]), 60)
        # The file is Q4_1, and another quantization is recommended: its prediction says nothing of this one.
        assert not reads(pilot, said("predicted: {value} tokens/s ({low} to {high})").partition("{")[0])
        await pilot.press("escape")
        screen = pilot.app.screen
        assert isinstance(screen, TalkScreen)
        await until(pilot, lambda: screen._answer is None, 60)
        await pilot.press(*"Say yes.", "enter")
        await until(pilot, lambda: "> Say yes." in shown(pilot), 60)
        await pilot.press("escape")
        await until(pilot, lambda: screen._answer is None, 60)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, TrialScreen))


@pytest.mark.engine
def test_a_conversation_that_memory_is_too_small_for_is_refused_before_it_is_loaded(
    few: tuple[Model, ...], smollm2: Path
) -> None:
    """In the words of the command, with what to do; the engine has loaded nothing."""
    pytest.importorskip("llama_cpp")
    from advisor.recommend import recommend
    from advisor.target import make_target
    from advisor.tui.messages import ChatEnded, ChatReady
    from advisor.tui.work.chatting import Talker
    from advisor.workload import make_workload
    from profiles.resolve import resolve_device

    device = resolve_device("Raspberry Pi 5 8GB")
    target = make_target(device, make_workload())
    model = next(each for each in few if each.name == "SmolLM2-135M-Instruct")
    (candidate,) = recommend((model,), target, make_workload()).ranked
    full = msgspec.structs.replace(
        device, memory=msgspec.structs.replace(device.memory, budget_now_bytes=20_000_000)
    )
    posted: list[object] = []
    Talker(smollm2, candidate, posted.append, lambda: full).run()
    (ended,) = [message for message in posted if isinstance(message, ChatEnded)]
    assert ended.problem is not None
    assert "beside the weights, and 20.0 MB is free; close other programs" in ended.problem.message
    assert not any(isinstance(message, ChatReady) for message in posted)


@in_english
async def test_a_conversation_with_another_file_is_not_held_against_the_prediction(
    wizard: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a file that has the name of the chosen deployment has its predicted speed; what was said can be scrolled."""
    monkeypatch.setattr("advisor.tui.work.chatting.Talker.run", lambda _talker: None)
    app = wizard()
    async with app.run_test(**ROOM) as pilot:
        await choose(pilot, "smollm2-135m", "4")
        assert app.ranking is not None
        candidate = app.ranking.candidate(str(app.chosen))
        assert candidate is not None
        for name, said in ((f"SmolLM2-135M-Instruct-{candidate.variant.quant}", True), ("other-Q4_0", False)):
            await app.push_screen(TalkScreen(tmp_path / f"{name}.gguf", candidate))
            await pilot.pause()
            assert ("predicted: " in shown(pilot)) is said
            await pilot.press("escape")
        screen = TalkScreen(tmp_path / "other.gguf", candidate)
        await app.push_screen(screen)
        scroll = screen.query_one(VerticalScroll)
        await scroll.mount(Static("\n".join(f"line {number}" for number in range(200)), classes="said"))
        await pilot.press("pagedown", "pagedown", "pageup")
        assert scroll.scroll_y > 0


@pytest.mark.engine
@pytest.mark.slow
async def test_an_engine_that_ends_in_a_conversation_leaves_the_wizard_up(
    wizard: Open, smollm2: Path
) -> None:
    """What happened is said in the conversation, and escape leads back."""
    pytest.importorskip("llama_cpp")
    async with wizard(device=None).run_test(**ROOM) as pilot:
        await smollm2_at(pilot, "4", TrialScreen)
        await take(pilot, "t", smollm2)
        await until(pilot, lambda: reads(pilot, fixed_part(READY)), 60)
        screen = pilot.app.screen
        assert isinstance(screen, TalkScreen)
        await pilot.press(*"Write a long story.", "enter")
        await until(pilot, lambda: reads(pilot, said(ANSWERS).partition("{")[0]), 60)
        (worker,) = screen._talker.stop.pids
        os.kill(worker, signal.SIGKILL)
        await until(pilot, lambda: screen._ended, 30)
        assert reads(pilot, translated(KILLED))
        assert screen.query_one(Input).disabled
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, TrialScreen))


@pytest.mark.engine
@pytest.mark.slow
async def test_a_worker_that_dies_in_a_test_ends_the_test_alone(wizard: Open, smollm2: Path) -> None:
    """What happened and what to do is said; the next test can be started."""
    pytest.importorskip("llama_cpp")
    async with wizard(device=None).run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "4", TrialScreen)
        await take(pilot, "f", smollm2)
        await until(pilot, lambda: screen._stop is not None and screen._stop.pids, 60)
        assert screen._stop is not None
        os.kill(screen._stop.pids[0], signal.SIGKILL)
        await until(pilot, lambda: screen._stop is None, 60)
        words = "{what}. Nothing else is lost: try again, or a smaller model or context."
        assert screen._words == said(words, what=translated(KILLED))
        assert screen.check_action("probe", ())
        assert pilot.app.is_running


@pytest.mark.engine
@pytest.mark.slow
async def test_a_probe_is_stopped_at_once(wizard: Open) -> None:
    """Escape ends it, its process too, and nothing is kept."""
    pytest.importorskip("llama_cpp")
    async with wizard(device=None).run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "4", TrialScreen)
        await pilot.press("p")
        await until(pilot, lambda: screen._stop is not None and screen._stop.pids, 30)
        assert screen._stop is not None
        stop = screen._stop
        await pilot.press("escape")
        await until(pilot, lambda: reads(pilot, said("Stopped. Nothing is kept.")), 15)
        assert stop.pids == ()


async def anyway(pilot: Pilot[Any], screen: TrialScreen) -> None:
    """Where the machine is too busy for a result that is kept, have one that is not."""
    if reads(pilot, said("u measures all the same, without keeping the result.")):
        await pilot.press("u")
        await until(pilot, lambda: screen._stop is not None)
        await until(pilot, lambda: screen._stop is None, 240)


@pytest.mark.engine
@pytest.mark.slow
async def test_a_probe_shows_what_was_predicted_beside_what_was_found(wizard: Open) -> None:
    """Without the file; the row it is about is the chosen one."""
    pytest.importorskip("llama_cpp")
    async with wizard(device=None).run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "4", TrialScreen)
        await pilot.press("p")
        await until(pilot, lambda: screen._stop is not None)
        await until(pilot, lambda: screen._stop is None, 240)
        await anyway(pilot, screen)
        assert reads(pilot, said("found here"))
        (trial,) = screen._trials
        assert reads(pilot, said("Done: {what} {grade}.", what=trial.label, grade=said("probed here")))
        assert trial.model == pilot.app.chosen  # type: ignore[attr-defined]
        assert "%" in shown(pilot)


@pytest.mark.engine
@pytest.mark.slow
async def test_a_bench_shows_what_was_predicted_beside_what_was_found(wizard: Open, smollm2: Path) -> None:
    """On a quiet machine the row takes the measurement; a busy one is measured on request, and nothing is kept."""
    pytest.importorskip("llama_cpp")
    app = wizard(device=None)
    async with app.run_test(**ROOM) as pilot:
        screen = await smollm2_at(pilot, "4", TrialScreen)
        await take(pilot, "f", smollm2)
        await until(pilot, lambda: screen._stop is not None)
        await until(pilot, lambda: screen._stop is None, 240)
        await anyway(pilot, screen)
        done = said("Done: {what} {grade}.", what="SmolLM2-135M-Instruct:Q4_1", grade=said("measured here"))
        assert reads(pilot, done)
        assert reads(pilot, said("peak memory"))
        assert "%" in shown(pilot)
