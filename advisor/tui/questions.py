"""The questions of the need, each with the answers that are offered and what they mean in words.

The values are those of `Need`; None leaves a field to the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from advisor.language import _, current, marked, plural
from advisor.languages import language_name
from advisor.need import Need
from advisor.tui.widgets.choice import Option
from advisor.workload import PRESETS, TASKS, WORDS_PER_TOKEN, Task
from profiles.text import amount, rate, seconds

CONTEXTS = (2048, 4096, 8192, 16384, 32768, 65536, 131072)
RATES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 50.0, 100.0)
FIRST_WORDS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0)
LEFT_FREE = (
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    4_000_000_000,
    8_000_000_000,
    16_000_000_000,
    32_000_000_000,
)
COMMON_LANGUAGES = ("en", "ja", "zh", "ko", "de", "fr", "es")

TASK_NAMES: dict[Task, str] = {
    "chat": marked("chat"),
    "coding": marked("coding"),
    "reasoning": marked("reasoning"),
    "summarize": marked("summarize"),
    "translate": marked("translate"),
    "extract": marked("extract"),
    "agent": marked("agent"),
    "voice": marked("voice"),
    "general": marked("general"),
}


class Question(NamedTuple):
    """A field of the need: its label, the answers for a need, and how a typed answer is read (None: it is not)."""

    field: str
    label: str
    help: str
    options: Callable[[Need], Sequence[Option[object]]]
    read: Callable[[str], object] | None = None


def answered(need: Need, field: str, value: object) -> Need:
    """The need with another answer."""
    return msgspec.structs.replace(need, **{field: value})


def _tasks(need: Need) -> Sequence[Option[object]]:
    return [Option(task, _(TASK_NAMES[task]), _(PRESETS[task].reason)) for task in TASKS]


def _languages(need: Need) -> Sequence[Option[object]]:
    common = dict.fromkeys((current(), *COMMON_LANGUAGES))
    offered: list[tuple[str, ...]] = [(), *((code,) for code in common)]
    if need.languages not in offered:
        offered.append(need.languages)
    return [Option(codes, languages_in_words(codes)) for codes in offered]


def languages_in_words(codes: tuple[str, ...]) -> str:
    """ "Japanese, English"; any, where there is none."""
    return ", ".join(language_name(code) for code in codes) if codes else _("any language")


def _contexts(need: Need) -> Sequence[Option[object]]:
    own = PRESETS[_task(need)].context_length

    def words(tokens: int) -> str:
        count = round(tokens * WORDS_PER_TOKEN, -2)
        return _("{tokens:,} tokens, about {words:,.0f} words").format(tokens=tokens, words=count)

    hint = _("how much text the model can keep in mind: what you give it and what it answers, together")
    return [
        Option(None, words(own) + _by_task(), hint),
        *(_given(CONTEXTS, need.context_length, words, hint)),
    ]


def _rates(need: Need) -> Sequence[Option[object]]:
    own = PRESETS[_task(need)].min_tg_tokens_per_s

    def words(tokens: float) -> str:
        return _("{words} words/s ({tokens} tokens/s)").format(
            words=rate(tokens * WORDS_PER_TOKEN), tokens=rate(tokens)
        )

    hint = _("people read 4 words a second and listen to 2.5; slower than that feels slow")
    return [
        Option(None, words(own) + _by_task(), hint),
        *(_given(RATES, need.min_tg_tokens_per_s, words, hint)),
    ]


def _first_words(need: Need) -> Sequence[Option[object]]:
    own = PRESETS[_task(need)].max_ttft_s

    def words(value: float) -> str:
        return _("at most {seconds}").format(seconds=seconds(value))

    prompt = PRESETS[_task(need)].prompt_tokens
    hint = plural(
        "the wait before the answer begins, for a prompt of {tokens} token",
        "the wait before the answer begins, for a prompt of {tokens} tokens",
        prompt,
    ).format(tokens=prompt)
    return [Option(None, words(own) + _by_task(), hint), *(_given(FIRST_WORDS, need.max_ttft_s, words, hint))]


def _left_free(need: Need) -> Sequence[Option[object]]:
    hint = _("main memory that other programs shall keep, taken off what is free")
    nothing: Option[object] = Option(None, _("nothing"), hint)
    return [nothing, *(_given(LEFT_FREE, need.leave_free_bytes, amount, hint))]


def _licenses(need: Need) -> Sequence[Option[object]]:
    offered: list[Option[object]] = [
        Option((), _("any licence"), _("research and evaluation licences too")),
        Option(("commercial",), _("commercial use allowed"), _("permissive ones, and those with conditions")),
        Option(("permissive",), _("permissive"), _("Apache-2.0, MIT and the like: any use")),
    ]
    if need.licenses not in [option.value for option in offered]:
        offered.append(Option(need.licenses, ", ".join(need.licenses)))
    return offered


def _privacy(need: Need) -> Sequence[Option[object]]:
    return [
        Option(
            False,
            _("downloads allowed"),
            _("nothing is fetched unless you ask for it; nothing is ever sent anywhere"),
        ),
        Option(
            True,
            _("never touch the network"),
            _("files must be here already; whatever would fetch one is refused"),
        ),
    ]


QUESTIONS = (
    Question("task", marked("Task"), marked("What will it be used for?"), _tasks),
    Question("languages", marked("Languages"), marked("Which languages must it know?"), _languages, None),
    Question(
        "context_length",
        marked("Context"),
        marked("How much text at once? (tokens)"),
        _contexts,
        lambda text: int(text.replace(",", "")),
    ),
    Question(
        "min_tg_tokens_per_s", marked("Speed"), marked("How fast must it write? (tokens/s)"), _rates, float
    ),
    Question(
        "max_ttft_s", marked("First word"), marked("How long may it think? (seconds)"), _first_words, float
    ),
    Question(
        "leave_free_bytes",
        marked("Leave free"),
        marked("How much memory to leave to other programs? (2GB)"),
        _left_free,
        lambda text: _bytes(text),
    ),
    Question("licenses", marked("Licence"), marked("What must the licence allow?"), _licenses),
    Question("offline", marked("Privacy"), marked("May anything be downloaded?"), _privacy),
)


def _task(need: Need) -> Task:
    task: Task = msgspec.convert(need.task, Task)
    return task


def _by_task() -> str:
    return _(" – from the task")


def _given(
    offered: Sequence[int | float], own: int | float | None, words: Callable[..., str], hint: str
) -> list[Option[object]]:
    """The offered numbers, and in its place the user's own where it is not among them."""
    numbers = sorted({*offered, *([] if own is None else [own])})
    return [Option(number, words(number), hint) for number in numbers]


def _bytes(text: str) -> int:
    from advisor.workload import parse_bytes

    return parse_bytes("leave-free", text)
