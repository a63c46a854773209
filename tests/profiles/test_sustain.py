"""The first and the last minute of a long run: throttling is told from steady work and from noise."""

from __future__ import annotations

import random

import pytest

from profiles.sensors import Reading
from profiles.sustain import Moment, compare
from profiles.throughput import ThroughputTest

TG = ThroughputTest(0, 128)


def run_of(minutes: int, share_left: float, scatter: float = 0.01, heat: bool = True) -> list[Moment]:
    """A repetition every two seconds, at full speed for two minutes and `share_left` of it from then on."""
    draw = random.Random(1)
    moments = []
    for second in range(2, minutes * 60 + 1, 2):
        share = 1.0 if second <= 120 else share_left
        reading = Reading(temperature_c=60 + 40 * (1 - share), clock_hz=4e9 * share) if heat else Reading()
        moments.append(
            Moment(at_s=second, rate=50 * share * draw.lognormvariate(0, scatter), reading=reading)
        )
    return moments


def test_a_device_that_keeps_its_speed_is_steady() -> None:
    """The ratio's interval lies above 95%."""
    found = compare(TG, run_of(10, 1.0))
    assert found.verdict == "steady"
    assert found.ratio == pytest.approx(1, abs=0.02)
    assert "no throttling" in found.words


def test_a_device_that_throttles_is_told_with_clock_and_temperature() -> None:
    """The last minute is slower than the first, and the sensors say why."""
    found = compare(TG, run_of(10, 0.7))
    assert found.verdict == "throttled"
    assert found.ratio == pytest.approx(0.7, abs=0.02)
    assert found.ratio_low < 0.7 < found.ratio_high
    assert "from 4.00 to 2.80 GHz" in found.words
    assert "72 °C" in found.words


def test_without_sensors_the_speeds_alone_decide() -> None:
    """Unknown temperatures stay unknown."""
    found = compare(TG, run_of(10, 0.7, heat=False))
    assert found.verdict == "throttled"
    assert found.last.temperature_c is None
    assert "no sensor" in found.words


def test_a_small_change_under_large_scatter_is_not_called_throttling() -> None:
    """Two repetitions a minute that differ by a third say nothing about 6%."""
    moments = run_of(3, 0.94, scatter=0.3)[::15]
    assert compare(TG, moments).verdict == "unclear"


def test_a_slow_end_beside_other_programs_is_not_called_throttling() -> None:
    """The words name what else ran."""
    found = compare(TG, run_of(10, 0.7), disturbed="other programs took 1.0 of 2 CPUs")
    assert found.verdict == "unclear"
    assert "other programs" in found.words


def test_a_run_shorter_than_three_minutes_compares_its_thirds() -> None:
    """The first and the last minute must not be the same."""
    found = compare(TG, run_of(1, 1.0))
    assert found.window_s == pytest.approx(20)
