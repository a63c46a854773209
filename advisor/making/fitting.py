"""Robust regression with named, shrunken parameters: what the fits of advisor/speed.json are made with.

Every parameter has a prior mean and a standard deviation and lives on a scale where both make sense (logarithms of
times and efficiencies). What the data cannot tell apart stays at its prior, so a backend with one chip borrows
from the others and a type that nobody measured costs what its kind costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Index = NDArray[np.int64]

NOISE = 0.15  # of a good measurement, in ln(rate); residuals count quadratically below and linearly above


@dataclass
class Parameters:
    """Names in the order of the parameter vector, with prior means and standard deviations."""

    index: dict[str, int] = field(default_factory=dict)
    means: list[float] = field(default_factory=list)
    deviations: list[float] = field(default_factory=list)

    def add(self, name: str, mean: float, deviation: float) -> int:
        """The place of `name`, new or not; a parameter that exists keeps its prior."""
        if name not in self.index:
            self.index[name] = len(self.means)
            self.means.append(mean)
            self.deviations.append(deviation)
        return self.index[name]

    def __len__(self) -> int:
        return len(self.means)


def fit(
    parameters: Parameters,
    log_time: Callable[[Vector], Vector],
    measured: Vector,
    weights: Vector,
    start: Vector | None = None,
    steps: int = 30,
) -> Vector:
    """The parameters that minimise pseudo-Huber residuals of `log_time` against `measured`, plus the prior.

    Gauss-Newton with reweighting and step halving: the models are nearly linear in logarithms. Parameters that no
    row touches keep their prior mean and cost nothing.
    """
    means, deviations = np.array(parameters.means), np.array(parameters.deviations)
    theta = means.copy() if start is None else start.copy()

    def loss(values: Vector) -> float:
        z = (log_time(values) - measured) / NOISE
        scaled = (values - means) / deviations
        return float((weights * 2 * (np.sqrt(1 + z * z) - 1)).sum() + (scaled * scaled).sum())

    active = _touched(log_time, means, deviations)
    idle = np.setdiff1d(np.arange(len(means)), active)
    theta[idle] = means[idle]  # a warm start must not carry over what the rows left out had taught
    best = loss(theta)
    for _ in range(steps):
        now = log_time(theta)
        jacobian = np.empty((len(now), len(active)))
        for column, place in enumerate(active):
            step = 1e-3 * deviations[place]
            moved = theta.copy()
            moved[place] += step
            jacobian[:, column] = (log_time(moved) - now) / step
        z = (now - measured) / NOISE
        scale = weights / np.sqrt(1 + z * z) / NOISE**2
        precision = 1 / deviations[active] ** 2
        gradient = jacobian.T @ (scale * (now - measured)) + precision * (theta - means)[active]
        curvature = (jacobian.T * scale) @ jacobian + np.diag(precision)
        direction = np.zeros(len(theta))
        direction[active] = -np.linalg.solve(curvature, gradient)
        length = 1.0
        while length > 1e-3 and loss(theta + length * direction) > best:
            length /= 2
        theta = theta + length * direction
        after = loss(theta)
        if best - after < 1e-4 * best:
            break
        best = after
    return theta


def _touched(log_time: Callable[[Vector], Vector], means: Vector, deviations: Vector) -> Index:
    base = log_time(means)
    touched = []
    for place in range(len(means)):
        moved = means.copy()
        moved[place] += deviations[place]
        if np.abs(log_time(moved) - base).max() > 1e-9:
            touched.append(place)
    return np.array(touched)
