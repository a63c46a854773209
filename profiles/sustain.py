"""What is left of the speed after minutes of work: the first and the last minute of a long run.

Phones and thin laptops are fast for a minute. Tests are repeated in turns; the medians of the first and the last
minute, their ratio with its 80% interval, and temperature and clock beside them say whether heat slows the device.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from profiles.energy import EnergyMeter
from profiles.engine.client import Engine
from profiles.machine import Machine
from profiles.noise import SLIGHT, Watch, between_runs
from profiles.sensors import Reading, read_sensors
from profiles.spread import LEAST, T90
from profiles.throughput import RunSettings, ThroughputTest, busy_threads, open_context, seconds_of

WINDOW_S = 60.0
STEADY = 0.95  # a last minute at less than this share of the first is throttling

Verdict = Literal["steady", "throttled", "unclear"]


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One repetition: when it ended (seconds from the start), its tokens/s, and the sensors after it."""

    at_s: float
    rate: float
    reading: Reading = Reading()


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over the first or the last minute."""

    tokens_per_s: float
    temperature_c: float | None
    clock_hz: float | None


class Sustained(msgspec.Struct, frozen=True, kw_only=True):
    """How a test fared over `minutes`; `ratio` is the last minute by the first, with its 80% interval."""

    test: ThroughputTest
    minutes: float
    window_s: float
    first: Minute
    last: Minute
    ratio: float
    ratio_low: float
    ratio_high: float
    verdict: Verdict
    words: str
    repetitions: int
    joules_per_token: float | None = None


Report = Callable[[float, float], None]  # seconds passed, seconds left


def sustain(
    engine: Engine,
    settings: RunSettings,
    tests: Sequence[ThroughputTest],
    minutes: float,
    *,
    meter: EnergyMeter | str = "",
    progress: Report | None = None,
    machine: Machine | None = None,
) -> tuple[Sustained, ...]:
    """Repeat the tests in turns, with the loaded model, for so many minutes. Raises EngineError."""
    machine = machine or Machine()
    gpu = settings.gpu_layers != 0
    # A warm-up adds a token to what the test before it left.
    opened = open_context(engine, settings, max(test.tokens + test.depth for test in tests) + 1)
    watch = Watch(machine, () if engine.pid is None else (engine.pid,))
    moments: list[list[Moment]] = [[] for _ in tests]
    joules: list[list[float]] = [[] for _ in tests]
    started = time.monotonic()
    passed = 0.0
    # Twice at least, so that there is a first and a last one.
    while passed < minutes * 60 or len(moments[-1]) < 2:
        for test, seen, spent in zip(tests, moments, joules, strict=True):
            before = None if isinstance(meter, str) else meter.joules()
            seconds = seconds_of(engine, test, warmup=not seen)
            after = None if isinstance(meter, str) else meter.joules()
            if before is not None and after is not None and seen:
                spent.append((after - before) / test.tokens)
            passed = time.monotonic() - started
            seen.append(
                Moment(at_s=passed, rate=test.tokens / seconds, reading=read_sensors(machine, gpu=gpu))
            )
            if progress is not None:
                progress(passed, max(0.0, minutes * 60 - passed))
    taken = watch.stop()
    threads = busy_threads(settings, max(opened.threads, opened.threads_batch))
    disturbed = taken is not None and taken.shortage(threads) > SLIGHT
    why = "; ".join(taken.reasons(threads)) if taken is not None and disturbed else ""
    if not why and between_runs(machine) > LEAST:
        why = "in a virtual machine the work of others on its host slows it as heat does"
    return tuple(
        compare(test, seen, why, statistics.fmean(spent) if spent else None)
        for test, seen, spent in zip(tests, moments, joules, strict=True)
    )


def compare(
    test: ThroughputTest,
    moments: Sequence[Moment],
    disturbed: str = "",
    joules_per_token: float | None = None,
) -> Sustained:
    """The first and the last minute of a run (a third of it, where that is less). `disturbed`: by what, if at all."""
    end = moments[-1].at_s
    window = min(WINDOW_S, end / 3)
    first = [moment for moment in moments if moment.at_s <= window] or list(moments[:1])
    last = [moment for moment in moments if moment.at_s > end - window] or list(moments[-1:])
    before, after = _minute(first), _minute(last)
    ratio = after.tokens_per_s / before.tokens_per_s
    half = _half_width(first, last)
    low, high = ratio * math.exp(-half), ratio * math.exp(half)
    verdict: Verdict = "steady" if low >= STEADY else "throttled" if high < STEADY else "unclear"
    if disturbed and verdict != "steady":
        verdict = "unclear"
    return Sustained(
        test=test,
        minutes=end / 60,
        window_s=window,
        first=before,
        last=after,
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        verdict=verdict,
        words=_words(verdict, ratio, before, after, disturbed),
        repetitions=len(moments),
        joules_per_token=joules_per_token,
    )


def _minute(moments: Sequence[Moment]) -> Minute:
    def middle(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None

    return Minute(
        tokens_per_s=statistics.median(moment.rate for moment in moments),
        temperature_c=middle([moment.reading.temperature_c for moment in moments]),
        clock_hz=middle([moment.reading.clock_hz for moment in moments]),
    )


def _half_width(first: Sequence[Moment], last: Sequence[Moment]) -> float:
    """Half of the 80% interval of the ratio's logarithm; one repetition knows nothing of its spread: assume 10%."""
    squares, degrees = 0.0, 0
    for part in (first, last):
        logs = [math.log(moment.rate) for moment in part]
        squares += (statistics.variance(logs) if len(logs) > 1 else 0.01) / len(logs)
        degrees += len(logs) - 1
    return T90[min(max(degrees, 1), len(T90)) - 1] * math.sqrt(squares)


def _words(verdict: Verdict, ratio: float, first: Minute, last: Minute, disturbed: str) -> str:
    if verdict == "steady":
        return f"no throttling: the end is as fast as the beginning ({ratio:.0%})"
    if verdict == "unclear":
        why = disturbed or "the repetitions differ more than that"
        return f"cannot be told: the end runs at {ratio:.0%} of the beginning, but {why}"
    if first.clock_hz is None and first.temperature_c is None:
        return f"most likely throttling: the end runs at {ratio:.0%} of the beginning; no sensor can be read here"
    text = f"throttling: the end runs at {ratio:.0%} of the beginning"
    if first.clock_hz and last.clock_hz and last.clock_hz < first.clock_hz:
        text += f", the clock went from {first.clock_hz / 1e9:.2f} to {last.clock_hz / 1e9:.2f} GHz"
    if last.temperature_c is not None:
        text += f", at {last.temperature_c:.0f} °C"
    return text
