"""`quality.json`: what `make quality` fitted on published scores and losses, as the estimates read it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal, get_args

import msgspec

Axis = Literal[
    "general", "coding", "math", "tools", "japanese", "multilingual", "long_context", "instructions"
]
AXES: tuple[Axis, ...] = get_args(Axis)

Z80 = 1.2816
"""Half the width of an 80% interval of a normal distribution, in standard deviations."""

TABLE_FILE = Path(__file__).with_name("quality.json")


class LossTable(msgspec.Struct, frozen=True):
    """Coefficients of the quantization's loss; see `advisor.quantization_loss`."""

    scale: float
    size_power: float
    """Of the parameters in billions; negative: small models lose more."""
    noise_power: float
    bit_rate: float
    """The noise of a weight falls by exp(-bit_rate) a bit."""
    kind_factor: dict[str, float]
    imatrix_factor: float
    """What an importance matrix leaves of the noise, for presets that were made with one."""
    log_error: float
    """Standard deviation of ln(loss) over models left out of the fit."""
    kept_rate: float
    """A perplexity grown by exp(x) leaves the share exp(-kept_rate * x) of a score above chance."""
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
    axis_spread: dict[Axis, float]
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
