"""Put scores from many harnesses on one scale: a factor model of benchmark results, fitted by EM.

A score, read above chance and turned into log-odds z, is explained as

    z[model, item] = a[item] + noise[item]
                     + c[item] * (g[model] + sum over the item's axes of d[model, axis] / sqrt(axes)
                                  + h[model, harness])

with g the general ability, d what a model does better or worse on one axis, and h what one harness makes of
one model (its prompt format, thinking switched on or off, a vendor's good day). g, d, h are Gaussian; their
spreads, the items' a and c and their noise are fitted. Items are tied to one another by shared models.
The prior mean of g is a line in what is known of a model without any score: its size and its release date, as
far as given (`Background`); a specialist's d has a prior mean too. Both only fill in where scores are few: a
model with no score gets nothing.

h is why a model with forty scores from one table is not known twenty times better than one with two.

Noise has two parts: one fitted per item, and the sampling error of a score that close to chance or to full
marks, where a point is worth many log-odds. Residuals are weighted as Student's t with five degrees of
freedom, so that one broken run does not move a model.

General form: Rubin & Thayer, "EM algorithms for ML factor analysis", Psychometrika 47 (1982); the t weights
are those of Lange, Little & Taylor, JASA 84 (1989).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from advisor.quality_table import AXES, Axis

Kind = Literal["uniform", "vendor", "base"]
"""Whose run a harness is: one for all models, the maker's own, or one on the model's base version."""
KINDS: tuple[Kind, ...] = ("uniform", "vendor", "base")

Array = npt.NDArray[np.float64]

FREEDOM = 5.0
"""Degrees of freedom of the residuals."""
SLOPE_PRIOR_SD = 0.5
"""How far an item's slope c strays from 1 before the data must insist."""
NOISE_PRIOR = 0.3
"""Item noise, in log-odds, that an item with few models is taken to have."""
NOISE_PRIOR_COUNT = 4.0
"""Worth of that prior in observations."""
VENDOR_NOISE_FLOOR = 0.3
"""Least noise of an item of vendors' own numbers: settings differ from row to row."""
AXIS_PRIOR_SD, AXIS_PRIOR_COUNT = 0.5, 200.0
"""What an axis is taken to differ from g, and that prior's worth in models. Without it the fit puts every
difference between, say, mathematics and the rest down to noise, and g is the mean of what was measured."""
HARNESS_PRIOR_SD, HARNESS_PRIOR_COUNT = 0.4, 50.0
"""The same for harness effects: few models have base and tuned scores, and the fit would call that none."""
GAIN_PRIOR_COUNT = 2.0
"""Pulls the gain of an axis's specialists towards none: there are few of them."""
CLIP = 0.01


class Item(msgspec.Struct, frozen=True):
    """One benchmark of one harness, with what it takes to read its scores."""

    key: str
    harness: str
    axes: tuple[str, ...]
    chance: float = 0.0
    """Share right by guessing, 0 to 1."""
    spread: float = 0.02
    """Standard deviation of one run, as a share."""
    maximum: float | None = 1.0
    """Score of a perfect answer sheet; None for Elo ratings."""
    kind: Kind = "uniform"
    offset: bool = True


class Observation(msgspec.Struct, frozen=True):
    """One published score."""

    model: str
    item: Item
    score: float
    """A share, 0 to 1; an Elo rating where the item has no maximum."""


class Background(msgspec.Struct, frozen=True):
    """What is known of a model besides scores."""

    ln_billions: float | None = None
    year: float | None = None
    """Of its release, with the part of the year gone: 2025.5."""
    specialist: Axis | None = None
    """The axis it is made for, where it is made for one."""


class Ability(msgspec.Struct, frozen=True):
    """What the scores say of one model: latent means and their covariance, in the order of AXES.

    Entry 0 is g; the others are g + d of the axis. `observed` holds the axes with scores of their own.
    """

    mean: Array
    covariance: Array
    observed: frozenset[str]


class Fit(msgspec.Struct, frozen=True):
    """A fitted model: abilities by model, line (a, c, noise) by item key, and the spreads."""

    abilities: dict[str, Ability]
    lines: dict[str, tuple[float, float, float]]
    axis_sd: dict[Axis, float]
    harness_sd: dict[Kind, float]
    general_sd: float
    """Of g about what size and date lead to expect."""
    specialist_gain: dict[Axis, float]
    """Mean d of the specialists of an axis."""

    def predict(self, model: str, item: Item, *, same_harness: bool = False) -> tuple[float, float]:
        """Return mean and standard deviation of the log-odds of a score the fit has not seen."""
        ability = self.abilities[model]
        a, c, noise = self.lines[item.key]
        weights = np.zeros(len(AXES))
        own = [n for n, axis in enumerate(AXES) if n and axis in item.axes]
        weights[own] = 1 / math.sqrt(len(own)) if own else 0.0
        weights[0] = 1 - weights.sum()
        variance = float(weights @ ability.covariance @ weights)
        if item.offset and not same_harness:
            variance += self.harness_sd[item.kind] ** 2
        mean = a + c * float(weights @ ability.mean)
        variance = c * c * variance + noise**2
        return mean, math.sqrt(variance)


def log_odds(item: Item, score: float) -> tuple[float, float]:
    """Return a score's log-odds above chance and the variance that sampling alone gives them."""
    if item.maximum is None:  # an Elo rating is log-odds already, 400 points to a factor of ten
        return (score - 1200.0) * math.log(10) / 400, (item.spread * 100 * math.log(10) / 400) ** 2
    share = (score / item.maximum - item.chance) / (1 - item.chance)
    share = min(max(share, CLIP), 1 - CLIP)
    spread = item.spread / (1 - item.chance)
    return math.log(share / (1 - share)), (spread / (share * (1 - share))) ** 2


def fit(
    observations: Sequence[Observation],
    background: Mapping[str, Background] | None = None,
    iterations: int = 150,
) -> Fit:
    """Fit the factor model to scores; models with no score are not in the result."""
    return _Em(observations, background or {}).run(iterations)


class _Em:
    """The arrays of one fit. Latents of a model: g, one d an axis, one h a harness."""

    def __init__(self, observations: Sequence[Observation], background: Mapping[str, Background]) -> None:
        self.models = sorted({o.model for o in observations})
        self.items = {o.item.key: o.item for o in observations}
        self.keys = sorted(self.items)
        harnesses = sorted({i.harness for i in self.items.values() if i.offset})
        kind_of = {item.harness: item.kind for item in self.items.values()}
        self.kind = np.array([KINDS.index(kind_of[harness]) for harness in harnesses])
        index_of_item = {key: n for n, key in enumerate(self.keys)}
        index_of_model = {model: n for n, model in enumerate(self.models)}
        readings = [log_odds(o.item, o.score) for o in observations]
        self.z = np.array([r[0] for r in readings])
        self.sampling = np.array([r[1] for r in readings])
        self.item = np.array([index_of_item[o.item.key] for o in observations])
        self.model = np.array([index_of_model[o.model] for o in observations])
        self.n_axes, self.n_latent = len(AXES), len(AXES) + len(harnesses)
        self.reads = np.zeros((len(self.keys), self.n_latent))
        for n, key in enumerate(self.keys):
            item = self.items[key]
            own = [n for n, axis in enumerate(AXES) if n and axis in item.axes]
            self.reads[n, 0] = 1.0
            self.reads[n, own] = 1 / math.sqrt(len(own)) if own else 0.0
            if item.offset:
                self.reads[n, self.n_axes + harnesses.index(item.harness)] = 1.0
        self.observed = [
            frozenset(
                axis
                for key in {self.keys[i] for i in self.item[self.model == m]}
                for axis in self.items[key].axes
            )
            for m in range(len(self.models))
        ]
        self.harnesses_of = [
            {self.items[self.keys[i]].harness for i in self.item[self.model == m]}
            for m in range(len(self.models))
        ]
        self.harnesses = harnesses
        self.a = np.array([self.z[self.item == n].mean() for n in range(len(self.keys))])
        self.c = np.ones(len(self.keys))
        self.noise = np.full(len(self.keys), NOISE_PRIOR**2)
        known = [background.get(model, Background()) for model in self.models]
        self.expects = np.column_stack(
            [np.ones(len(known)), _centred([k.ln_billions for k in known]), _centred([k.year for k in known])]
        )
        self.specialist = [k.specialist for k in known]
        self.g_line, self.g_variance = np.zeros(self.expects.shape[1]), 1.0
        self.gain = dict.fromkeys({axis for axis in self.specialist if axis}, 0.0)
        self.axis_variance = np.full(self.n_axes, 0.3)
        self.harness_variance = np.full(len(KINDS), 0.1)
        self.weight = np.ones(len(self.z))

    def run(self, iterations: int) -> Fit:
        for _ in range(iterations):
            self._find_latents()
            self._fit_items()
            self._fit_spreads()
        self._find_latents()
        to_axes = np.zeros((self.n_axes, self.n_latent))
        to_axes[:, 0] = 1.0
        to_axes[np.arange(1, self.n_axes), np.arange(1, self.n_axes)] = 1.0
        abilities = {
            model: Ability(to_axes @ self.mean[m], to_axes @ self.covariance[m] @ to_axes.T, self.observed[m])
            for m, model in enumerate(self.models)
        }
        lines = {
            key: (float(self.a[n]), float(self.c[n]), math.sqrt(self.noise[n]))
            for n, key in enumerate(self.keys)
        }
        axis_sd = {axis: math.sqrt(self.axis_variance[n]) for n, axis in enumerate(AXES) if n}
        return Fit(
            abilities,
            lines,
            axis_sd,
            {kind: math.sqrt(self.harness_variance[n]) for n, kind in enumerate(KINDS)},
            math.sqrt(self.g_variance),
            dict(self.gain),
        )

    def _find_latents(self) -> None:
        """E step: the posterior of every model's latents, and the residuals' t weights."""
        prior = np.empty(self.n_latent)
        prior[0] = self.g_variance
        prior[1 : self.n_axes] = self.axis_variance[1:]
        prior[self.n_axes :] = self.harness_variance[self.kind]
        loading = self.c[:, None] * self.reads
        expected_g = self.expects @ self.g_line
        self.mean = np.empty((len(self.models), self.n_latent))
        self.covariance = np.empty((len(self.models), self.n_latent, self.n_latent))
        variance = self.noise[self.item] + self.sampling
        for m in range(len(self.models)):
            rows = self.model == m
            base = np.zeros(self.n_latent)
            base[0] = expected_g[m]
            if axis := self.specialist[m]:
                base[AXES.index(axis)] = self.gain[axis]
            load = loading[self.item[rows]]
            precision = self.weight[rows] / variance[rows]
            covariance = np.linalg.inv(np.diag(1 / prior) + load.T @ (precision[:, None] * load))
            residual = self.z[rows] - self.a[self.item[rows]] - load @ base
            self.mean[m] = base + covariance @ (load.T @ (precision * residual))
            self.covariance[m] = covariance
        expected = self.a[self.item] + np.einsum("ij,ij->i", loading[self.item], self.mean[self.model])
        doubt = np.einsum("ij,ijk,ik->i", loading[self.item], self.covariance[self.model], loading[self.item])
        self.weight = (FREEDOM + 1) / (FREEDOM + ((self.z - expected) ** 2 + doubt) / variance)

    def _fit_items(self) -> None:
        """M step for a, c and noise: a regression on uncertain abilities, c pulled towards 1."""
        reads = self.reads[self.item]
        s = np.einsum("ij,ij->i", reads, self.mean[self.model])
        s_variance = np.einsum("ij,ijk,ik->i", reads, self.covariance[self.model], reads)
        for n in range(len(self.keys)):
            rows = self.item == n
            w = self.weight[rows] / (self.noise[n] + self.sampling[rows])
            y = self.z[rows]
            # Normal equations of E[(y - a - c s)^2], with E[s^2] in place of the square of the mean.
            matrix = np.array(
                [
                    [w.sum(), w @ s[rows]],
                    [w @ s[rows], w @ (s[rows] ** 2 + s_variance[rows]) + 1 / SLOPE_PRIOR_SD**2],
                ]
            )
            right = np.array([w @ y, w @ (y * s[rows]) + 1 / SLOPE_PRIOR_SD**2])
            self.a[n], self.c[n] = np.linalg.solve(matrix, right)
            # A benchmark that better models do worse on would be a fault of the data, not of the models.
            if self.c[n] < 0.1:
                self.c[n] = 0.1
                self.a[n] = (w @ (y - 0.1 * s[rows])) / w.sum()
            square = (y - self.a[n] - self.c[n] * s[rows]) ** 2 + self.c[n] ** 2 * s_variance[rows]
            # What sampling explains is taken off; the rest is the item's own.
            share = self.noise[n] / (self.noise[n] + self.sampling[rows])
            own = share**2 * self.weight[rows] * square + share * self.sampling[rows]
            noise = (own.sum() + NOISE_PRIOR_COUNT * NOISE_PRIOR**2) / (rows.sum() + NOISE_PRIOR_COUNT)
            self.noise[n] = max(
                noise, VENDOR_NOISE_FLOOR**2 if self.items[self.keys[n]].kind == "vendor" else 0.0
            )

    def _fit_spreads(self) -> None:
        """M step for the latents' own spreads, each over the models that have something to say on it."""
        g = self.mean[:, 0]
        doubt = self.covariance[:, 0, 0]
        # A model whose g is hardly known follows the line and must not confirm it.
        weight = 1 / (self.g_variance + doubt)
        self.g_line = np.linalg.lstsq(
            self.expects * np.sqrt(weight)[:, None], g * np.sqrt(weight), rcond=None
        )[0]
        self.g_variance = float(((g - self.expects @ self.g_line) ** 2 + doubt).mean())
        for axis in self.gain:
            n = AXES.index(axis)
            seen = [m for m, of in enumerate(self.specialist) if of == axis and axis in self.observed[m]]
            total = float(self.mean[seen, n].sum())
            self.gain[axis] = total / (len(seen) + GAIN_PRIOR_COUNT)
        for n, axis in enumerate(AXES):
            seen = [m for m, observed in enumerate(self.observed) if axis in observed]
            if n and seen:
                centre = np.array([self.gain[axis] if self.specialist[m] == axis else 0.0 for m in seen])
                total = float(((self.mean[seen, n] - centre) ** 2 + self.covariance[seen, n, n]).sum())
                prior = AXIS_PRIOR_COUNT * AXIS_PRIOR_SD**2
                self.axis_variance[n] = (total + prior) / (len(seen) + AXIS_PRIOR_COUNT)
        for kind in range(len(KINDS)):
            squares = [
                self.mean[m, k] ** 2 + self.covariance[m, k, k]
                for m, names in enumerate(self.harnesses_of)
                for k in (self.n_axes + n for n, name in enumerate(self.harnesses) if name in names)
                if self.kind[k - self.n_axes] == kind
            ]
            prior = HARNESS_PRIOR_COUNT * HARNESS_PRIOR_SD**2
            self.harness_variance[kind] = (sum(squares) + prior) / (len(squares) + HARNESS_PRIOR_COUNT)


def _centred(values: Sequence[float | None]) -> Array:
    """Values about their mean; 0, which says nothing, where there is none."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else 0.0
    return np.array([0.0 if value is None else value - mean for value in values])


def anchor_line(fitted: Fit, averages: Iterable[tuple[str, float]]) -> tuple[float, float]:
    """Return (a, c) such that 100 * logistic(a + c * g) is the anchor harness's average score.

    `averages` are (model, score 0-100) pairs of the anchor; models without an ability are left out.
    """
    pairs = [
        (fitted.abilities[m].mean[0], min(max(v / 100, 0.01), 0.99))
        for m, v in averages
        if m in fitted.abilities
    ]
    g = np.array([p[0] for p in pairs])
    y = np.array([p[1] for p in pairs])
    a, c = 0.0, 1.0
    for _ in range(50):  # Gauss-Newton on the score itself: an error counts in points, not in log-odds
        p = 1 / (1 + np.exp(-(a + c * g)))
        jacobian = np.stack([p * (1 - p), p * (1 - p) * g], axis=1)
        step, *_ = np.linalg.lstsq(jacobian, y - p, rcond=None)
        a, c = a + step[0], c + step[1]
    return float(a), float(c)
