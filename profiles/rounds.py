"""Rounds of repetitions, and what they are worth: a rate with its interval, or a refusal.

A round that was quiet speaks for itself. Where none was, all of them speak together, with an interval that covers
what others took; where that would be too wide to be of use, nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from profiles.errors import NoisyError
from profiles.noise import HEAVY, SLIGHT, Taken, busiest
from profiles.spread import LEAST, Spread, spread

TIGHT = 0.05  # half an interval as a share of the value: nothing to gain from another round
LOOSE = 0.30  # and too wide to mean anything


class Round(msgspec.Struct, frozen=True):
    """The tokens/s of repetitions without a pause, and what others took meanwhile (None: not known)."""

    rates: tuple[float, ...]
    taken: Taken | None = None
    joules_per_token: float | None = None

    def shortage(self, threads: int) -> float:
        """The share of the threads' time that others took."""
        return 0.0 if self.taken is None else self.taken.shortage(threads)

    def quiet(self, threads: int) -> bool:
        """Whether there is nothing to gain from another round."""
        found = spread(self.rates)
        return self.shortage(threads) <= SLIGHT and found.width <= TIGHT and not found.drift


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens/s with the 80% interval, the repetitions it rests on and why it is wider than it need be."""

    value: float
    low: float
    high: float
    samples: tuple[float, ...]
    reasons: tuple[str, ...]
    joules_per_token: float | None


def judge(
    name: str,
    rounds: Sequence[Round],
    threads: int,
    *,
    strict: bool = True,
    least: float = LEAST,
    pids: Sequence[int] = (),
) -> Verdict:
    """The rate of the test `name`: of its last round if that was quiet, else of all of them together.

    threads: how many CPUs the test keeps busy. least: no side of the interval is narrower than this share. pids: our
    own processes, not to be named as culprits. Raises NoisyError where, with `strict`, others took so much, or the
    repetitions differ so much, that no interval would be of use.
    """
    kept = rounds[-1:] if rounds[-1].quiet(threads) else rounds
    samples = tuple(rate for one in kept for rate in one.rates)
    found = spread(samples, least)
    reasons = _reasons(kept, found, threads, least)
    if strict and (min(one.shortage(threads) for one in kept) > HEAVY or found.width > LOOSE):
        top = busiest(but=pids)
        who = f": {', '.join(top)}" if top else ""
        raise NoisyError(
            f"{name} cannot be measured now: {'; '.join(reasons)}{who}. Wait for it or close it, then try again"
        )
    shortage = max(one.shortage(threads) for one in kept)
    energy = [one.joules_per_token for one in kept if one.joules_per_token is not None]
    return Verdict(
        value=found.value,
        low=found.low,
        # Left alone, the machine may be faster by what others took.
        high=found.high / max(1 - shortage, 0.1) if shortage > SLIGHT else found.high,
        samples=samples,
        reasons=reasons,
        joules_per_token=sum(energy) / len(energy) if energy else None,
    )


def _reasons(rounds: Sequence[Round], found: Spread, threads: int, least: float) -> tuple[str, ...]:
    """Why the interval is as wide as it is; empty for a quiet round."""
    worst = max(
        (one.taken for one in rounds if one.taken is not None),
        key=lambda taken: taken.shortage(threads),
        default=None,
    )
    reasons = [] if worst is None else list(worst.reasons(threads))
    if found.drift:
        reasons.append(
            f"the rate changed by {found.drift:+.0%} from the first half of the repetitions to the second"
        )
    elif found.width > max(TIGHT, 1.1 * least):
        n = sum(len(one.rates) for one in rounds)
        reasons.append(f"{n} repetitions differ: the interval is {found.width:.0%} wide to each side")
    return tuple(reasons)
