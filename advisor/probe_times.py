"""What the timed parts of a model say of the whole: rates at the positions that were asked for, pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import msgspec

from advisor.extrapolation import attention_of, cache_at, fit_line, line_error
from advisor.load import CacheRead
from advisor.probe_plan import Plan

POSITION_ERROR = 0.2  # half of the 80% interval of what is extrapolated over positions, as a share of it

Seconds = Mapping[str, Sequence[Sequence[float]]]
"""What was timed ("start token", "near prompt" …) -> round -> a time for each part of the plan."""


class Timed(msgspec.Struct, frozen=True):
    """What a round runs: `n_gen` tokens at the start, `n_gen` after `n_prompt` tokens, and both behind `depth`.

    Without a depth the prompt is the one that was asked for.
    """

    n_prompt: int
    n_gen: int
    depth: int = 0


class Terms(msgspec.Struct, frozen=True):
    """Seconds of a prompt or of one generated token. What was not told apart is None, and in `blocks_s`."""

    outside_s: float | None  # embedding, head and the engine's own work
    blocks_s: float
    attention_s: float | None  # what grows with the position
    total_s: float


class Outcome(msgspec.Struct, frozen=True):
    """Tokens/s of the whole model in each round, the terms, and half of the 80% interval of the extrapolation."""

    rates: tuple[float, ...]
    terms: Terms
    error: float


class _Phase(msgspec.Struct, frozen=True):
    rounds: tuple[float, ...]  # seconds of the whole model
    outside_s: float | None
    error: float


def generation(
    plan: Plan, cache: Sequence[CacheRead], timed: Timed, seconds: Seconds, n_prompt: int, n_gen: int
) -> Outcome:
    """Generating in the middle of `n_gen` tokens that follow a prompt of `n_prompt`."""
    start = _phase(plan, seconds["start token"])
    end = _phase(plan, seconds["far token" if timed.depth else "near token"])
    first, last = timed.n_gen / 2, timed.depth + timed.n_prompt + timed.n_gen / 2
    per_byte = _slope(start.rounds, end.rounds, cache_at(cache, last) - cache_at(cache, first))
    wanted = cache_at(cache, n_prompt + n_gen / 2)
    beyond = per_byte * (wanted - cache_at(cache, last))
    times = tuple(t + beyond for t in end.rounds)
    total = statistics.median(times)
    return Outcome(
        tuple(1 / t for t in times),
        _terms(total, end.outside_s, per_byte * wanted),
        math.hypot(end.error, POSITION_ERROR * beyond / total),
    )


def prompt_processing(
    plan: Plan, cache: Sequence[CacheRead], timed: Timed, seconds: Seconds, n_prompt: int
) -> Outcome:
    """Processing a prompt of `n_prompt` tokens: as timed, or from two stretches of it."""
    near = _phase(plan, seconds["near prompt"])
    if not timed.depth:
        rates = tuple(n_prompt / t for t in near.rounds)
        return Outcome(rates, _terms(statistics.median(near.rounds), near.outside_s, None), near.error)
    far = _phase(plan, seconds["far prompt"])
    own = attention_of(cache, 0, timed.n_prompt)
    per_flop = _slope(near.rounds, far.rounds, attention_of(cache, timed.depth, timed.n_prompt) - own)
    attention = per_flop * attention_of(cache, 0, n_prompt)
    share = n_prompt / timed.n_prompt
    times = tuple((t - per_flop * own) * share + attention for t in near.rounds)
    total = statistics.median(times)
    return Outcome(
        tuple(n_prompt / t for t in times),
        _terms(total, None if near.outside_s is None else near.outside_s * share, attention),
        math.hypot(near.error, POSITION_ERROR * attention / total),
    )


def _phase(plan: Plan, rounds: Sequence[Sequence[float]]) -> _Phase:
    """The whole model's time in each round: the only part's, or extrapolated from all parts."""
    if plan.whole:
        return _Phase(tuple(times[0] for times in rounds), None, 0.0)
    sizes = [part.blocks_bytes for part in plan.parts]
    middle = [statistics.median(times) for times in zip(*rounds, strict=True)]
    line = fit_line(sizes, middle)
    return _Phase(
        tuple(fit_line(sizes, times).at(plan.blocks_bytes) for times in rounds),
        line.outside_s if line.outside_s >= 0 else None,  # what the last block leaves out hides it
        line_error(line, sizes, middle, plan.blocks_bytes),
    )


def _slope(first: Sequence[float], second: Sequence[float], distance: float) -> float:
    """Seconds for each unit of `distance`; more work never takes less time, whatever the noise says."""
    if distance <= 0:
        return 0.0
    return max(0.0, statistics.median(b - a for a, b in zip(first, second, strict=True)) / distance)


def _terms(total: float, outside: float | None, attention: float | None) -> Terms:
    return Terms(outside, max(0.0, total - (outside or 0.0) - (attention or 0.0)), attention, total)
