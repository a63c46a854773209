"""How fast a model runs: prompt processing, token generation and time to first token.

Generating a token reads every weight once, so its time is

    overhead + weights / effective bandwidth + KV cache / effective bandwidth + arithmetic

and processing a prompt multiplies every weight with every token, so its time is

    overhead + operations / effective rate + weights / effective bandwidth

with as few numbers beside the data sheet's as published measurements could tell apart. They are in speed.json,
fitted by advisor/making/speed.py; docs/explanation/speed.md says how well they predict chips they have not seen.

A processor that was calibrated has its terms from what was measured there instead (advisor/speed_calibrated.py).

Everything here is a sum of positive terms, so more bandwidth is never slower and more depth never faster. What
depends only on the processor and the model is computed once and kept (`_plan`).
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from advisor.evidence import Origin, Value, worse
from advisor.load import Load, load_of
from advisor.processors import Processor, processors, with_backend
from advisor.speed_calibrated import make_plan as calibrated_plan
from advisor.speed_coefficients import Coefficients, coefficients
from advisor.speed_plan import NO_CEILING, Ceiling, Plan
from advisor.speed_spec import ceiling, make_plan

__all__ = [
    "Load",
    "Processor",
    "SpeedEstimate",
    "estimate_speed",
    "load_of",
    "predict",
    "processors",
    "speed_ceiling",
    "with_backend",
]

_BY_THREADS = frozenset({"cpu", "opencl", "hexagon"})  # backends whose plan depends on the number of threads
TYPICAL_PROMPT = 512  # tokens, for the prompt rate of a request that has none
_LINK_BYTES_PER_S = 12e9  # host memory to a discrete accelerator, PCIe 4.0 x8


class DecodeTerms(msgspec.Struct, frozen=True):
    """Seconds for one generated token, by what they are spent on."""

    overhead_s: float
    weights_s: dict[str, float]
    state_s: float
    kv_cache_s: float
    transfer_s: float
    total_s: float


class PromptTerms(msgspec.Struct, frozen=True):
    """Seconds for the whole prompt, by what they are spent on."""

    overhead_s: float
    matrices_s: float
    attention_s: float
    weights_s: float
    transfer_s: float
    total_s: float


class SpeedEstimate(msgspec.Struct, frozen=True):
    """Tokens per second of prompt processing and token generation, and seconds to the first token."""

    pp: Value
    tg: Value
    ttft_s: Value
    prompt: PromptTerms
    decode: DecodeTerms
    assumptions: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()  # the measurements that pp and tg rest on, where there are any


def estimate_speed(
    processor: Processor,
    load: Load,
    *,
    n_prompt: int,
    n_gen: int,
    depth: int = 0,
    threads: int | None = None,
    threads_batch: int | None = None,
    offload_fraction: float = 1.0,
    host: Processor | None = None,
    micro_batch: int = 512,
    flash_attention: bool | None = None,
) -> SpeedEstimate | None:
    """Speed of a request of `n_prompt` tokens and `n_gen` to answer, with `depth` tokens already in the cache.

    Token generation is judged in the middle of the answer, position depth + n_prompt + n_gen/2. The part of the
    model that is not offloaded (1 - `offload_fraction`) runs on `host`; the times add up. `flash_attention` None is
    the middle of on and off. None when the bandwidth of a processor that is needed is not known.
    """
    if processor.bandwidth_bytes_per_s is None:
        return None
    by_threads = processor.backend in _BY_THREADS
    near = _plan(processor, load, threads if by_threads else None, threads_batch if by_threads else None)
    share = 1.0 if host is None else min(1.0, max(0.0, offload_fraction))
    far = None
    if host is not None and share < 1.0:
        if host.bandwidth_bytes_per_s is None:
            return None
        far = _plan(host, load, threads, threads_batch)
    return _estimate(
        near, far, share, load, n_prompt, n_gen, depth, micro_batch, flash_attention, processor.guessed
    )


def predict(
    fitted: Coefficients,
    processor: Processor,
    load: Load,
    *,
    n_prompt: int,
    n_gen: int,
    depth: int = 0,
    threads: int | None = None,
    flash_attention: bool | None = None,
) -> SpeedEstimate:
    """`estimate_speed` with other coefficients than those that ship, without keeping anything; for judging a fit."""
    near = make_plan(fitted, processor, load, threads)
    return _estimate(near, None, 1.0, load, n_prompt, n_gen, depth, 512, flash_attention, processor.guessed)


def _estimate(
    near: Plan,
    far: Plan | None,
    share: float,
    load: Load,
    n_prompt: int,
    n_gen: int,
    depth: int,
    micro_batch: int,
    flash_attention: bool | None,
    assumptions: tuple[str, ...],
) -> SpeedEstimate:
    decode = _decode(near, far, share, load, depth + n_prompt + n_gen / 2)
    tokens = n_prompt or TYPICAL_PROMPT
    prompt = _prompt(near, far, share, load, tokens, depth, micro_batch)
    tg, pp = 1 / decode.total_s, tokens / prompt.total_s
    if flash_attention is not None:
        tg, pp = tg * near.flash[flash_attention][0], pp * near.flash[flash_attention][1]
    ttft = (n_prompt / pp if n_prompt else 0.0) + 1 / tg
    tg_low, tg_high = near.tg if far is None else _wider(near.tg, far.tg)
    pp_low, pp_high = near.pp if far is None else _wider(near.pp, far.pp)
    grade = near.evidence if far is None else worse(near.evidence, far.evidence)
    return SpeedEstimate(
        pp=Value(pp, pp * pp_low, pp * pp_high, grade),
        tg=Value(tg, tg * tg_low, tg * tg_high, grade),
        ttft_s=Value(ttft, ttft / pp_high, ttft / pp_low, grade)
        if n_prompt
        else Value(ttft, ttft / tg_high, ttft / tg_low, grade),
        prompt=prompt,
        decode=decode,
        assumptions=assumptions,
    )


def _decode(near: Plan, far: Plan | None, share: float, load: Load, position: float) -> DecodeTerms:
    """Time of one token at `position`: constants of the plan, and the cache up to there."""
    kv = 0.0
    for window, seconds, _ in near.cache:
        kv += seconds * (position if window is None or position < window else window)
    if far is None:
        overhead, weights, state, transfer = near.overhead_s, near.weights_s, near.state_s, 0.0
        total_weights = near.weights_total_s
    else:
        rest = 1.0 - share
        overhead = near.overhead_s + rest * far.overhead_s
        weights = {
            kind: share * seconds + rest * far.weights_s[kind] for kind, seconds in near.weights_s.items()
        }
        total_weights = share * near.weights_total_s + rest * far.weights_total_s
        state = share * near.state_s + rest * far.state_s
        kv_far = 0.0
        for window, seconds, _ in far.cache:
            kv_far += seconds * (position if window is None or position < window else window)
        kv = share * kv + rest * kv_far
        transfer = 8.0 * load.n_embd / _LINK_BYTES_PER_S + 50e-6
    total = overhead + total_weights + state + kv + transfer
    return DecodeTerms(overhead, weights, state, kv, transfer, total)


def _prompt(
    near: Plan, far: Plan | None, share: float, load: Load, tokens: int, depth: int, micro_batch: int
) -> PromptTerms:
    """Time of a prompt: attention sees `depth` + half of the prompt on average; a micro-batch reads all weights."""
    batches = -(-tokens // micro_batch)
    middle = depth + tokens / 2
    attention = 0.0
    for window, _, seconds in near.cache:
        attention += seconds * (middle if window is None or middle < window else window)
    attention *= tokens
    matrices = tokens * near.token_s + near.head_s
    reading = batches * near.batch_s
    overhead = near.prompt_s
    transfer = 0.0
    if far is not None:
        rest = 1.0 - share
        # The engine copies host weights to the accelerator for a large batch, where that is faster.
        host_s = tokens * far.token_s + far.head_s + batches * far.batch_s
        transfer = rest * min(host_s, batches * load.prompt_bytes / _LINK_BYTES_PER_S + matrices)
        matrices *= share
        reading *= share
        overhead += rest * far.prompt_s
    total = overhead + matrices + attention + reading + transfer
    return PromptTerms(overhead, matrices, attention, reading, transfer, total)


@lru_cache(maxsize=1024)
def speed_ceiling(processor: Processor) -> Ceiling:
    """What no load exceeds on a processor. A calibration may say otherwise than data sheets: then there is none."""
    if processor.calibration is not None or processor.bandwidth_bytes_per_s is None:
        return NO_CEILING
    return ceiling(coefficients(), processor)


@lru_cache(maxsize=16384)
def _plan(processor: Processor, load: Load, threads: int | None, threads_batch: int | None) -> Plan:
    """The plan of the best grade there is for these threads."""
    plan = calibrated_plan(processor, load, threads, threads_batch)
    return plan or make_plan(coefficients(), processor, load, threads)


def _wider(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), max(one[1], other[1])
