"""A number that says how it was obtained: value, 80% interval and grade."""

from __future__ import annotations

from typing import Literal

import msgspec

Evidence = Literal["spec", "calibrated", "probed", "measured"]
"""How a number was obtained, worst first: data sheets, micro-benchmark, synthetic run, the real file."""


class Value(msgspec.Struct, frozen=True):
    """An estimate with its 80% interval; `low <= value <= high`, all in the unit the field's name gives."""

    value: float
    low: float
    high: float
    evidence: Evidence = "spec"
