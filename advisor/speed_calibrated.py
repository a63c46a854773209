"""The plan at grade `calibrated`: rates and overheads that were measured on this very device, type by type.

The formula is the one of grade `spec` (advisor/speed.py): a sum of positive terms. What differs is where its numbers
come from: `BackendCalibration` has them from synthetic models run through the engine, so that a tensor type's rate
contains the kernel, the repacking at load and the bandwidth of this machine at once. docs/explanation/calibration.md
describes the measurements and how well the estimates hold.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import msgspec

from advisor.load import Load, WeightGroup
from advisor.processors import Processor
from advisor.speed_coefficients import coefficients
from advisor.speed_plan import Plan
from advisor.speed_spec import make_plan as spec_plan
from profiles.calibration import BackendCalibration, KindCost, TypeRate

INTERVALS_FILE = Path(__file__).with_name("speed_calibrated.json")

DERIVED_WIDENING = (
    0.25  # of the interval, where all the time is spent in types that were not measured themselves
)
LARGEST_TAIL = 0.5  # of the weights that a prompt needs for its last token only
HALF_BLOCK = 0.5  # of the last block's other operations, which a prompt needs for its last token only
_WITH_STATE = frozenset({"mamba2", "deltanet", "shortconv", "parallel"})


class Intervals(msgspec.Struct, frozen=True):
    """speed_calibrated.json: 80% intervals as factors on the rate, with how they were obtained."""

    tg: tuple[float, float]
    pp: tuple[float, float]
    provenance: dict[str, object]


@lru_cache(maxsize=1)
def intervals() -> Intervals:
    """The intervals that ship."""
    return msgspec.json.decode(INTERVALS_FILE.read_bytes(), type=Intervals)


def make_plan(
    processor: Processor, load: Load, threads: int | None = None, threads_batch: int | None = None
) -> Plan | None:
    """Seconds of `load` on a calibrated processor; None where it does not say: no calibration, other threads.

    Without `threads` it is judged with those that were fastest; without `threads_batch` prompts run with `threads`.
    """
    own = processor.calibration
    if own is None:
        return None
    generating = thread_factor(own, threads or own.threads, prompt=False)
    reading = thread_factor(own, threads_batch or threads or own.threads_batch, prompt=True)
    if generating is None or reading is None:
        return None
    kinds = _kinds(own)
    blocks = sum(count for kind, count in load.nodes if kind != "experts")
    weights_s: dict[str, float] = {}
    token_s = head_s = batch_s = derived_s = weights = 0.0
    for group in load.weights:
        rate = _rate(own, group.type)
        seconds = group_s(load, group, rate)
        weights_s[group.type] = seconds * generating
        batch_s += rate.batch_share * seconds
        derived_s += seconds if rate.derived_from is not None else 0.0
        inner = group.weights - group.head_weights
        weights += inner
        token_s += inner / rate.prompt_weights_per_s
        head_s += group.head_weights / rate.prompt_weights_per_s
    total = sum(weights_s.values())
    if weights:
        token_s *= 1.0 - min(LARGEST_TAIL, load.tail_weights / weights)
    experts = (
        kinds["experts"].prompt_factor if "experts" in kinds else 1.0 + coefficients().cpu.prompt_experts
    )
    token_s *= 1.0 + load.expert_share * (experts - 1.0)
    spec = spec_plan(coefficients(), processor, load)
    overhead_s, state_s = own.token_s, 0.0
    for kind, count in load.nodes:
        cost = kinds.get(kind)
        if cost is None:  # not measured: in the proportion that published measurements show
            overhead_s += count * own.block_s * coefficients().cpu_nodes.get(kind, 1.0)
            state_s = state_s or (spec.state_s if kind in _WITH_STATE else 0.0)
            continue
        overhead_s += count * ((0.0 if kind == "experts" else own.block_s) + cost.block_s)
        state_s = max(state_s, load.state_bytes * cost.state_s_per_byte)
        token_s += load.state_bytes * cost.prompt_state_s_per_byte
    token_s += max(0.0, blocks - HALF_BLOCK) * load.n_embd * own.element_s
    off, on = spec.flash
    unsure = 1.0 + DERIVED_WIDENING * (derived_s * generating / total if total else 1.0)
    return Plan(
        overhead_s=overhead_s * generating,
        weights_s=weights_s,
        weights_total_s=total,
        state_s=state_s * generating,
        cache=tuple(
            (
                read.window,
                generating
                * (
                    read.heads * own.head_s
                    + read.flops_per_position * own.attention_s_per_flop
                    + read.bytes_per_position * own.cache_s_per_byte
                ),
                reading * read.flops_per_position / own.prompt_attention_flops,
            )
            for read in load.cache
        ),
        prompt_s=own.token_s * reading,
        batch_s=batch_s * reading,
        token_s=token_s * reading,
        head_s=head_s * reading,
        # Measured with flash attention where the engine has it for this backend, which it does by default.
        flash=((off[0] / on[0], off[1] / on[1]), (1.0, 1.0)),
        tg=_widened(intervals().tg, unsure),
        pp=_widened(intervals().pp, unsure),
        evidence="calibrated",
    )


def group_s(load: Load, group: WeightGroup, rate: TypeRate) -> float:
    """Seconds to generate a token with a group's weights: reading and multiplying them, and a bit for each row."""
    rows = (group.weights - group.head_weights) / (load.row_length or load.n_embd or 1)
    rows += group.head_weights / (load.n_embd or 1)
    return group.bytes_ / rate.decode_bytes_per_s + rows * rate.row_s


def thread_factor(own: BackendCalibration, threads: int, *, prompt: bool) -> float | None:
    """Time with `threads` in units of the time with the best; None outside of what was measured.

    Between two measured numbers of threads it is the straight line of the logarithms.
    """
    best = own.threads_batch if prompt else own.threads
    if threads == best:
        return 1.0
    rates = {
        rate.threads: (rate.pp_tokens_per_s if prompt else rate.tg_tokens_per_s) for rate in own.by_threads
    }
    if best not in rates or not rates or not min(rates) <= threads <= max(rates):
        return None
    if threads in rates:
        return rates[best] / rates[threads]
    below = max(n for n in rates if n < threads)
    above = min(n for n in rates if n > threads)
    share = math.log(threads / below) / math.log(above / below)
    between: float = rates[below] ** (1 - share) * rates[above] ** share
    return rates[best] / between


@lru_cache(maxsize=64)
def _rates(own: BackendCalibration) -> dict[str, TypeRate]:
    return {rate.type: rate for rate in own.types}


def _rate(own: BackendCalibration, kind: str) -> TypeRate:
    """A type's rate; for a type that a later version of llama.cpp brought, the slowest there is."""
    rates = _rates(own)
    rate = rates.get(kind)
    if rate is None:
        slowest = min(rates.values(), key=lambda rate: rate.decode_bytes_per_s)
        rate = msgspec.structs.replace(slowest, type=kind, derived_from=slowest.type)
    return rate


@lru_cache(maxsize=64)
def _kinds(own: BackendCalibration) -> dict[str, KindCost]:
    return {cost.kind: cost for cost in own.kinds}


def _widened(interval: tuple[float, float], factor: float) -> tuple[float, float]:
    return interval[0] / factor, interval[1] * factor
