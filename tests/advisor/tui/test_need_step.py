"""The questions: stepping, the lists with their counts, own values, and what is refused."""

from __future__ import annotations

from advisor.need import Need, command_of, workload_of
from advisor.recommend import recommend
from advisor.target import make_target
from advisor.tui.questions import QUESTIONS
from advisor.tui.questions import answered as with_answer
from advisor.workload import MAX_CONTEXT, WORDS_PER_TOKEN
from profiles.resolve import resolve_device
from tests.advisor.tui.conftest import FEW, Open, answered, paste, reads, said, shown, until


def counted_models(number: int) -> str:
    return said("{count:>5} model", "{count:>5} models", count=number)


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
            text = shown(pilot, ".dialog")
            return all(
                any(said(task) in line and counted_models(number) in line for line in text.splitlines())
                for task, number in expected.items()
            )

        await until(pilot, counted)


async def test_an_own_value_is_taken_and_a_wrong_one_refused(wizard: Open) -> None:
    """A number can be typed; what is none, or none that is allowed, is named and the list stays."""
    app = wizard()
    async with app.run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        await pilot.press("2", "down", "down", "enter", *"5000", "enter")
        await answered(pilot)
        assert app.need.context_length == 5000
        assert reads(pilot, context(5000))
        await pilot.press("enter", *"many", "enter")
        await pilot.pause()
        assert reads(pilot, said("'{text}' is not a number.", text="many"))
        await pilot.press(*["backspace"] * 4, *"-3", "enter")
        await pilot.pause()
        words = "{option} {value} is out of range; it must be between {least} and {limit}"
        assert reads(pilot, said(words, option="context", value=-3, least=1, limit=MAX_CONTEXT))
        assert app.need.context_length == 5000


async def test_languages_are_chosen_by_name(wizard: Open) -> None:
    """Typing finds a language; enter adds it and takes it away again."""
    app = wizard()
    async with app.run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        await pilot.press("2", "down", "enter")
        for name in ("Japanese", "Korean"):
            await paste(pilot, said(name).lower()[:4])
            await pilot.press("enter", "ctrl+u")
        await pilot.press("escape")
        await answered(pilot)
        assert app.need.languages == ("ja", "ko")
        assert reads(pilot, f"{said('Japanese')}, {said('Korean')}")


def context(tokens: int) -> str:
    words = round(tokens * WORDS_PER_TOKEN, -2)
    return said("{tokens:,} tokens, about {words:,.0f} words", tokens=tokens, words=words)


async def test_each_question_is_answered_from_its_list(wizard: Open) -> None:
    """Enter opens it under its question, with the answer that holds marked; the one beside it is taken and counted."""
    app = wizard()
    async with app.run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        await pilot.press("2")
        for question in QUESTIONS:
            if question.field != "languages":  # of which there may be several
                options = question.options(app.need)
                holds = [option.value for option in options].index(getattr(app.need, question.field))
                key, place = ("down", holds + 1) if holds + 1 < len(options) else ("up", holds - 1)
                await pilot.press("enter", key)
                assert reads(pilot, said(question.help))
                assert reads(pilot, options[place].hint)
                expected = with_answer(app.need, question.field, options[place].value)
                await pilot.press("enter")
                await answered(pilot)
                assert app.need == expected
                assert reads(pilot, options[place].label)
                assert app.ranking is not None
                one, many = "{count} of {all} models remains", "{count} of {all} models remain"
                assert reads(pilot, said(one, many, count=len(app.ranking.rows), all=len(FEW)))
            await pilot.press("down")


async def test_what_follows_the_task_follows_it(wizard: Open) -> None:
    """A context left to the task changes with the task; one that was given stays."""
    app = wizard()
    async with app.run_test(size=(80, 30)) as pilot:
        await answered(pilot)
        await pilot.press("2", "left")  # voice
        await answered(pilot)
        assert app.need.task == "voice"
        assert reads(pilot, context(4096) + said(" – from the task"))
        await pilot.press("r")
        await answered(pilot)
        assert reads(pilot, context(8192) + said(" – from the task"))


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
