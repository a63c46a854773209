"""From a few repetitions to a rate with its 80% interval.

Four times of five a further repetition under the same conditions falls into the interval: it is the prediction
interval of the logarithms, by Student's t, around the median. With two repetitions it is as wide as so little
knowledge deserves.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

# Quantiles 0.9 of Student's t for 1, 2, 3 … degrees of freedom; the last serves for all that follow.
T90 = (
    3.078,
    1.886,
    1.638,
    1.533,
    1.476,
    1.440,
    1.415,
    1.397,
    1.383,
    1.372,
    1.363,
    1.356,
    1.350,
    1.345,
    1.341,
)
LEAST = 0.01  # no interval is narrower on either side: the next start of the program differs by about that
DRIFT = 0.03  # a change between the halves worth a word, where the scatter does not explain it


class Spread(msgspec.Struct, frozen=True):
    """Median and 80% interval of repetitions, and the change from their first half to their second as a share."""

    value: float
    low: float
    high: float
    drift: float = 0.0

    @property
    def width(self) -> float:
        """Half of the interval as a share of the value."""
        return (self.high - self.low) / 2 / self.value


def spread(samples: Sequence[float], least: float = LEAST) -> Spread:
    """The spread of at least two positive numbers; no side of the interval is narrower than the share `least`.

    A drift that the scatter does not explain widens the interval to its side: it may go on for as long again.
    """
    logs = [math.log(sample) for sample in samples]
    value = statistics.median(samples)
    low = high = max(least, half_width(logs))
    drift = _drift(logs)
    if drift < 0:
        low = max(low, -1.5 * drift)
    elif drift > 0:
        high = max(high, 1.5 * drift)
    return Spread(value, value * math.exp(-low), value * math.exp(high), math.expm1(drift))


def half_width(logs: Sequence[float]) -> float:
    """Half of the 80% prediction interval of numbers on their own scale."""
    n = len(logs)
    return T90[min(n - 1, len(T90)) - 1] * statistics.stdev(logs) * math.sqrt(1 + 1 / n)


def _drift(logs: Sequence[float]) -> float:
    """The change between the medians of the halves, or 0 where it is small or within the scatter of the halves."""
    n = len(logs) // 2
    if n < 2:
        return 0.0
    first, second = logs[:n], logs[-n:]
    change = statistics.median(second) - statistics.median(first)
    scatter = math.hypot(statistics.stdev(first), statistics.stdev(second))
    return change if abs(change) > max(DRIFT, 2 * scatter) else 0.0
