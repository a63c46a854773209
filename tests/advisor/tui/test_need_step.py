"""The questions: stepping, the lists with their counts, own values, and what is refused."""

from __future__ import annotations

import re

from advisor.need import Need, command_of, workload_of
from advisor.recommend import recommend
from advisor.target import make_target
from advisor.tui.questions import QUESTIONS
from advisor.tui.questions import answered as with_answer
from profiles.resolve import resolve_device
from tests.advisor.tui.conftest import Open, answered, shown, until


async def test_the_list_of_answers_counts_what_each_leaves(
    wizard: Open, board: str, few: tuple[object, ...]
) -> None:
    """The numbers are those that `recommend` gives for the same question."""
    app = wizard()
    async with app.run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        await pilot.press("2", "enter")  # the task
        expected = {}
        for task in ("chat", "voice"):
            workload = workload_of(Need(task=task))
            result = recommend(few, make_target(resolve_device(board), workload), workload)  # type: ignore[arg-type]
            expected[task] = len(result.ranked)

        def counted() -> bool:
            text = shown(pilot)
            return all(re.search(rf"│ {task} +{number} models? ", text) for task, number in expected.items())

        await until(pilot, counted)


async def test_an_own_value_is_taken_and_a_wrong_one_refused(wizard: Open) -> None:
    """A number can be typed; what is none, or none that is allowed, is named and the list stays."""
    app = wizard()
    async with app.run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        await pilot.press("2", "down", "down", "enter", *"5000", "enter")
        await answered(pilot)
        assert app.need.context_length == 5000
        assert "5,000 tokens" in shown(pilot)
        await pilot.press("enter", *"many", "enter")
        await pilot.pause()
        assert "'many' is not a number" in shown(pilot)
        await pilot.press(*["backspace"] * 4, *"-3", "enter")
        await pilot.pause()
        assert "-3 is out of range" in shown(pilot)
        assert app.need.context_length == 5000


async def test_languages_are_chosen_by_name(wizard: Open) -> None:
    """Typing finds a language; enter adds it and takes it away again."""
    app = wizard()
    async with app.run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        await pilot.press(
            "2", "down", "enter", *"japa", "enter", *["backspace"] * 4, *"kore", "enter", "escape"
        )
        await answered(pilot)
        assert app.need.languages == ("ja", "ko")
        assert "Japanese, Korean" in shown(pilot)


async def test_what_follows_the_task_follows_it(wizard: Open) -> None:
    """A context left to the task changes with the task; one that was given stays."""
    app = wizard()
    async with app.run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        await pilot.press("2", "left")  # voice
        await answered(pilot)
        assert app.need.task == "voice"
        assert "4,096 tokens" in shown(pilot)
        await pilot.press("r")
        await answered(pilot)
        assert "8,192 tokens" in shown(pilot)


async def test_memory_left_free_is_taken_from_the_budget(wizard: Open) -> None:
    """Leaving 4 GB leaves fewer models, and the list's budget is smaller by so much."""
    app = wizard()
    async with app.run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        assert app.ranking is not None
        before = app.ranking.device.host_budget_bytes
        await pilot.press("2", *["down"] * 5, *["right"] * 4)
        await answered(pilot)
        assert app.need.leave_free_bytes == 4_000_000_000
        assert before is not None
        assert app.ranking.device.host_budget_bytes == before - 4_000_000_000


def test_every_offered_answer_is_allowed() -> None:
    """No answer of any list is refused by the program that it is for."""
    for question in QUESTIONS:
        for option in question.options(Need(task="agent")):
            workload_of(with_answer(Need(task="agent"), question.field, option.value))


def test_the_command_asks_the_same(capsys: object) -> None:
    """The line under the form, run, gives a workload with the same values."""
    import shlex

    from advisor.cli.recommend import recommend as command

    need = Need(
        task="chat",
        languages=("ja", "en"),
        context_length=5000,
        min_tg_tokens_per_s=4.0,
        max_ttft_s=2.5,
        leave_free_bytes=1_000_000_000,
        licenses=("permissive",),
    )
    words = shlex.split(command_of(need, "Raspberry Pi 5 8GB"))
    assert words[:2] == ["slm-advisor", "recommend"]
    options = command.make_context("recommend", words[2:]).params
    assert options["device"] == "Raspberry Pi 5 8GB"
    own = {
        "device",
        "via",
        "policy",
        "top",
        "confirmed",
        "why",
        "verbose",
        "as_json",
        "devices",
        "cover",
        "ray",
    }
    from advisor.workload import make_workload

    assert make_workload(
        **{name: value for name, value in options.items() if name not in own}
    ) == workload_of(need)
