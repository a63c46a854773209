"""Measurements in place of estimates: what was run on this device answers, and shapes what was not run.

A measurement counts for a model of the same load (`advisor.load.load_digest`) on the same backend, with the same
KV cache types, layers on the accelerator, flash attention and threads, and for a prompt the same micro-batch.
Device and engine were compared when the measurements were read. pp and tg are judged apart; of each, only the best
grade there is counts, and of equal tests the newest.

At the point that was measured the estimate is the measured value. Elsewhere the estimate gives the shape and the
measurements the height: with the estimated seconds t of each measured point and its measured seconds T, the answer at
estimated seconds t' is T x t'/t beside one point or beyond the outermost, and lies on the straight line between
(t, T) of its neighbours otherwise. A shape that only grows stays one that only grows, so that more context is never
faster. For tg, t is the time of one token, for pp the time of the whole prompt.

The interval is the measurement's, wider by a factor e^w on both sides with

    w = 0.12 x sqrt(doublings)

from the nearest measured point, but never wider than the estimate's own. For pp these are doublings of the prompt's
length and of the depth + 256, for tg of the position in the cache + 256: tens of tokens in an empty cache change
nothing that could be measured. 0.12 covers 80% of |ln(measured ratio / estimated ratio)| over the 204 pairs of
prompt lengths of one model on one chip in the published measurements that speed.json was fitted on (0.13, 0.16,
0.20, 0.22 at 1, 2, 3, 4 doublings of 512 to 8192). For tg it is more than those pairs need (at most 0.10) and what
the smallest models do on a CPU, whose time is mostly cache and overhead: SmolLM2-135M on two cores of an EPYC was off
by 0.12, 0.17 and 0.18 at 1, 1.5 and 4 doublings from an empty cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from advisor.evidence import GRADES, Evidence, Origin, Value, worse
from advisor.load import load_digest
from advisor.measurements import FlashChoice, Measurement, measurements
from advisor.memory import Settings
from advisor.speed import TYPICAL_PROMPT, DecodeTerms, PromptTerms, SpeedEstimate
from profiles.device import Backend, Device
from quantize.architecture import Architecture

WIDENING = 0.12
_SHALLOW = 256  # tokens of depth that change nothing
_SAME = 1e-9  # relative difference of times that counts as none

Test = Literal["pp", "tg"]
SpeedAt = Callable[[int, int, int], SpeedEstimate | None]
"""The estimate without measurements, for (n_prompt, n_gen, depth)."""


class KnownSpeeds(msgspec.Struct, frozen=True):
    """The measurements of one device by one engine, by load; empty for a device nobody measured."""

    by_load: dict[str, tuple[Measurement, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self.by_load)

    def of(self, arch: Architecture, bytes_by_type: Mapping[str, int]) -> tuple[Measurement, ...]:
        """Those of models with these shapes and types, oldest first."""
        return self.by_load.get(load_digest(arch, bytes_by_type), ()) if self.by_load else ()

    def worse_than(self, grade: Evidence) -> KnownSpeeds:
        """Without the measurements of this grade and better: what a prediction of it may use."""
        limit = GRADES.index(grade)
        return known_speeds(
            found for all_ in self.by_load.values() for found in all_ if GRADES.index(found.evidence) < limit
        )


def known_speeds(found: Iterable[Measurement]) -> KnownSpeeds:
    """Measurements of one device and engine, in the order they were made, sorted by load."""
    by_load: dict[str, list[Measurement]] = {}
    for each in found:
        by_load.setdefault(each.load_digest, []).append(each)
    return KnownSpeeds({digest: tuple(some) for digest, some in by_load.items()})


def known_speeds_of(device: Device) -> KnownSpeeds:
    """What was measured on this device by the engine that is installed; reads one small file.

    Only for the machine the program runs on: another of the same make may be cooled better.
    """
    from profiles.engine.installed import installed_engine
    from profiles.fingerprint import fingerprint

    engine = installed_engine()
    return (
        KnownSpeeds() if engine is None else known_speeds(measurements(fingerprint(device), engine.identity))
    )


def with_measurements(
    estimate: SpeedEstimate,
    found: Sequence[Measurement],
    speed_at: SpeedAt,
    settings: Settings,
    *,
    backend: Backend,
    n_layer: int,
    n_prompt: int,
    n_gen: int,
    depth: int = 0,
    flash_attention: FlashChoice = "auto",
) -> SpeedEstimate:
    """`estimate` with what `found` says of it; the same where none of it was run like this. Pure.

    `found` are measurements of this load, oldest first; `speed_at` is the estimate at other points.
    """

    def answering(test: Test) -> list[Measurement]:
        return [each for each in found if _answers(test, each, settings, backend, n_layer, flash_attention)]

    pp, pp_origin = _applied(
        "pp", estimate, (n_prompt or TYPICAL_PROMPT, 0, depth), answering("pp"), speed_at
    )
    tg, tg_origin = _applied("tg", estimate, (n_prompt, n_gen, depth), answering("tg"), speed_at)
    origins = tuple(origin for origin in (pp_origin, tg_origin) if origin is not None)
    if not origins:
        return estimate
    return msgspec.structs.replace(
        estimate,
        pp=pp,
        tg=tg,
        ttft_s=_first_token(pp, tg, n_prompt),
        prompt=_scaled_prompt(estimate.prompt, estimate.pp.value / pp.value),
        decode=_scaled_decode(estimate.decode, estimate.tg.value / tg.value),
        origins=origins,
    )


class _Point(msgspec.Struct, frozen=True):
    """A measured point: seconds by the estimate and as measured, its rate and where it came from."""

    estimated_s: float
    measured_s: float
    rate: Value
    doublings: float
    origin: Measurement


def _answers(
    test: Test,
    each: Measurement,
    settings: Settings,
    backend: Backend,
    n_layer: int,
    flash_attention: FlashChoice,
) -> bool:
    """Whether a measurement is of this test and was run with these settings."""
    whole = settings.offload_layers > n_layer
    return (
        getattr(each, test) is not None
        and each.backend == backend
        and each.type_k == settings.type_k
        and each.type_v == settings.type_v
        and each.flash_attention == flash_attention
        and min(each.offload_layers, n_layer + 1) == min(settings.offload_layers, n_layer + 1)
        # Threads of a processor that has nothing to compute do not matter.
        and (whole or _threads(test, each) == _threads(test, settings))
        and (test == "tg" or each.micro_batch == settings.micro_batch)
    )


def _threads(test: Test, run: Measurement | Settings) -> int | None:
    """Those that do the work of a test."""
    return (run.threads_batch if test == "pp" else None) or run.threads


def _applied(
    test: Test,
    estimate: SpeedEstimate,
    asked: tuple[int, int, int],
    found: Sequence[Measurement],
    speed_at: SpeedAt,
) -> tuple[Value, Origin | None]:
    """A rate with the measurements of it, and the nearest of them."""
    own: Value = getattr(estimate, test)
    points = _points(test, asked, found, speed_at)
    if not points:
        return own, None
    # Rates by the estimate are for `asked` already, flash attention and all.
    target_s = (asked[0] if test == "pp" else 1) / own.value
    nearest = min(points, key=lambda point: point.doublings)
    exact = nearest.doublings == 0
    rate = nearest.rate if exact else _between(points, target_s, asked[0] if test == "pp" else 1)
    if not exact:
        widening = math.exp(WIDENING * math.sqrt(nearest.doublings))
        low = max(rate.low / widening, rate.value * own.low / own.value)
        high = min(rate.high * widening, rate.value * own.high / own.value)
        rate = Value(rate.value, min(low, rate.low), max(high, rate.high), nearest.rate.evidence)
    source = nearest.origin
    origin = Origin(
        speed=test,
        test=source.test,
        tokens_per_s=nearest.rate.value,
        evidence=source.evidence,
        at=source.at,
        file=source.file,
        exact=exact,
    )
    return rate, origin


def _points(
    test: Test,
    asked: tuple[int, int, int],
    found: Sequence[Measurement],
    speed_at: SpeedAt,
) -> list[_Point]:
    """The measured points of the best grade, by estimated time; of one point the newest."""
    best = max((GRADES.index(each.evidence) for each in found), default=0)
    points: dict[tuple[float, ...], _Point] = {}
    for each in found:
        if GRADES.index(each.evidence) != best:
            continue
        at = (each.n_prompt, each.n_gen, each.depth)
        there = speed_at(*at)
        if there is None:
            continue
        measured: Value = getattr(each, test)
        estimated: Value = getattr(there, test)
        work = each.n_prompt if test == "pp" else 1
        rate = msgspec.structs.replace(measured, evidence=each.evidence)
        key = (at[0], at[2]) if test == "pp" else (_position(at),)
        points[key] = _Point(
            work / estimated.value, work / measured.value, rate, _doublings(test, at, asked), each
        )
    return sorted(points.values(), key=lambda point: point.estimated_s)


def _between(points: Sequence[_Point], target_s: float, work: int) -> Value:
    """The rate where the estimate says `target_s`; its interval as wide as its neighbours'."""
    below = [point for point in points if point.estimated_s <= target_s * (1 + _SAME)][-1:]
    above = [point for point in points if point.estimated_s > target_s * (1 + _SAME)][:1]
    left, right = (below or above)[0], (above or below)[0]
    if left is right:
        seconds = left.measured_s * target_s / left.estimated_s
    else:
        share = (target_s - left.estimated_s) / (right.estimated_s - left.estimated_s)
        seconds = left.measured_s + share * (right.measured_s - left.measured_s)
    rate = work / seconds
    low = min(point.rate.low / point.rate.value for point in (left, right))
    high = max(point.rate.high / point.rate.value for point in (left, right))
    return Value(rate, rate * low, rate * high, left.rate.evidence)


def _position(at: tuple[int, int, int]) -> float:
    """Where in the cache token generation is judged: in the middle of the answer."""
    n_prompt, n_gen, depth = at
    return depth + n_prompt + n_gen / 2


def _doublings(test: Test, one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """How far apart two points are; 0 only for the same."""
    if test == "tg":
        return abs(math.log2((_position(one) + _SHALLOW) / (_position(other) + _SHALLOW)))
    lengths = abs(math.log2(one[0] / other[0]))
    return lengths + abs(math.log2((one[2] + _SHALLOW) / (other[2] + _SHALLOW)))


def _first_token(pp: Value, tg: Value, n_prompt: int) -> Value:
    """Seconds to the first token: the prompt and one step, each at its own end of the interval."""
    if not n_prompt:
        return Value(1 / tg.value, 1 / tg.high, 1 / tg.low, tg.evidence)
    return Value(
        n_prompt / pp.value + 1 / tg.value,
        n_prompt / pp.high + 1 / tg.high,
        n_prompt / pp.low + 1 / tg.low,
        worse(pp.evidence, tg.evidence),
    )


def _scaled_decode(terms: DecodeTerms, factor: float) -> DecodeTerms:
    """The estimate's shares of the measured time."""
    return DecodeTerms(
        overhead_s=terms.overhead_s * factor,
        weights_s={kind: spent * factor for kind, spent in terms.weights_s.items()},
        state_s=terms.state_s * factor,
        kv_cache_s=terms.kv_cache_s * factor,
        transfer_s=terms.transfer_s * factor,
        total_s=terms.total_s * factor,
    )


def _scaled_prompt(terms: PromptTerms, factor: float) -> PromptTerms:
    return PromptTerms(*(getattr(terms, name) * factor for name in PromptTerms.__struct_fields__))
