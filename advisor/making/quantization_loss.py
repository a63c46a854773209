"""Fit what quantization costs: perplexity from the types of a file's tensors, scores from perplexity.

The rows are `data/quantization-loss.csv`; which tensors a preset gives which type comes from the engine, on
skeletons of `data/quantized-models.toml`. The form is that of `advisor.quantization_loss.ln_perplexity_ratio`. Each
fitted model also gets a factor of its own, pulled towards 1, so that a model with thirty rows does not set
the size's exponent alone; the factors are then dropped and count as error.

Left out: gemma-1-7B (its K quants break: perplexity 568 at Q2_K), Qwen2.5-3B Q3_K_* (worse than Q2_K in the
source itself), Falcon3 GPTQ and AWQ (columns not certain), rows marked unverified, models above 40 billion
parameters, and mixtures older than the current rules.
"""

from __future__ import annotations

import csv
import math
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from advisor.quality_table import LossTable
from advisor.quantization_loss import kind_of
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure
from quantize.architecture import Architecture, parameter_count, tensors
from quantize.skeleton import write_skeleton
from quantize.types import PRESETS, TENSOR_TYPES

DATA = Path(__file__).with_name("data")
LOSSES = DATA / "quantization-loss.csv"
MODELS = DATA / "quantized-models.toml"

OTHER_PRESETS = {"Q5_1": 9, "Q2_K_S": 21, "IQ3_XS": 22}
"""llama_ftype of presets that the rows have and the catalog does not."""

FLOOR = 0.003
"""ln ratio below which differences are the noise of the measurement."""
ROW_ERROR, MODEL_ERROR = 0.35, 0.4
"""Standard deviations, in ln(loss), of a row about its model and of a model about the fit."""

SCORE_ERROR = 1.2
"""Standard deviation of the difference of two task scores of the same model, in points."""

KV_TYPES: dict[str, tuple[float, float]] = {
    # K, V: ln(perplexity ratio) added to a model of 8 billion parameters. q8_0 and V q5_1: Llama-3-8B,
    # llama.cpp pull 7412. q4_0: gemma-4-31B's 0.0077 for K and V together (ik_llama.cpp pull 1599), scaled by
    # size; MMLU of gemma-3-4b agrees (llama.cpp pull 21551). That K carries two thirds of it, and the types
    # between, which are interpolated by bits, are unverified.
    "f16": (0.0, 0.0),
    "bf16": (0.0, 0.0),
    "f32": (0.0, 0.0),
    "q8_0": (0.0002, 0.00015),
    "q5_1": (0.0015, 0.0007),
    "q5_0": (0.002, 0.001),
    "q4_1": (0.005, 0.0022),
    "q4_0": (0.0072, 0.0032),
    "iq4_nl": (0.0072, 0.0032),
}

# Task scores by metric: the share that guessing scores.
_CHANCE = {"avg10_lm_eval": 0.3, "mmlu": 0.25, "ifeval": 0.0, "gsm8k": 0.0}
_FULL_PRECISION = ("BF16", "BF16 (run 1)", "BF16 (run 2)")

Array = npt.NDArray[np.float64]


class ReferenceModel(msgspec.Struct, frozen=True):
    """An entry of `quantized-models.toml`."""

    architecture: Architecture
    few_tokens: bool = False


class LossRow(msgspec.Struct, frozen=True):
    """One published perplexity: ln ratio to the unquantized model, or to Q4_K_M of the same source."""

    model: str
    preset: str
    imatrix: bool
    ln_ratio: float
    to_q4_k_m: bool


class LossReport(msgspec.Struct, frozen=True):
    """How well the fit predicts models it has not seen."""

    rows: int
    models: int
    median_factor: float
    """Of predicted to published ln ratio, whichever is larger over the other."""
    log_error: float
    by_model: dict[str, float]
    task_rows: int
    task_error: float
    """Median absolute error of the share of a score that is kept, in per cent."""


def fit_loss() -> tuple[LossTable, LossReport]:
    """Fit the loss table, judging it by leaving each model out. Needs the engine."""
    rows = read_rows()
    names = sorted({row.model for row in rows})
    by_model = {}
    errors = []
    for name in names:
        x = _fit([row for row in rows if row.model != name])
        own = [_log_error(x, row) for row in rows if row.model == name and row.ln_ratio > FLOOR]
        by_model[name] = float(np.mean(own))
        errors += own
    log_error = math.sqrt(float(np.mean(np.square(errors))))
    x = _fit(rows)
    scale, size_power, noise_power, bit_rate, iq, legacy, imatrix = (float(value) for value in x[:7])
    rate, kept_error, task_rows, task_error = _fit_kept(x)
    table = LossTable(
        scale=math.exp(scale),
        size_power=size_power,
        noise_power=noise_power,
        bit_rate=bit_rate,
        kind_factor={"k": 1.0, "iq": math.exp(iq), "legacy": math.exp(legacy)},
        imatrix_factor=math.exp(imatrix),
        log_error=log_error,
        kept_rate=rate,
        kept_error=kept_error,
        kv_type=KV_TYPES,
    )
    median = math.exp(float(np.median(np.abs(errors))))
    return table, LossReport(len(rows), len(names), median, log_error, by_model, task_rows, task_error)


def read_rows() -> list[LossRow]:
    """The perplexity rows to fit, each published value once."""
    rows = set()
    for row in _csv():
        if row["metric"] not in ("ppl_ratio", "ppl_ratio_vs_best_listed") or row["model"] not in _models():
            continue
        if row["model"] == "Qwen/Qwen2.5-3B-Instruct" and row["quant"].startswith("Q3_K"):
            continue
        if "unverified" in row["notes"].lower() or row["imatrix"].startswith("improved"):
            continue
        if row["quant"] not in PRESETS and row["quant"] not in OTHER_PRESETS:
            continue
        if row["quant"] in ("F16", "BF16"):
            continue
        against = row["metric"] == "ppl_ratio_vs_best_listed"
        if against and row["quant"] == "Q4_K_M":
            continue
        ratio = math.log(float(row["value"]))
        rows.add(LossRow(row["model"], row["quant"], row["imatrix"] == "yes", round(ratio, 3), against))
    return sorted(rows, key=lambda row: (row.model, row.preset, row.imatrix, row.ln_ratio))


def _csv() -> list[dict[str, str]]:
    with LOSSES.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def _models() -> dict[str, ReferenceModel]:
    table = tomllib.loads(MODELS.read_text("utf-8"))["models"]
    return msgspec.convert(table, dict[str, ReferenceModel])


@cache
def _weights(model: str, preset: str, imatrix: bool) -> tuple[tuple[str, float], ...]:
    """Weights by tensor type, as a share of the weights of the blocks; asked from the engine."""
    arch = _models()[model].architecture
    ftype = PRESETS[preset].ftype if preset in PRESETS else OTHER_PRESETS[preset]
    needs = preset in PRESETS and PRESETS[preset].needs_imatrix
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "skeleton.gguf"
        write_skeleton(arch, path)
        plan = _engine().quantize_dry_run(path, ftype, imatrix=imatrix or needs)
    if isinstance(plan, EngineFailure):
        raise RuntimeError(f"{model} at {preset}: {plan.message}")
    names = {name.lower(): name for name in TENSOR_TYPES}
    counts: dict[str, float] = defaultdict(float)
    for tensor in plan.tensors:
        name = names[tensor.type.lower()]
        counts[name] += tensor.bytes * 8 / TENSOR_TYPES[name].bits_per_weight
    body = sum(tensor.n_elements for tensor in tensors(arch) if tensor.name.startswith("blk."))
    return tuple((name, count / body) for name, count in counts.items())


@cache
def _engine() -> Engine:
    return Engine()


@cache
def _billions(model: str) -> float:
    return parameter_count(_models()[model].architecture) / 1e9


def _ln_ratio(x: Array, model: str, preset: str, imatrix: bool) -> float:
    """The form of `advisor.quantization_loss.ln_perplexity_ratio`, over x = what `_fit` fits."""
    scale, size_power, noise_power, bit_rate, iq, legacy, with_imatrix, few_tokens = x[:8]
    factor = {"k": 1.0, "iq": math.exp(iq), "legacy": math.exp(legacy)}
    noise = sum(
        share * factor[kind_of(name)] * math.exp(-bit_rate * TENSOR_TYPES[name].bits_per_weight)
        for name, share in _weights(model, preset, imatrix)
        if TENSOR_TYPES[name].bits_per_weight < 16
    )
    noise *= math.exp(with_imatrix) if imatrix else 1.0
    level = scale + (few_tokens if _models()[model].few_tokens else 0.0)
    return float(math.exp(level) * _billions(model) ** size_power * noise**noise_power)


def _predicted(x: Array, row: LossRow) -> float:
    ratio = _ln_ratio(x, row.model, row.preset, row.imatrix)
    return ratio - _ln_ratio(x, row.model, "Q4_K_M", row.imatrix) if row.to_q4_k_m else ratio


def _log_error(x: Array, row: LossRow, factor: float = 1.0) -> float:
    return math.log(max(_predicted(x, row) * factor, 0) + FLOOR) - math.log(max(row.ln_ratio, 0) + FLOOR)


def _fit(rows: Sequence[LossRow]) -> Array:
    names = sorted({row.model for row in rows})

    def residuals(x: Array) -> Array:
        own = dict(zip(names, x[8:], strict=True))
        errors = [_log_error(x, row, math.exp(own[row.model])) / ROW_ERROR for row in rows]
        return np.array(errors + [value / MODEL_ERROR for value in own.values()])

    start = np.array([3.0, -0.2, 1.5, 1.0, 0.0, 0.3, -0.2, -0.6] + [0.0] * len(names))
    # soft_l1: a few cells of the published tables are plainly misprinted or mismeasured.
    solution = least_squares(residuals, start, loss="soft_l1")
    return np.asarray(solution.x, dtype=np.float64)


def _fit_kept(x: Array) -> tuple[float, float, int, float]:
    """Fit the share of a score that is kept; returns rate, error of ln(rate), rows and error in per cent.

    Scores count above chance. Rows: GGUF quantizations with rounding optimized for the weights ("opt-rtn",
    taken to be worth what an importance matrix is), and 4-bit GPTQ or AWQ at
    groups of 128, plain scales over 4.16 bits, which are taken to cost what Q4_0 costs.
    """
    full: dict[tuple[str, str], list[float]] = {}
    rows = [row for row in _csv() if row["metric"] in _CHANCE and "UNVERIFIED" not in row["notes"]]
    for row in rows:
        if row["quant"] in _FULL_PRECISION:
            full.setdefault((row["model"], row["metric"]), []).append(float(row["value"]))
    found = []
    for row in rows:
        preset, method = row["quant"].partition(" ")[::2]
        base = full.get((row["model"], row["metric"]))
        if row["model"] not in _models() or base is None:
            continue
        if method == "opt-rtn":
            ratio = _ln_ratio(x, row["model"], preset, True)
        elif row["quant"] in ("GPTQ-Int4", "AWQ-Int4"):
            ratio = _ln_ratio(x, row["model"], "Q4_0", False)
        else:
            continue
        chance = 100 * _CHANCE[row["metric"]]
        above = float(np.mean(base)) - chance
        found.append((ratio, (float(row["value"]) - chance) / above, SCORE_ERROR / above))
    ratio, kept, error = np.array(found).T

    def residuals(y: Array) -> Array:
        return np.asarray((np.exp(-math.exp(y[0]) * ratio) - kept) / error)

    rate = math.exp(float(least_squares(residuals, [-0.5], loss="soft_l1").x[0]))
    miss = np.exp(-rate * ratio) - kept
    # Only where the loss stands out of the noise of the scores can a rate be read off a row.
    visible = 1 - kept > 2 * error
    per_row = np.log(-np.log(kept[visible]) / (rate * ratio[visible]))
    return rate, float(per_row.std()), len(kept), 100 * float(np.median(np.abs(miss)))
