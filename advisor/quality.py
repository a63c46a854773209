"""How good a model's answers are for a task, at a quantization: points on one scale, with an interval.

The scale is the average score of the Open LLM Leaderboard v2 (0-100, 0 is guessing). Every axis is on it: 40 in
coding means "codes like the models whose general score is 40". `quality.json` holds what `make quality` fitted
on published scores and published losses (docs/explanation/quality.md); nothing here is measured on this device.

Three terms:
- the task's weighted mean of the model's axes; an axis without scores is read off the general score, wider;
- times what the quantization leaves of it, from the tensor types' real bits per weight and the model's size;
- times a choice: what counts in a language that the model was not made for.

A model that nobody scored has no value, only the reason.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from advisor.evidence import Value
from quantize.types import TENSOR_TYPES

if TYPE_CHECKING:
    from advisor.catalog import Model, Variant
    from advisor.workload import Task

Axis = Literal[
    "general", "coding", "math", "tools", "japanese", "multilingual", "long_context", "instructions"
]
AXES: tuple[Axis, ...] = get_args(Axis)

TABLE_FILE = Path(__file__).with_name("quality.json")

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
"""Share that a language other than English takes from the other axes: its own axis, or the multilingual one."""
UNLISTED_LANGUAGE = 0.6
"""What remains of the quality in a language that is not among those the model is made for: a choice."""
Z80 = 1.2816  # half the width of an 80% interval of a normal distribution, in standard deviations


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


class Loss(msgspec.Struct, frozen=True):
    """What quantization costs: `points` of the quality, `ln_perplexity_ratio` to the unquantized model."""

    points: Value
    ln_perplexity_ratio: Value
    weights_points: float
    kv_points: float


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


class LossTable(msgspec.Struct, frozen=True):
    """Coefficients of the quantization's loss; see `ln_perplexity_ratio` and `kept_share`."""

    scale: float
    size_power: float
    """Of the parameters in billions; negative: small models lose more."""
    noise_power: float
    bit_rate: float
    """Loss falls by exp(-bit_rate) a bit."""
    kind_factor: dict[str, float]
    imatrix_factor: float
    """What an importance matrix leaves of the noise, for presets that were made with one."""
    log_error: float
    """Standard deviation of ln(loss) over models left out of the fit."""
    kept_rate: float
    kept_error: float
    """Standard deviation of ln(kept_rate)."""
    kv_type: dict[str, tuple[float, float]]
    """KV type -> ln(perplexity ratio) that K and V of that type add to a model of 8 billion parameters."""


class Table(msgspec.Struct, frozen=True):
    """`quality.json`."""

    inputs_sha256: str
    """Of the scores and losses the table was made from."""
    slope: float
    """Of the scale: points = 100 * logistic(a + slope * ability)."""
    axis_spread: dict[str, float]
    """Standard deviation, in abilities, of each axis about the general ability."""
    harnesses: tuple[str, ...]
    models: dict[str, dict[Axis, tuple[float, float, tuple[int, ...]]]]
    """Model -> axis -> value, standard error, harnesses."""
    via: dict[str, str]
    loss: LossTable


@functools.cache
def load_table() -> Table:
    """The fitted table, decoded on first use."""
    return msgspec.json.decode(TABLE_FILE.read_bytes(), type=Table)


def axis_scores(model_id: str) -> dict[Axis, AxisScore]:
    """The axes on which a model has scores, by Hub id; empty for a model nobody scored."""
    table = load_table()
    return {
        axis: AxisScore(value, error, tuple(table.harnesses[n] for n in harnesses), table.via.get(model_id))
        for axis, (value, error, harnesses) in table.models.get(model_id, {}).items()
    }


def ln_perplexity_ratio(
    parameters: int, bytes_by_type: dict[str, int], body_weights: int | None = None, *, imatrix: bool = False
) -> float:
    """Expected ln(perplexity / perplexity of the unquantized model), >= 0.

        ln ratio = scale * (parameters / 1e9)^size_power * noise^noise_power
        noise    = sum over tensor types of weights * kind * exp(-bit_rate * bits per weight) / body weights

    The noise is what rounding adds to the weights: a quarter for each bit more, as for any uniform quantizer
    (Gersho & Gray 1992, section 5.6), the rate fitted. It counts real types, not the preset's name, so that a
    small model whose rows force Q2_K to fall back is charged for what its file holds.

    bytes_by_type: bytes of the file's tensors by type. body_weights: weights outside the embedding table and
    the output head, among which the noise is shared; without it all of the file's weights.
    """
    table = load_table().loss
    noise, weights = _noise(table, bytes_by_type, imatrix)
    noise = min(noise / (body_weights or weights), 1.0)
    return table.scale * (parameters / 1e9) ** table.size_power * noise**table.noise_power


def kept_share(ln_ratio: float) -> float:
    """Share of a score above chance that a perplexity grown by exp(ln_ratio) leaves, 0 to 1.

    exp(-kept_rate * ln_ratio), fitted on models with task scores at several quantizations.
    """
    return math.exp(-load_table().loss.kept_rate * ln_ratio)


def quantization_loss(
    parameters: int,
    bytes_by_type: dict[str, int],
    *,
    body_weights: int | None = None,
    imatrix: bool = False,
    type_k: str = "f16",
    type_v: str = "f16",
    score: float = 100.0,
) -> Loss:
    """What a quantization costs a model of that size whose unquantized score is `score` points."""
    weights = ln_perplexity_ratio(parameters, bytes_by_type, body_weights, imatrix=imatrix)
    cache = kv_ln_perplexity_ratio(parameters, type_k, type_v)
    return _loss(score, weights, cache)


def kv_ln_perplexity_ratio(parameters: int, type_k: str, type_v: str) -> float:
    """ln(perplexity ratio) that the types of the K and V cache add; small models lose more, as with weights."""
    table = load_table().loss
    k, v = type_k.lower(), type_v.lower()
    at_8b = table.kv_type.get(k, _NO_LOSS)[0] + table.kv_type.get(v, _NO_LOSS)[1]
    return at_8b * (parameters / 8e9) ** table.size_power


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
    loss = _loss(
        base.value,
        _variant_ln_ratio(model, variant),
        kv_ln_perplexity_ratio(_size(model), type_k, type_v),
    )
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
_NO_LOSS = (0.0, 0.0)

# Architecture -> the tensor type its weights were trained for and are released in: nothing is lost by it.
_NATIVE_TYPE = {"gpt-oss": "MXFP4"}


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


def _variant_ln_ratio(model: Model, variant: Variant) -> float:
    """ln(perplexity ratio) of a variant to the model as its maker released it."""
    sizes = variant.bytes_by_type
    native = _NATIVE_TYPE.get(model.architecture.name) if model.architecture else None
    if native in sizes:
        sizes = {name: size for name, size in sizes.items() if name != native}
    return ln_perplexity_ratio(_size(model), sizes, _body_weights(model), imatrix=variant.needs_imatrix)


def _size(model: Model) -> int:
    """Parameters that count for robustness: for a mixture of experts the geometric mean of total and active."""
    return math.isqrt(model.parameters * (model.parameters_active or model.parameters))


def _body_weights(model: Model) -> int | None:
    """Weights of the blocks, from the F16 variant, where every one of them takes two bytes."""
    for variant in model.variants:
        if variant.quant in ("F16", "BF16"):
            return variant.layer_bytes // 2
    return None


def _noise(table: LossTable, bytes_by_type: dict[str, int], imatrix: bool) -> tuple[float, float]:
    """The sum of weights * noise over tensor types, and the weights."""
    noise = weights = 0.0
    rates = _type_rates()
    for name, size in bytes_by_type.items():
        per_byte, of_a_weight = rates[name]
        count = size * per_byte
        weights += count
        noise += count * of_a_weight
    return noise * (table.imatrix_factor if imatrix else 1.0), weights


@functools.cache
def _type_rates() -> dict[str, tuple[float, float]]:
    """Tensor type -> weights a byte, noise of a weight."""
    table = load_table().loss
    rates = {}
    for name, kind in TENSOR_TYPES.items():
        bits = kind.bits_per_weight
        factor = table.kind_factor[kind_of(name)]
        rates[name] = (8 / bits, factor * math.exp(-table.bit_rate * bits) if bits < 16 else 0.0)
    return rates


def kind_of(tensor_type: str) -> str:
    """The kind of a tensor type: "k", "iq" or "legacy"."""
    if tensor_type.endswith("_K"):
        return "k"
    return "iq" if tensor_type.startswith("IQ") else "legacy"


def _loss(score: float, weights: float, cache: float) -> Loss:
    """The loss in points of a score, and its interval, from the two ln(perplexity ratio)s."""
    table = load_table().loss
    total = weights + cache
    # One multiplicative error for the ratio, one for what a ratio does to scores.
    ratio_factor = math.exp(Z80 * table.log_error)
    points_factor = math.exp(Z80 * math.hypot(table.log_error, table.kept_error))
    exponent = table.kept_rate * total
    points = score * (1 - math.exp(-exponent))
    return Loss(
        points=Value(
            points,
            score * (1 - math.exp(-exponent / points_factor)),
            score * (1 - math.exp(-exponent * points_factor)),
        ),
        ln_perplexity_ratio=Value(total, total / ratio_factor, total * ratio_factor),
        weights_points=points * weights / total if total > 0 else 0.0,
        kv_points=points * cache / total if total > 0 else 0.0,
    )
