"""How good a model's answers are for a task, at a quantization: points on one scale, with an interval.

The scale is the average score of the Open LLM Leaderboard v2 (0-100, 0 is guessing). Every axis is on it: 40
in coding means "codes like the models whose general score is 40". `quality.json` holds what `make quality`
fitted on published scores and losses (docs/explanation/quality.md); nothing is measured on this device.

Three terms:
- the task's weighted mean of the model's axes; an axis without scores is read off the general score, wider;
- times what the quantization leaves of it, from the tensor types' real bits per weight and the model's size;
- times a choice: what counts in a language that the model was not made for.

A model that nobody scored has no value, only the reason.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import msgspec

from advisor.quality_table import AXES, Z80, Axis, Table, load_table
from advisor.quantization_loss import Loss, quantization_loss, variant_loss

if TYPE_CHECKING:
    from advisor.catalog import Model, Variant
    from advisor.workload import Task

__all__ = [
    "AXES",
    "TASK_WEIGHTS",
    "Axis",
    "AxisScore",
    "AxisUse",
    "Loss",
    "Quality",
    "axis_scores",
    "axis_weights",
    "estimate_quality",
    "quantization_loss",
]

TASK_WEIGHTS: dict[Task, dict[Axis, float]] = {
    "chat": {"general": 0.5, "instructions": 0.5},
    "coding": {"coding": 0.7, "general": 0.15, "instructions": 0.15},
    "reasoning": {"math": 0.45, "general": 0.4, "coding": 0.15},
    "summarize": {"general": 0.5, "instructions": 0.3, "long_context": 0.2},
    "translate": {"multilingual": 0.6, "general": 0.2, "instructions": 0.2},
    "extract": {"instructions": 0.5, "general": 0.4, "long_context": 0.1},
    "agent": {"tools": 0.5, "instructions": 0.2, "coding": 0.15, "general": 0.15},
    "voice": {"instructions": 0.6, "general": 0.4},
    "general": {"general": 1.0},
}
"""What a task asks of a model. A choice, not a measurement; each row adds up to 1."""

LANGUAGE_WEIGHT = 0.5
"""Share that languages other than English take from the other axes, for an axis of their own."""
UNLISTED_LANGUAGE = 0.6
"""What remains of the quality in a language that is not among those the model is made for: a choice."""


class AxisScore(msgspec.Struct, frozen=True):
    """A model's score on one axis, in points, before quantization."""

    value: float
    standard_error: float
    sources: tuple[str, ...]
    """Harnesses the score rests on; a vendor's own numbers are "vendor"."""
    via: str | None = None
    """The base or sibling version the scores are of, where the model has none of its own."""


class AxisUse(msgspec.Struct, frozen=True):
    """An axis in a quality: its share and score. `borrowed`: no scores on it, read off the general one."""

    axis: Axis
    weight: float
    value: float
    standard_error: float
    sources: tuple[str, ...]
    borrowed: bool = False


class Quality(msgspec.Struct, frozen=True):
    """The quality of a variant for a task, 0-100 with its 80% interval; None throughout when nobody knows."""

    value: float | None
    low: float | None
    high: float | None
    axes: tuple[AxisUse, ...] = ()
    loss: Loss | None = None
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reason_if_unknown: str | None = None

    @property
    def known(self) -> bool:
        return self.value is not None


def axis_scores(model_id: str) -> dict[Axis, AxisScore]:
    """The axes on which a model has scores, by Hub id; empty for a model nobody scored."""
    table = load_table()
    return {
        axis: AxisScore(value, error, tuple(table.harnesses[n] for n in harnesses), table.via.get(model_id))
        for axis, (value, error, harnesses) in table.models.get(model_id, {}).items()
    }


def estimate_quality(
    model: Model,
    variant: Variant,
    task: Task = "general",
    languages: tuple[str, ...] = (),
    type_k: str = "f16",
    type_v: str = "f16",
) -> Quality:
    """The quality of a variant for a task in the user's languages, with K and V cache types.

    Fewer bits of the same kind are never better, nor is a smaller KV type. Costs a few microseconds after the
    first call for a model and task.
    """
    base = _unquantized(model.id, model.languages, task, languages)
    if base.value is None:
        return _UNKNOWN
    loss = variant_loss(model, variant, type_k, type_v, base.value)
    value = base.value - loss.points.value
    loss_error = (loss.points.high - loss.points.low) / (2 * Z80)
    spread = Z80 * math.hypot(base.standard_error * value / base.value if base.value else 0.0, loss_error)
    return Quality(
        value,
        max(value - spread, 0.0),
        min(value + spread, 100.0),
        base.axes,
        loss,
        base.sources,
        base.notes,
    )


_UNKNOWN = Quality(None, None, None, reason_if_unknown="no published score of this model is known")


class _Unquantized(msgspec.Struct, frozen=True):
    """What a model is worth for a task before quantization."""

    value: float | None
    standard_error: float
    axes: tuple[AxisUse, ...] = ()
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@functools.lru_cache(maxsize=4096)
def _unquantized(
    model_id: str,
    model_languages: tuple[str, ...] | None,
    task: Task,
    languages: tuple[str, ...],
) -> _Unquantized:
    scores = axis_scores(model_id)
    general = scores.get("general")
    if general is None:
        return _Unquantized(None, 0.0)
    table = load_table()
    foreign = tuple(language for language in languages if language != "en")
    uses = []
    for axis, weight in axis_weights(task, languages).items():
        score = scores.get(axis)
        if score is not None:
            borrowed = not score.sources
            uses.append(AxisUse(axis, weight, score.value, score.standard_error, score.sources, borrowed))
        else:
            error = math.hypot(general.standard_error, _axis_spread_points(table, general.value, axis))
            uses.append(AxisUse(axis, weight, general.value, error, general.sources, borrowed=True))
    value = sum(use.weight * use.value for use in uses)
    # Errors of one model's axes go together, since all share the general score; what an axis without scores
    # may differ by does not.
    together = sum(use.weight * (general if use.borrowed else use).standard_error for use in uses)
    apart = [use.weight * _axis_spread_points(table, general.value, use.axis) for use in uses if use.borrowed]
    error = math.hypot(together, *apart)
    notes = [f"no {use.axis} score: read off the general one" for use in uses if use.borrowed]
    if general.via:
        notes.append(f"scores are those of {general.via}")
    if all(source == "vendor" for use in uses for source in use.sources):
        notes.append("only vendor-reported scores")
    factor = 1.0
    if model_languages is None and foreign:
        notes.append("its languages are not known")
    elif model_languages is not None:
        # Scores in a language say more than a card that does not list it.
        scored = {"ja"} if "japanese" in scores else set()
        missing = [code for code in foreign if code not in model_languages and code not in scored]
        if missing:
            factor -= (1 - UNLISTED_LANGUAGE) * len(missing) / len(foreign)
            notes.append(f"not made for {', '.join(missing)}: {factor:.0%} of the quality is counted")
    sources = tuple(dict.fromkeys(source for use in uses for source in use.sources))
    return _Unquantized(value * factor, error * factor, tuple(uses), sources, tuple(notes))


def axis_weights(task: Task, languages: tuple[str, ...] = ()) -> dict[Axis, float]:
    """The share of each axis in a task's quality for someone who writes these languages; adds up to 1."""
    weights = dict(TASK_WEIGHTS[task])
    foreign = [language for language in languages if language != "en"]
    if not foreign:
        return weights
    japanese = foreign.count("ja") / len(foreign)
    already = weights.pop("multilingual", 0.0)  # a task that is about languages gives up that share first
    wanted = max(LANGUAGE_WEIGHT, already)
    rest = (1 - wanted) / (1 - already)
    weights = {axis: weight * rest for axis, weight in weights.items()}
    if japanese:
        weights["japanese"] = wanted * japanese
    if japanese < 1:
        weights["multilingual"] = wanted * (1 - japanese)
    return weights


def _axis_spread_points(table: Table, general: float, axis: Axis) -> float:
    """How far, in points, an axis may lie from a general score: one standard deviation."""
    share = min(max(general / 100, 0.01), 0.99)
    return 100 * share * (1 - share) * table.slope * table.axis_spread.get(axis, 0.0)
