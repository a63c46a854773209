"""A workload is complete and sane, or refused with the value and what is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.errors import InvalidInputError
from advisor.workload import PRESETS, TASKS, make_workload, parse_bytes, parse_language


@pytest.mark.parametrize("task", TASKS)
def test_every_task_states_all_its_floors(task: str) -> None:
    """A workload made from a task alone has a context that holds its prompt and answer, and both floors."""
    workload = make_workload(task=task)
    assert workload.prompt_tokens + workload.answer_tokens <= workload.context_length
    assert workload.min_tg_tokens_per_s > 0
    assert workload.max_ttft_s > 0


def test_the_users_values_win_over_the_preset() -> None:
    """What the user says replaces what the task implies, and the rest of the preset stays."""
    workload = make_workload(task="voice", min_tg_tokens_per_s=20.0, context_length=2048)
    assert workload.min_tg_tokens_per_s == 20.0
    assert workload.context_length == 2048
    assert workload.max_ttft_s == PRESETS["voice"].max_ttft_s


def test_a_floor_of_zero_switches_the_floor_off() -> None:
    """--min-tg 0 is allowed: the user does not mind how slow it is."""
    assert make_workload(min_tg_tokens_per_s=0.0).min_tg_tokens_per_s == 0.0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"task": "poetry"}, "poetry"),
        ({"context_length": -5}, "-5"),
        ({"context_length": 0}, "context 0"),
        ({"prompt_tokens": 0}, "prompt-tokens 0"),
        ({"min_tg_tokens_per_s": float("nan")}, "nan"),
        ({"min_tg_tokens_per_s": -1.0}, "-1"),
        ({"max_ttft_s": float("inf")}, "inf"),
        ({"memory_budget": "lots"}, "lots"),
        ({"memory_budget": "-3GB"}, "-3GB"),
        ({"memory_budget": "0"}, "'0'"),
        ({"memory_budget": "1e400GB"}, "1e400GB"),
        ({"max_download": "big"}, "big"),
        ({"languages": ("japanese please",)}, "japanese please"),
        ({"context_length": 1000, "prompt_tokens": 900, "answer_tokens": 200}, "at least 1100"),
    ],
)
def test_a_wrong_value_is_refused_by_name(arguments: dict[str, object], named: str) -> None:
    """The message holds the value, so that the user sees which of many options was wrong."""
    with pytest.raises(InvalidInputError, match=named.replace("'", ".")):
        make_workload(**arguments)  # type: ignore[arg-type]


def test_a_short_context_shortens_the_presets_prompt() -> None:
    """A context below the preset's tokens keeps the user's context and scales what the user did not give."""
    workload = make_workload(task="summarize", context_length=2048)
    assert workload.context_length == 2048
    assert workload.prompt_tokens + workload.answer_tokens <= 2048
    assert workload.prompt_tokens > workload.answer_tokens


def test_long_prompts_lengthen_a_context_nobody_fixed() -> None:
    """--prompt-tokens 50000 without --context asks for a context that holds it."""
    assert make_workload(task="chat", prompt_tokens=50_000).context_length >= 50_256


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("6GB", 6_000_000_000),
        ("6 GiB", 6 * 2**30),
        ("800m", 800_000_000),
        ("1.5g", 1_500_000_000),
        ("123456", 123456),
    ],
)
def test_sizes_are_decimal_unless_they_say_otherwise(text: str, size: int) -> None:
    """GB is ten to the ninth, GiB two to the thirtieth."""
    assert parse_bytes("memory-budget", text) == size


@given(st.text(max_size=20))
def test_no_text_gives_a_size_out_of_range(text: str) -> None:
    """Whatever is typed is a sane number of bytes or an error, never a crash."""
    try:
        size = parse_bytes("memory-budget", text)
    except InvalidInputError:
        return
    assert 1 <= size <= 1 << 60


@pytest.mark.parametrize(("text", "code"), [("ja", "ja"), ("JA", "ja"), ("pt-BR", "pt"), ("zh_Hant", "zh")])
def test_a_language_is_its_primary_code(text: str, code: str) -> None:
    """Regions and scripts do not matter for which models know a language."""
    assert parse_language(text) == code
