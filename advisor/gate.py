"""Is a built file close enough to its source? Limits on its fidelity, and a verdict on each.

A measurement is an estimate, so a verdict has three values. A limit is kept or broken only if the measured value
stays on its side of the limit by more than its margin of error; else it is too close to call, and more text would
settle it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from profiles.spread import T90
from quantize.fidelity import Fidelity, Measure

Outcome = Literal["passed", "failed", "too close to call"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is demanded; None demands nothing."""

    max_kld: float | None = None  # mean KL divergence, nats a token
    max_ppl_increase: float | None = None  # share: 0.02 is 2%
    min_same_top: float | None = None  # share


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One limit held against what was measured."""

    limit: Literal["max_kld", "max_ppl_increase", "min_same_top"]
    bound: float
    measured: float
    margin: float  # of error: nine times of ten the true value is not further off to the side of the limit
    outcome: Outcome


def judge(fidelity: Fidelity, limits: Limits) -> tuple[Verdict, ...]:
    """A verdict for each limit that is set."""
    checks: tuple[
        tuple[Literal["max_kld", "max_ppl_increase", "min_same_top"], float | None, Measure], ...
    ] = (
        ("max_kld", limits.max_kld, fidelity.kl_divergence),
        ("max_ppl_increase", limits.max_ppl_increase, fidelity.perplexity_increase),
        ("min_same_top", limits.min_same_top, fidelity.same_top),
    )
    # With few chunks their scatter is itself hardly known: Student's t takes that into account.
    t = T90[min(fidelity.chunks - 1, len(T90)) - 1]
    verdicts = []
    for name, bound, measure in checks:
        if bound is None:
            continue
        margin = t * measure.standard_error
        slack = measure.value - bound if name == "min_same_top" else bound - measure.value
        verdicts.append(
            Verdict(
                limit=name,
                bound=bound,
                measured=measure.value,
                margin=margin,
                outcome=_outcome(slack, margin),
            )
        )
    return tuple(verdicts)


def gate_exit_code(verdicts: tuple[Verdict, ...]) -> int:
    """0: every limit is kept; 3: one is broken; 4: none is broken, but one is too close to call."""
    outcomes = {verdict.outcome for verdict in verdicts}
    return 3 if "failed" in outcomes else 4 if "too close to call" in outcomes else 0


def _outcome(slack: float, margin: float) -> Outcome:
    if abs(slack) < margin:
        return "too close to call"
    return "passed" if slack >= 0 else "failed"
