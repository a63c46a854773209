"""How deployments are put in order: quality first, then speed beyond the floor, then memory, in points of quality.

    score = quality - caution x standard_error(quality) + speed_points + memory_points
    speed_points = SPEED_POINTS_PER_DOUBLING x log2(clamp(tg / floor, 1, 4))
    memory_points = -MEMORY_POINTS_PER_DOUBLING x log2(memory / 1 GB)

Quality is in points of the general score (0-100). A model whose quality nobody measured has no score and stands
below every model that has one. The constants are choices, not measurements: half a standard error of caution; one
and a half points for each doubling of the decode speed up to four times the floor, past which nobody reads faster;
and a quarter of a point for each halving of the memory, so that a file twice as big has to be better by something.
"""

from __future__ import annotations

import math

import msgspec

CAUTION = 0.5
SPEED_POINTS_PER_DOUBLING = 1.5
SPEED_CAP = 4.0
MEMORY_POINTS_PER_DOUBLING = 0.25
# Half the width of an 80% interval of a normal distribution, in standard deviations.
Z80 = 1.2816


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of a score, in points; `total` is None when the quality is unknown."""

    quality: float | None
    caution: float | None
    speed: float
    memory: float

    @property
    def total(self) -> float | None:
        if self.quality is None or self.caution is None:
            return None
        return self.quality - self.caution + self.speed + self.memory


def speed_points(tg_tokens_per_s: float, floor: float) -> float:
    """Points for decoding faster than the floor (tokens per second); 0 at or below it."""
    ratio = tg_tokens_per_s / max(floor, 1.0)
    return SPEED_POINTS_PER_DOUBLING * math.log2(min(max(ratio, 1.0), SPEED_CAP))


def memory_points(memory_bytes: float) -> float:
    """Points for taking little memory (bytes); 0 at 1 GB."""
    return -MEMORY_POINTS_PER_DOUBLING * math.log2(max(memory_bytes, 1.0) / 1e9)


MAX_SPEED_POINTS = SPEED_POINTS_PER_DOUBLING * math.log2(SPEED_CAP)


def quality_points(value: float, low: float, high: float) -> tuple[float, float]:
    """Quality and the caution subtracted from it, from an 80% interval."""
    return value, CAUTION * (high - low) / (2 * Z80)


def sort_key(total: float | None, tg_tokens_per_s: float) -> tuple[int, float]:
    """Sorts best first: known quality before unknown, then by score, unknown ones by speed."""
    return (0, -total) if total is not None else (1, -tg_tokens_per_s)
