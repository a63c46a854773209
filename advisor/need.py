"""What a person asks for, field by field as the options of `recommend` have it, and the command that asks the same."""

from __future__ import annotations

import shlex

import msgspec

from advisor.workload import Workload, make_workload


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Unset fields are left to the task. Tokens, tokens per second, seconds, bytes.

    `offline` says that nothing may be fetched from the network, now or when the choice is built.
    """

    task: str = "general"
    languages: tuple[str, ...] = ()
    context_length: int | None = None
    min_tg_tokens_per_s: float | None = None
    max_ttft_s: float | None = None
    leave_free_bytes: int | None = None
    licenses: tuple[str, ...] = ()
    offline: bool = False


def workload_of(need: Need) -> Workload:
    """The need with what it leaves open filled in. Raises InvalidInputError for a value that is not allowed."""
    return make_workload(
        task=need.task,
        languages=need.languages,
        context_length=need.context_length,
        min_tg_tokens_per_s=need.min_tg_tokens_per_s,
        max_ttft_s=need.max_ttft_s,
        leave_free=str(need.leave_free_bytes) if need.leave_free_bytes else None,
        licenses=need.licenses,
    )


def command_of(need: Need, device: str | None) -> str:
    """The command line that gives the same list; `device` is what `--device` would be given."""
    words = ["slm-advisor", "recommend"]
    words += ["--device", device] if device is not None else []
    words += ["--task", need.task] if need.task != "general" else []
    for language in need.languages:
        words += ["--language", language]
    words += ["--context", str(need.context_length)] if need.context_length is not None else []
    words += ["--min-tg", f"{need.min_tg_tokens_per_s:g}"] if need.min_tg_tokens_per_s is not None else []
    words += ["--max-ttft", f"{need.max_ttft_s:g}"] if need.max_ttft_s is not None else []
    words += ["--leave-free", str(need.leave_free_bytes)] if need.leave_free_bytes else []
    for licence in need.licenses:
        words += ["--license", licence]
    return shlex.join(words)
