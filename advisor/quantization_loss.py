"""What quantization costs: perplexity from the types of a file's tensors, points of quality from perplexity.

The coefficients are in `quality.json`, fitted by `advisor/making/quantization_loss.py`.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import msgspec

from advisor.errors import InvalidInputError
from advisor.evidence import Value
from advisor.quality_table import Z80, LossTable, load_table
from quantize.types import TENSOR_TYPES

if TYPE_CHECKING:
    from advisor.catalog import Model, Variant

# Architecture -> the tensor type its weights were trained for and are released in: nothing is lost by it.
_NATIVE_TYPE = {"gpt-oss": "MXFP4"}


class Loss(msgspec.Struct, frozen=True):
    """What quantization costs: `points` of the quality, `ln_perplexity_ratio` to the unquantized model."""

    points: Value
    ln_perplexity_ratio: Value
    weights_points: float
    kv_points: float

    @property
    def perplexity_increase_high(self) -> float:
        """Share by which the perplexity may rise, at the high end of the estimate: 0.03 is 3%."""
        return math.expm1(self.ln_perplexity_ratio.high)


def variant_loss(model: Model, variant: Variant, type_k: str, type_v: str, score: float) -> Loss:
    """What a variant and its cache types cost a model whose score as its maker released it is `score` points."""
    sizes = variant.bytes_by_type
    native = _NATIVE_TYPE.get(model.architecture.name) if model.architecture else None
    if native in sizes:
        sizes = {name: size for name, size in sizes.items() if name != native}
    return quantization_loss(
        _size(model),
        sizes,
        body_weights=body_weights_of(model),
        imatrix=variant.needs_imatrix,
        type_k=type_k,
        type_v=type_v,
        score=score,
    )


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


def ln_perplexity_ratio(
    parameters: int, bytes_by_type: dict[str, int], body_weights: int | None = None, *, imatrix: bool = False
) -> float:
    """Expected ln(perplexity / perplexity of the unquantized model), >= 0.

        ln ratio = scale * (parameters / 1e9)^size_power * noise^noise_power
        noise    = sum over tensor types of weights * kind * exp(-bit_rate * bits per weight) / body weights

    The noise is what rounding adds to the weights. For a uniform quantizer it falls to a quarter with each bit
    (Gersho & Gray, Vector Quantization and Signal Compression, 1992); here the rate is fitted. It counts the
    types in the file, not the preset's name, so that a small model whose rows force Q2_K to fall back is charged
    for what it holds.

    bytes_by_type: bytes of the file's tensors by type. body_weights: weights outside the embedding table and
    the output head, among which the noise is shared; without it all of the file's weights.
    """
    table = load_table().loss
    noise, weights = _noise(table, bytes_by_type, imatrix)
    noise = min(noise / (body_weights or weights or 1), 1.0)
    return float(table.scale * (parameters / 1e9) ** table.size_power * noise**table.noise_power)


def kv_ln_perplexity_ratio(parameters: int, type_k: str, type_v: str) -> float:
    """ln(perplexity ratio) that the cache's types add; small models lose more, as with weights.

    Raises InvalidInputError for a type whose loss is not known.
    """
    table = load_table().loss
    try:
        at_8b = table.kv_type[type_k.lower()][0] + table.kv_type[type_v.lower()][1]
    except KeyError as error:
        raise InvalidInputError(f"KV cache type {error}: known are {', '.join(table.kv_type)}") from None
    return float(at_8b * (parameters / 8e9) ** table.size_power)


def _size(model: Model) -> int:
    """Parameters that count for robustness: for a mixture of experts the geometric mean of total and active."""
    return math.isqrt(model.parameters * (model.parameters_active or model.parameters))


def body_weights_of(model: Model) -> int | None:
    """Weights of the blocks, from the F16 variant, where every one of them takes two bytes."""
    if model.body_weights is not None:
        return model.body_weights
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
    # A share exp(-kept_rate * ln ratio) of a score above chance is left. Two multiplicative errors: of the ratio,
    # and of what a ratio does to scores.
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
