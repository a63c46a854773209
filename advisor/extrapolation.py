"""From the times of a few slices of a model to the time of the whole, and from some positions to others.

A slice takes t = outside + b x bytes of its blocks: what runs once (embedding, head, the engine's own work) and
what runs for every block. Outside can be negative: in a prompt's last block the engine leaves out the tokens whose
output nobody asks for, which saves most of a block. The line is fitted with weights 1/t², since times scatter in
proportion to themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from advisor.load import CacheRead
from profiles.spread import T90


class Line(msgspec.Struct, frozen=True):
    """t = outside_s + per_byte_s x bytes, and how far the slices lie from it as a share of their times."""

    outside_s: float
    per_byte_s: float
    scatter: float
    n: int

    def at(self, n_bytes: float) -> float:
        """Seconds of a model whose blocks have `n_bytes`."""
        return self.outside_s + self.per_byte_s * n_bytes


def fit_line(sizes: Sequence[float], seconds: Sequence[float]) -> Line:
    """The line through two or more slices of different sizes; more bytes never take less time."""
    weights = [1 / t**2 for t in seconds]
    total = sum(weights)
    x = sum(w * s for w, s in zip(weights, sizes, strict=True)) / total
    y = sum(w * t for w, t in zip(weights, seconds, strict=True)) / total
    sxx = sum(w * (s - x) ** 2 for w, s in zip(weights, sizes, strict=True))
    sxy = sum(w * (s - x) * (t - y) for w, s, t in zip(weights, sizes, seconds, strict=True))
    slope = max(0.0, sxy / sxx)
    outside = y - slope * x
    misses = [(outside + slope * s) / t - 1 for s, t in zip(sizes, seconds, strict=True)]
    free = max(1, len(sizes) - 2)
    return Line(outside, slope, math.sqrt(sum(miss**2 for miss in misses) / free), len(sizes))


def line_error(line: Line, sizes: Sequence[float], seconds: Sequence[float], n_bytes: float) -> float:
    """Half of the 80% interval of `line.at(n_bytes)` as a share of it, from the scatter of three slices or more.

    The standard error of a weighted regression at a point, times Student's t. Two slices say nothing of it: 0.
    """
    if len(sizes) < 3:
        return 0.0
    weights = [1 / t**2 for t in seconds]
    total = sum(weights)
    x = sum(w * s for w, s in zip(weights, sizes, strict=True)) / total
    sxx = sum(w * (s - x) ** 2 for w, s in zip(weights, sizes, strict=True))
    error = line.scatter * math.sqrt(1 / total + (n_bytes - x) ** 2 / sxx)
    return T90[min(len(sizes) - 2, len(T90)) - 1] * error / line.at(n_bytes)


def cache_at(reads: Sequence[CacheRead], position: float) -> float:
    """Bytes of the KV cache that a token at `position` reads; a window bounds what its blocks read."""
    return sum(read.bytes_per_position * _seen(read.window, position) for read in reads)


def attention_of(reads: Sequence[CacheRead], first: int, n_tokens: int) -> float:
    """Operations of attention in `n_tokens` of a prompt that follow `first` others: each sees those before it."""
    work = 0.0
    for read in reads:
        window = math.inf if read.window is None else read.window
        growing = max(0.0, min(first + n_tokens, window) - first)  # tokens before the window is full
        seen = growing * (first + growing / 2)
        if growing < n_tokens:
            seen += (n_tokens - growing) * window
        work += read.flops_per_position * seen
    return work


def _seen(window: int | None, position: float) -> float:
    return position if window is None else min(position, window)
