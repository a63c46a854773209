"""`make quality`: fit what quality.json holds, and say how far it can be trusted.

    python -m advisor.making.quality            fit and write advisor/quality.json
    python -m advisor.making.quality --judge    also predict what was left out, without writing anything

Needs the engine, which says what tensor types the presets of the published losses have.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from advisor.making import quantization_loss, scores
from advisor.making.abilities import Ability, Background, Fit, Observation, anchor_line, fit, log_odds
from advisor.quality_table import AXES, TABLE_FILE, Z80, Axis, LossTable, Table

FOLDS = 8
CALIBRATION = 1.1
"""Standard errors are widened by this: errors over stated errors of left-out harnesses have that standard
deviation (`--judge`, z)."""
SIBLING_SD = 0.35
"""Of the abilities of two models tuned by one maker from one base, for one use, at one size: a choice. The few
pairs with scores of their own differ by no more than their errors (`--judge`), so this is on the safe side: about
half of what models of one size and year differ by."""
SIBLINGS = (
    ("ibm-granite/granite-3.0-2b-instruct", "ibm-granite/granite-3.1-2b-instruct"),
    ("ibm-granite/granite-3.0-8b-instruct", "ibm-granite/granite-3.1-8b-instruct"),
    ("ibm-granite/granite-3.1-8b-instruct", "ibm-granite/granite-3.3-8b-instruct"),
    ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", "mistralai/Mistral-Small-3.2-24B-Instruct-2506"),
    ("mistralai/Mistral-7B-Instruct-v0.2", "mistralai/Mistral-7B-Instruct-v0.3"),
    ("Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B-Instruct-2507"),
    ("microsoft/Phi-4-reasoning", "microsoft/Phi-4-reasoning-plus"),
)
"""Pairs with scores of both."""

_Axes = dict[Axis, tuple[float, float, tuple[int, ...]]]


class Judgement(msgspec.Struct, frozen=True):
    """How well scores of a left-out harness are predicted from the model's other harnesses."""

    count: int
    median_error: float
    """Of a score on its own scale of 0 to 100."""
    mean_error: float
    coverage: float
    """Share inside the 80% interval."""
    z_sd: float
    """Standard deviation of error over stated error: 1 where the stated one is honest."""
    anchor_count: int
    anchor_mean_error: float
    anchor_coverage: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", action="store_true", help="predict left-out scores (a minute)")
    options = parser.parse_args(arguments)
    rows = scores.read_rows()
    observed = scores.observations(rows)
    averages = scores.anchor_averages(rows)
    background = scores.background({o.model for o in observed})
    fitted = fit(observed, background)
    if options.judge:
        print(report(judge(observed, averages, background)))
        print(f"siblings differ by {sibling_difference(fitted):.2f} abilities (root mean square)")
        return
    line = anchor_line(fitted, averages)
    loss, loss_report = quantization_loss.fit_loss()
    table = make_table(fitted, line, observed, background, loss)
    TABLE_FILE.write_bytes(msgspec.json.encode(table) + b"\n")
    print(
        f"{len(observed)} scores of {len(fitted.abilities)} models; "
        f"{TABLE_FILE.name} {TABLE_FILE.stat().st_size / 1024:.0f} KiB"
    )
    for axis in AXES:
        print(f"  {axis:14s} {sum(axis in axes for axes in table.models.values()):4d} models")
    print(
        f"perplexity: {loss_report.rows} rows of {loss_report.models} models; a model left out is predicted "
        f"within a factor of {loss_report.median_factor:.2f} (median), ln error {loss_report.log_error:.2f}"
    )
    print(f"scores kept: {loss_report.task_rows} rows, median error {loss_report.task_error:.1f}%")


def make_table(
    fitted: Fit,
    line: tuple[float, float],
    observed: Sequence[Observation],
    background: Mapping[str, Background],
    loss: LossTable,
) -> Table:
    """What the fit says of each model, on the anchor's scale, with the harnesses it rests on."""
    harnesses = sorted({o.item.harness for o in observed})
    versions = scores.read_versions()
    models: dict[str, _Axes] = {}
    via = {}
    for model, ability in fitted.abilities.items():
        own = [o for o in observed if o.model == model]
        rests_on: dict[Axis, tuple[int, ...]] = {}
        for axis in AXES:
            # The general ability shows in every score; an axis only in those that measure it.
            names = {o.item.harness for o in own if axis == "general" or axis in o.item.axes}
            # A specialist's own axis is there without scores too, with no harness to its name.
            if names or background[model].specialist == axis:
                rests_on[axis] = tuple(sorted(harnesses.index(name) for name in names))
        models[model] = _axes(line, ability, rests_on)
        if all(o.item.kind == "base" for o in own) and model in versions.base.values():
            via[model] = next(base for base, tuned in versions.base.items() if tuned == model)
    for model, sibling in versions.sibling.items():
        if model not in models:
            via[model] = sibling
            rests_on = {axis: of for axis, (_, _, of) in models[sibling].items()}
            models[model] = _axes(line, fitted.abilities[sibling], rests_on, SIBLING_SD)
    return Table(
        inputs_sha256=inputs_digest(observed),
        slope=round(line[1], 4),
        axis_spread={axis: round(sd, 3) for axis, sd in fitted.axis_sd.items()},
        harnesses=tuple(harnesses),
        models=dict(sorted(models.items())),
        via=via,
        loss=loss,
    )


def _axes(
    line: tuple[float, float],
    ability: Ability,
    rests_on: Mapping[Axis, tuple[int, ...]],
    more_sd: float = 0.0,
) -> _Axes:
    """The axes of one model in points; `more_sd` adds to the error of every one, in abilities."""
    axes: _Axes = {}
    for axis, harnesses in rests_on.items():
        n = AXES.index(axis)
        error = math.hypot(math.sqrt(ability.covariance[n, n]), more_sd)
        axes[axis] = (*_points(line, float(ability.mean[n]), error), harnesses)
    return axes


def _points(line: tuple[float, float], ability: float, error: float) -> tuple[float, float]:
    """An ability and its standard error on the scale of 0 to 100."""
    share = 1 / (1 + math.exp(-(line[0] + line[1] * ability)))
    return round(100 * share, 2), round(100 * share * (1 - share) * line[1] * error * CALIBRATION, 2)


def judge(
    observed: Sequence[Observation],
    averages: Sequence[tuple[str, float]],
    background: Mapping[str, Background],
) -> Judgement:
    """Hide one harness of a model at a time, in eight folds, and predict it from the model's others."""
    cells: dict[tuple[str, str], list[Observation]] = {}
    for o in observed:
        cells.setdefault((o.model, o.item.harness), []).append(o)
    tested = [key for key in cells if sum(model == key[0] for model, _ in cells) > 1]
    random.Random(1).shuffle(tested)
    fold = {key: n % FOLDS for n, key in enumerate(tested)}
    misses: list[float] = []
    zs: list[float] = []
    anchor: list[tuple[float, float]] = []
    for n in range(FOLDS):
        fitted = fit([o for o in observed if fold.get((o.model, o.item.harness)) != n], background)
        hidden = [key for key in tested if fold[key] == n and key[0] in fitted.abilities]
        for o in (o for key in hidden for o in cells[key] if o.item.key in fitted.lines):
            mean, error = fitted.predict(o.model, o.item)
            truth, sampling = log_odds(o.item, o.score)
            zs.append((truth - mean) / math.hypot(error, math.sqrt(sampling)))
            if o.item.maximum is not None:
                share = o.item.chance + (1 - o.item.chance) / (1 + math.exp(-mean))
                misses.append(100 * abs(share - o.score))
        unseen = {model for model, harness in hidden if harness == scores.ANCHOR_HARNESS}
        line = anchor_line(fitted, [(model, value) for model, value in averages if model not in unseen])
        for model, value in averages:
            if model in unseen:
                ability = fitted.abilities[model]
                error = math.hypot(math.sqrt(ability.covariance[0, 0]), fitted.harness_sd["uniform"])
                points, stated = _points(line, float(ability.mean[0]), error)
                anchor.append((abs(points - value), stated))
    return Judgement(
        count=len(zs),
        median_error=float(np.median(misses)),
        mean_error=float(np.mean(misses)),
        coverage=float(np.mean(np.abs(zs) < Z80)),
        z_sd=float(np.std(zs)),
        anchor_count=len(anchor),
        anchor_mean_error=float(np.mean([miss for miss, _ in anchor])),
        anchor_coverage=float(np.mean([miss < Z80 * stated for miss, stated in anchor])),
    )


def report(judgement: Judgement) -> str:
    """A judgement in words."""
    return (
        f"{judgement.count} scores predicted without their harness: median error "
        f"{judgement.median_error:.1f}, mean {judgement.mean_error:.1f} points of 100; 80% interval holds "
        f"{judgement.coverage:.0%}, z {judgement.z_sd:.2f}\n"
        f"{judgement.anchor_count} averages of {scores.ANCHOR_HARNESS} predicted without it: mean error "
        f"{judgement.anchor_mean_error:.1f} points; 80% interval holds {judgement.anchor_coverage:.0%}"
    )


def sibling_difference(fitted: Fit) -> float:
    """Root mean square difference in g of siblings that both have scores, less their own errors."""
    squares = []
    for one, other in SIBLINGS:
        a, b = fitted.abilities[one], fitted.abilities[other]
        squares.append((a.mean[0] - b.mean[0]) ** 2 - a.covariance[0, 0] - b.covariance[0, 0])
    return math.sqrt(max(float(np.mean(squares)), 0.0))


def inputs_digest(observed: Sequence[Observation]) -> str:
    """SHA-256 of everything the table is made from, so that a test can tell when it is out of date."""
    digest = hashlib.sha256(repr(sorted((o.model, o.item.key, o.score) for o in observed)).encode())
    for path in (scores.BENCHMARKS, scores.VERSIONS, quantization_loss.LOSSES, quantization_loss.MODELS):
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
