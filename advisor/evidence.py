"""A number that says how it was obtained: value, 80% interval and grade."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Evidence = Literal["spec", "calibrated", "probed", "measured"]
"""How a number was obtained, worst first: data sheets, micro-benchmark, synthetic run, the real file."""

GRADES: tuple[Evidence, ...] = get_args(Evidence)


class Value(msgspec.Struct, frozen=True):
    """An estimate with its 80% interval; `low <= value <= high`, all in the unit the field's name gives."""

    value: float
    low: float
    high: float
    evidence: Evidence = "spec"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement that a speed rests on: which test, what it gave, when, and of which file."""

    speed: Literal["pp", "tg"]
    test: str  # as llama-bench writes it: "tg128 @ d512"
    tokens_per_s: float
    evidence: Evidence
    at: str  # ISO 8601, UTC
    file: str | None  # None for a synthetic model
    exact: bool  # measured at the very point that was asked for; otherwise by ratio from there


def worse(*grades: Evidence) -> Evidence:
    """The worst of some grades."""
    return min(grades, key=GRADES.index)
