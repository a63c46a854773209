"""The workload: what the user will do, and the floors that follow from it.

A task preset states every floor it implies; a value the user gives wins. The speeds come from how people read
and listen, at about 0.75 English words a token (WORDS_PER_TOKEN): silent reading of 238 words a minute (Brysbaert 2019,
doi:10.1016/j.jml.2019.104047) is 5.3 tokens/s, speech of 150 words a minute 3.3 tokens/s.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

from advisor.errors import InvalidInputError
from advisor.language import marked

Task = Literal[
    "chat", "coding", "reasoning", "summarize", "translate", "extract", "agent", "voice", "general"
]
TASKS: tuple[Task, ...] = get_args(Task)

WORDS_PER_TOKEN = 0.75
"""English words; other languages need more tokens for the same text."""

MAX_CONTEXT = 16 * 1024 * 1024
MAX_BYTES = 1 << 60
MAX_TTFT_S = 86_400.0


class TaskPreset(msgspec.Struct, frozen=True, kw_only=True):
    """What a task implies when the user does not say: tokens, and floors an answer must meet."""

    context_length: int
    prompt_tokens: int
    answer_tokens: int
    min_tg_tokens_per_s: float
    max_ttft_s: float
    reason: str


PRESETS: dict[Task, TaskPreset] = {
    "chat": TaskPreset(
        context_length=8192,
        prompt_tokens=256,
        answer_tokens=256,
        min_tg_tokens_per_s=6.0,
        max_ttft_s=5.0,
        reason=marked(
            "text appears a little faster than people read; five seconds still feel like a reply; "
            "earlier turns stay in the cache, so a turn adds a paragraph or two"
        ),
    ),
    "coding": TaskPreset(
        context_length=16384,
        prompt_tokens=2048,
        answer_tokens=512,
        min_tg_tokens_per_s=8.0,
        max_ttft_s=15.0,
        reason=marked(
            "code is skimmed faster than prose, and a file or two of context comes with the question"
        ),
    ),
    "reasoning": TaskPreset(
        context_length=16384,
        prompt_tokens=512,
        answer_tokens=2048,
        min_tg_tokens_per_s=10.0,
        max_ttft_s=5.0,
        reason=marked(
            "the thinking is not read: 2,000 tokens of it should end within three and a half minutes"
        ),
    ),
    "summarize": TaskPreset(
        context_length=16384,
        prompt_tokens=6000,
        answer_tokens=400,
        min_tg_tokens_per_s=5.0,
        max_ttft_s=60.0,
        reason=marked("a document of ten pages may take a minute to read in"),
    ),
    "translate": TaskPreset(
        context_length=4096,
        prompt_tokens=200,
        answer_tokens=200,
        min_tg_tokens_per_s=6.0,
        max_ttft_s=3.0,
        reason=marked("a paragraph at a time, at reading speed"),
    ),
    "extract": TaskPreset(
        context_length=8192,
        prompt_tokens=3000,
        answer_tokens=200,
        min_tg_tokens_per_s=5.0,
        max_ttft_s=30.0,
        reason=marked("batch work over a few pages with a short structured answer"),
    ),
    "agent": TaskPreset(
        context_length=32768,
        prompt_tokens=4000,
        answer_tokens=300,
        min_tg_tokens_per_s=12.0,
        max_ttft_s=20.0,
        reason=marked("many turns with long tool descriptions and results; each must be quick"),
    ),
    "voice": TaskPreset(
        context_length=4096,
        prompt_tokens=100,
        answer_tokens=80,
        min_tg_tokens_per_s=6.0,
        max_ttft_s=1.5,
        reason=marked(
            "twice the rate of speech, and an answer to a spoken sentence that starts before the silence is "
            "awkward; instructions stay in the cache"
        ),
    ),
    "general": TaskPreset(
        context_length=8192,
        prompt_tokens=256,
        answer_tokens=256,
        min_tg_tokens_per_s=5.0,
        max_ttft_s=10.0,
        reason=marked("reading speed, and a wait that is still bearable"),
    ),
}


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What the user will do, complete: presets have been filled in. Tokens, seconds and bytes.

    `budget` says which memory the answer may use: "now" what is free at this moment, "cleared" what is free
    with other applications closed, "given" `memory_budget_bytes` from the user. `leave_free_bytes` of main memory
    are kept from it, whichever it is.
    """

    task: Task
    languages: tuple[str, ...]
    context_length: int
    prompt_tokens: int
    answer_tokens: int
    min_tg_tokens_per_s: float
    max_ttft_s: float
    memory_budget_bytes: int | None
    budget: Literal["now", "cleared", "given"] | None
    licenses: tuple[str, ...]
    max_download_bytes: int | None
    families: tuple[str, ...]
    leave_free_bytes: int = 0


def make_workload(
    *,
    task: str = "general",
    languages: tuple[str, ...] = (),
    context_length: int | None = None,
    prompt_tokens: int | None = None,
    answer_tokens: int | None = None,
    min_tg_tokens_per_s: float | None = None,
    max_ttft_s: float | None = None,
    memory_budget: str | None = None,
    licenses: tuple[str, ...] = (),
    max_download: str | None = None,
    families: tuple[str, ...] = (),
    leave_free: str | None = None,
) -> Workload:
    """Check what the user gave and fill in the rest from the task's preset.

    Raises InvalidInputError for a value that is not allowed, naming the value and what is allowed.
    """
    if task not in PRESETS:
        raise InvalidInputError(f"task '{task}' is unknown; choose one of {', '.join(TASKS)}")
    preset = PRESETS[task]
    prompt = _positive("prompt-tokens", prompt_tokens, preset.prompt_tokens, MAX_CONTEXT)
    answer = _positive("answer-tokens", answer_tokens, preset.answer_tokens, MAX_CONTEXT)
    context = _positive("context", context_length, preset.context_length, MAX_CONTEXT)
    if prompt + answer > context:
        if context_length is not None:
            shorter = _shorten(prompt, answer, context, prompt_tokens, answer_tokens)
            if shorter is None:
                raise InvalidInputError(
                    f"context {context} is too short for {prompt} prompt tokens and {answer} answer tokens; "
                    f"it must be at least {prompt + answer}"
                )
            prompt, answer = shorter
        else:
            context = -(-(prompt + answer) // 1024) * 1024
    budget_bytes, budget = parse_budget(memory_budget)
    return Workload(
        task=task,
        languages=tuple(parse_language(language) for language in languages),
        context_length=context,
        prompt_tokens=prompt,
        answer_tokens=answer,
        min_tg_tokens_per_s=_floor("min-tg", min_tg_tokens_per_s, preset.min_tg_tokens_per_s, 100_000.0),
        max_ttft_s=_floor("max-ttft", max_ttft_s, preset.max_ttft_s, MAX_TTFT_S),
        memory_budget_bytes=budget_bytes,
        budget=budget,
        licenses=tuple(text.strip() for text in licenses),
        max_download_bytes=None if max_download is None else parse_bytes("max-download", max_download),
        families=tuple(text.strip() for text in families),
        leave_free_bytes=0 if leave_free is None else parse_bytes("leave-free", leave_free),
    )


_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


def parse_bytes(option: str, text: str) -> int:
    """Bytes from "6GB" (decimal), "6GiB" (binary), "512M" or a plain number.

    Raises InvalidInputError naming the option and the value.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text, re.IGNORECASE | re.ASCII)
    size = None if match is None else float(match[1]) * _UNITS[(match[2] or "").lower()]
    if size is None or not 1 <= size <= MAX_BYTES:
        raise InvalidInputError(
            f"{option} '{text}' is not an amount of memory; write it like 6GB, 5.5GiB or 800M"
        )
    return int(size)


def parse_budget(text: str | None) -> tuple[int | None, Literal["now", "cleared", "given"] | None]:
    """`--memory-budget`: "now", "cleared" or an amount; None leaves the choice to the device."""
    if text is None:
        return None, None
    word = text.strip().lower()
    if word in ("now", "cleared"):
        return None, word  # type: ignore[return-value]
    try:
        return parse_bytes("memory-budget", text), "given"
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}, or 'now' or 'cleared'") from None


def parse_language(text: str) -> str:
    """A language code in lower case ("ja", "zh", "pt-br" gives "pt"); refuses what is no code."""
    code = text.strip().lower().replace("_", "-")
    if re.fullmatch(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", code, re.ASCII) is None:
        raise InvalidInputError(f"language '{text}' is not a code; write it like ja, en or de (ISO 639)")
    return code.split("-")[0]


def _positive(option: str, value: int | None, default: int, limit: int) -> int:
    if value is None:
        return default
    if not 1 <= value <= limit:
        raise InvalidInputError(f"{option} {value} is out of range; it must be between 1 and {limit}")
    return value


def _floor(option: str, value: float | None, default: float, limit: float) -> float:
    if value is None:
        return default
    if not 0 <= value <= limit:  # also refuses NaN
        raise InvalidInputError(f"{option} {value:g} is out of range; it must be between 0 and {limit:g}")
    return value


def _shorten(
    prompt: int, answer: int, context: int, given_prompt: int | None, given_answer: int | None
) -> tuple[int, int] | None:
    """Fit the preset's token counts into a context the user asked for; None where the user fixed too many."""
    if given_prompt is not None and given_answer is not None:
        return None
    if given_prompt is not None:
        answer = context - prompt
    elif given_answer is not None:
        prompt = context - answer
    else:
        prompt = max(1, context * prompt // (prompt + answer))
        answer = context - prompt
    return (prompt, answer) if prompt >= 1 and answer >= 1 else None
