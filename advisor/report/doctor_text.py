"""A diagnosis and a build plan as text for people: 80 columns, readable without colour."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter

from advisor.doctor import Diagnosis, State
from profiles.engine.build import BuildPlan
from profiles.text import amount

WIDTH = 80
_INDENT = 26  # of what stands beside state and name
_WORDS: dict[State, str] = {
    "ok": "ok",
    "improve": "better",
    "missing": "MISSING",
    "failed": "FAILED",
    "unknown": "unknown",
}
_COUNTED: dict[State, str] = {
    "ok": "fine",
    "improve": "could be better",
    "missing": "missing",
    "failed": "failed",
    "unknown": "not known",
}


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """One line a check, what to do below it, and the build that would help, if any."""
    lines = []
    for check in diagnosis.checks:
        head = f"{_WORDS[check.state]:<9}{check.name:<17}"
        lines += textwrap.wrap(
            check.detail, WIDTH, initial_indent=head, subsequent_indent=" " * _INDENT, break_on_hyphens=False
        )
        if check.advice:
            lines += textwrap.wrap(
                check.advice,
                WIDTH,
                initial_indent=" " * _INDENT + "-> ",
                subsequent_indent=" " * (_INDENT + 3),
                break_on_hyphens=False,
                break_long_words=False,
            )
    counts = Counter(check.state for check in diagnosis.checks)
    lines += [
        "",
        ", ".join(f"{counts[state]} {word}" for state, word in _COUNTED.items() if counts[state]) + ".",
    ]
    text = "\n".join(lines) + "\n"
    return text if diagnosis.fits else text + "\n" + plan_text(diagnosis.plan)


def plan_text(plan: BuildPlan) -> str:
    """The command, why it is this one, what it takes, and what must be there first."""
    lines = [f"The build for this device ({plan.backend}):", *_command(plan), ""]
    for reason in plan.reasons:
        lines += _item(reason)
    low, high = (max(1, round(minutes)) for minutes in plan.minutes)
    minutes = f"{low} minutes" if low == high else f"{low} to {high} minutes"
    lines += _item(f"takes about {minutes}, and {amount(plan.disk_bytes)} of disk while it runs")
    lines += _missing(plan, "needs first")
    if plan.better is not None:
        lines += ["", f"Better would be {plan.better.backend}:"]
        lines += _item("; ".join(plan.better.reasons))
        lines += _missing(plan.better, "needs first")
    return "\n".join(lines) + "\n"


def _command(plan: BuildPlan) -> list[str]:
    """The shell command on lines that end in a backslash, to be copied as a whole."""
    settings: list[str] = []
    words: list[str] = []
    for word in shlex.split(plan.command):
        name, equals, _ = word.partition("=")
        (settings if equals and name in plan.environment and not words else words).append(word)
    parts = [f"{name}={shlex.quote(value)}" for name, _, value in (s.partition("=") for s in settings)]
    parts += [shlex.quote(word) for word in words]
    lines, line = [], " "
    for part in parts:
        if len(line) + len(part) + 3 > WIDTH and line.strip():
            lines.append(f"{line} \\")
            line = "   "
        line += f" {part}"
    return [*lines, line]


def _missing(plan: BuildPlan, words: str) -> list[str]:
    lines = []
    for missing in plan.missing:
        lines += _item(f"{words} {missing.what}")
        lines += textwrap.wrap(
            missing.install,
            WIDTH,
            initial_indent="    -> ",
            subsequent_indent="       ",
            break_on_hyphens=False,
            break_long_words=False,
        )
    return lines


def _item(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="  - ",
        subsequent_indent="    ",
        break_on_hyphens=False,
        break_long_words=False,
    )
