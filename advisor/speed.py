"""How fast a model runs: prompt processing, token generation and time to first token, at grade `spec`.

Generating a token reads every weight once, so its time is

    overhead + weights / effective bandwidth + KV cache / effective bandwidth + arithmetic

and processing a prompt multiplies every weight with every token, so its time is

    overhead + operations / effective rate + weights / effective bandwidth

with as few numbers beside the data sheet's as published measurements could tell apart. They are in speed.json,
fitted by advisor/making/speed.py; docs/explanation/speed.md says how well they predict chips they have not seen.

Everything here is a sum of positive terms, so more bandwidth is never slower and more depth never faster. What
depends only on the processor and the model is computed once and kept (`_plan`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

from advisor.evidence import Origin, Value
from advisor.load import Load, WeightGroup, load_of
from advisor.processor_tables import GENERATIONS
from advisor.processors import Processor, processors, with_backend
from advisor.speed_coefficients import (
    Coefficients,
    CpuCoefficients,
    GenerationCoefficients,
    coefficients,
)

__all__ = [
    "Load",
    "Processor",
    "SpeedEstimate",
    "estimate_speed",
    "load_of",
    "predict",
    "processors",
    "with_backend",
]

Test = Literal["tg", "pp"]

MIDDLING_CORE = 1e10  # SIMD operations per second
CORE_BEND = 0.7  # wider cores keep less of their width busy: rates count with this power
GPU_SHARPNESS, CPU_SHARPNESS = 2.0, 3.0  # of the rounded maximum of reading weights and computing with them
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


class _Plan(msgspec.Struct, frozen=True):
    """A processor's seconds for a load: constants, and what each position in the cache adds."""

    overhead_s: float
    weights_s: dict[str, float]
    weights_total_s: float
    state_s: float
    cache: tuple[tuple[int | None, float, float], ...]  # window, seconds a position: decode, prompt
    prompt_s: float  # for a prompt
    batch_s: float  # for each micro-batch: reading the weights
    token_s: float  # for each prompt token
    head_s: float  # output head of the last token
    flash: tuple[
        tuple[float, float], tuple[float, float]
    ]  # factors on tg and pp without and with flash attention
    tg: tuple[float, float]  # interval, as factors on the rate
    pp: tuple[float, float]


def estimate_speed(
    processor: Processor,
    load: Load,
    *,
    n_prompt: int,
    n_gen: int,
    depth: int = 0,
    threads: int | None = None,
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
    near = _plan(processor, load, threads if processor.backend in _BY_THREADS else None)
    share = 1.0 if host is None else min(1.0, max(0.0, offload_fraction))
    far = None
    if host is not None and share < 1.0:
        if host.bandwidth_bytes_per_s is None:
            return None
        far = _plan(host, load, threads)
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
    near = _make_plan(fitted, processor, load, threads)
    return _estimate(near, None, 1.0, load, n_prompt, n_gen, depth, 512, flash_attention, processor.guessed)


def _estimate(
    near: _Plan,
    far: _Plan | None,
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
    return SpeedEstimate(
        pp=Value(pp, pp * pp_low, pp * pp_high),
        tg=Value(tg, tg * tg_low, tg * tg_high),
        ttft_s=Value(ttft, ttft / pp_high, ttft / pp_low)
        if n_prompt
        else Value(ttft, ttft / tg_high, ttft / tg_low),
        prompt=prompt,
        decode=decode,
        assumptions=assumptions,
    )


def _decode(near: _Plan, far: _Plan | None, share: float, load: Load, position: float) -> DecodeTerms:
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
    near: _Plan, far: _Plan | None, share: float, load: Load, tokens: int, depth: int, micro_batch: int
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


@lru_cache(maxsize=16384)
def _plan(processor: Processor, load: Load, threads: int | None) -> _Plan:
    return _make_plan(coefficients(), processor, load, threads)


def _make_plan(fitted: Coefficients, processor: Processor, load: Load, threads: int | None) -> _Plan:
    plan = _plan_cpu if processor.backend == "cpu" else _plan_accelerator
    return plan(fitted, processor, load, threads or processor.threads)


def _plan_accelerator(fitted: Coefficients, processor: Processor, load: Load, threads: int) -> _Plan:
    """Terms on a GPU or NPU; a type it has no kernels for costs what it costs on the CPU beside it, and more.

    decode: token_s + nodes x node_s + sum over types of the 2-norm of
            bytes / (efficiency x bandwidth) and weights x flops_per_weight / shader rate
    prompt: prompt_s + operations / (prompt_rate x shader rate) + weights / bandwidth for each micro-batch
    """
    own = fitted.accelerators[processor.backend]
    generation = fitted.generations.get(processor.generation or "", GenerationCoefficients())
    bandwidth = processor.bandwidth_bytes_per_s or 0.0
    flops = processor.shader_flops or bandwidth * typical_intensity(processor)
    rate = bandwidth * own.efficiency * generation.decode
    matrix_rate = flops * own.prompt_rate * generation.prompt
    cores = None if own.native is None else _cores(fitted.cpu, processor, threads)
    p = GPU_SHARPNESS
    weights_s: dict[str, float] = {}
    token_s = head_s = left_s = 0.0
    for group in load.weights:
        if cores is not None and own.native is not None and group.type not in own.native:
            decode, prompt = _cpu_times(fitted.cpu, cores, group)
            weights_s[group.type] = decode * own.fallback
            left_s += (group.weights - group.head_weights) * prompt
        else:
            reading = group.bytes_ / (rate * own.type_efficiency.get(group.type, 1.0))
            computing = group.weights * own.flops_per_weight.get(group.type, 0.0) / flops
            weights_s[group.type] = (reading**p + computing**p) ** (1 / p)
            prompt = 2.0 / (matrix_rate * own.prompt_type.get(group.type, 1.0))
            token_s += (group.weights - group.head_weights) * prompt
        head_s += group.head_weights * prompt
    token_s = token_s * (1.0 + load.expert_share * own.prompt_experts) + left_s
    nodes = sum(
        count * fitted.nodes.get(kind, 1.0) * own.node_factor.get(kind, 1.0) for kind, count in load.nodes
    )
    host = generation.slow_host if processor.slow_host else 1.0
    cache_rate = bandwidth * own.cache_efficiency * generation.decode
    attention_rate = matrix_rate * own.attention_rate
    return _Plan(
        overhead_s=(own.token_s + nodes * own.node_s) * host,
        weights_s=weights_s,
        weights_total_s=sum(weights_s.values()),
        state_s=load.state_bytes / (bandwidth * own.state_efficiency),
        cache=tuple(
            (read.window, read.bytes_per_position / cache_rate, read.flops_per_position / attention_rate)
            for read in load.cache
        ),
        prompt_s=own.prompt_s,
        batch_s=load.prompt_bytes / rate + nodes * own.node_s * host,
        token_s=token_s,
        head_s=head_s,
        flash=(
            (own.flash_decode**-0.5, own.flash_prompt**-0.5),
            (own.flash_decode**0.5, own.flash_prompt**0.5),
        ),
        tg=_interval(fitted, processor, "tg"),
        pp=_interval(fitted, processor, "pp"),
    )


def _plan_cpu(fitted: Coefficients, processor: Processor, load: Load, threads: int) -> _Plan:
    """Terms on CPU cores.

    A type's time is the p-norm of reading it (bytes / bandwidth) and of computing with it (SIMD operations per
    weight / rate of the cores): whichever is slower, rounded where they are alike. Threads beyond the performance
    cores add little and make every thread wait for the slowest.
    """
    own = fitted.cpu
    cores = _cores(own, processor, threads)
    bandwidth = cores.bandwidth
    crowd = 1.0 + own.crowding * max(0, threads - processor.performance_cores)
    weights_s: dict[str, float] = {}
    token_s = head_s = 0.0
    for group in load.weights:
        weights_s[group.type], seconds = _cpu_times(own, cores, group)
        token_s += (group.weights - group.head_weights) * seconds
        head_s += group.head_weights * seconds
    token_s *= 1.0 + load.expert_share * own.prompt_experts
    nodes = sum(count * fitted.cpu_nodes.get(kind, 1.0) for kind, count in load.nodes)
    cache_rate = bandwidth * own.cache_efficiency
    return _Plan(
        overhead_s=(own.token_s + nodes * own.node_s) * crowd,
        weights_s=weights_s,
        weights_total_s=sum(weights_s.values()),
        state_s=load.state_bytes / bandwidth,
        cache=tuple(
            (
                read.window,
                read.bytes_per_position / cache_rate,
                read.flops_per_position * own.attention_ops / cores.prompt_rate,
            )
            for read in load.cache
        ),
        prompt_s=own.prompt_s,
        batch_s=load.prompt_bytes / bandwidth,
        token_s=token_s,
        head_s=head_s,
        flash=((1.0, 1.0), (1.0, 1.0)),
        tg=_interval(fitted, processor, "tg"),
        pp=_interval(fitted, processor, "pp"),
    )


class _Cores(msgspec.Struct, frozen=True):
    """What a number of threads can do: bytes per second, and SIMD operations per second for each test."""

    kernels: str
    bandwidth: float
    rate: float
    prompt_rate: float


def _cores(own: CpuCoefficients, processor: Processor, threads: int) -> _Cores:
    class_ = processor.class_ if processor.class_ in own.pace else "other"
    fast = min(threads, processor.performance_cores)
    slow = max(0, min(threads, processor.cores) - processor.performance_cores)
    core = MIDDLING_CORE * (processor.core_rate / MIDDLING_CORE) ** CORE_BEND * (fast + own.slow_core * slow)
    rate = core * own.pace[class_]
    memory = (processor.bandwidth_bytes_per_s or 0.0) * own.efficiency[class_]
    p = CPU_SHARPNESS
    return _Cores(
        kernels=processor.kernels or "dotprod",
        bandwidth=(memory**-p + (rate * own.grab) ** -p) ** (-1 / p),
        rate=rate,
        prompt_rate=core * own.prompt_pace[class_],
    )


def _cpu_times(own: CpuCoefficients, cores: _Cores, group: WeightGroup) -> tuple[float, float]:
    """Seconds of a group's weights for one token, and of one weight for each token of a prompt."""
    reading = group.bytes_ / cores.bandwidth
    computing = group.weights * own.decode[cores.kernels][group.type] / cores.rate
    p = CPU_SHARPNESS
    return (reading**p + computing**p) ** (1 / p), own.prompt[cores.kernels][group.type] / cores.prompt_rate


def typical_intensity(processor: Processor) -> float:
    """FP32 operations per byte of bandwidth of the processor's generation, for one whose rate is not known."""
    facts = GENERATIONS.get(processor.generation or "")
    return facts.flops_per_byte if facts else 30.0


def _interval(fitted: Coefficients, processor: Processor, test: Test) -> tuple[float, float]:
    """80% interval as factors on the rate: of the class on this backend, of the backend, of all; wider for guesses."""
    keys = (f"{test}/{processor.class_}/{processor.backend}", f"{test}/{processor.backend}", test)
    low, high = next(fitted.intervals[key] for key in keys if key in fitted.intervals)
    for _ in processor.guessed:
        low, high = low / fitted.widening, high * fitted.widening
    return low, high


def _wider(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), max(one[1], other[1])
