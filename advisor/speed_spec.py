"""The plan at grade `spec`: data sheets, and efficiencies fitted on published measurements (advisor/speed.json)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec

from advisor.load import Load
from advisor.processor_tables import GENERATIONS
from advisor.processors import Processor
from advisor.speed_coefficients import (
    AcceleratorCoefficients,
    Coefficients,
    CpuCoefficients,
    GenerationCoefficients,
)
from advisor.speed_plan import Ceiling, Plan
from quantize.types import TENSOR_TYPES

Test = Literal["tg", "pp"]

MIDDLING_CORE = 1e10  # SIMD operations per second
USUAL_KERNELS = "dotprod"  # of a processor whose instruction set is not known
CORE_BEND = 0.7  # wider cores keep less of their width busy: rates count with this power
GPU_SHARPNESS, CPU_SHARPNESS = 2.0, 3.0  # of the rounded maximum of reading weights and computing with them


def make_plan(fitted: Coefficients, processor: Processor, load: Load, threads: int | None = None) -> Plan:
    """Seconds of `load` on `processor` by the fitted numbers; its bandwidth must be known."""
    plan = _plan_cpu if processor.backend == "cpu" else _plan_accelerator
    return plan(fitted, processor, load, threads or processor.threads)


def _plan_accelerator(fitted: Coefficients, processor: Processor, load: Load, threads: int) -> Plan:
    """Terms on a GPU or NPU; a type it has no kernels for costs what it costs on the CPU beside it, and more.

    decode: token_s + nodes x node_s + sum over types of the 2-norm of
            bytes / (efficiency x bandwidth) and weights x flops_per_weight / shader rate
    prompt: prompt_s + operations / (prompt_rate x shader rate) + weights / bandwidth for each micro-batch
    """
    own = fitted.accelerators[processor.backend]
    generation = fitted.generations.get(processor.generation or "", GenerationCoefficients())
    bandwidth = processor.bandwidth_bytes_per_s or 0.0
    rate, matrix_rate = _accelerator_rates(own, generation, processor)
    times = _accelerator_times(fitted, processor, threads)
    weights_s: dict[str, float] = {}
    token_s = head_s = left_s = 0.0
    for group in load.weights:
        decode, prompt = times(group.type)
        weights_s[group.type] = group.bytes_ * decode
        if _is_left_to_cpu(own, group.type):
            left_s += (group.weights - group.head_weights) * prompt
        else:
            token_s += (group.weights - group.head_weights) * prompt
        head_s += group.head_weights * prompt
    token_s = token_s * (1.0 + load.expert_share * own.prompt_experts) + left_s
    nodes = sum(
        count * fitted.nodes.get(kind, 1.0) * own.node_factor.get(kind, 1.0) for kind, count in load.nodes
    )
    host = generation.slow_host if processor.slow_host else 1.0
    cache_rate = bandwidth * own.cache_efficiency * generation.decode
    attention_rate = matrix_rate * own.attention_rate
    return Plan(
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


def _plan_cpu(fitted: Coefficients, processor: Processor, load: Load, threads: int) -> Plan:
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
        decode, prompt = _cpu_times(own, cores, group.type)
        weights_s[group.type] = group.bytes_ * decode
        token_s += (group.weights - group.head_weights) * prompt
        head_s += group.head_weights * prompt
    token_s *= 1.0 + load.expert_share * own.prompt_experts
    nodes = sum(count * fitted.cpu_nodes.get(kind, 1.0) for kind, count in load.nodes)
    cache_rate = bandwidth * own.cache_efficiency
    return Plan(
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
        kernels=processor.kernels or USUAL_KERNELS,
        bandwidth=(memory**-p + (rate * own.grab) ** -p) ** (-1 / p),
        rate=rate,
        prompt_rate=core * own.prompt_pace[class_],
    )


def _cpu_times(own: CpuCoefficients, cores: _Cores, kind: str) -> tuple[float, float]:
    """Seconds of a type for each byte that a token reads, and for each weight and token of a prompt."""
    reading = 1 / cores.bandwidth
    computing = _weights_per_byte(kind) * own.decode[cores.kernels][kind] / cores.rate
    p = CPU_SHARPNESS
    return (reading**p + computing**p) ** (1 / p), own.prompt[cores.kernels][kind] / cores.prompt_rate


def _accelerator_times(
    fitted: Coefficients, processor: Processor, threads: int
) -> Callable[[str], tuple[float, float]]:
    """The same on a GPU or NPU, for any type."""
    own = fitted.accelerators[processor.backend]
    generation = fitted.generations.get(processor.generation or "", GenerationCoefficients())
    flops = processor.shader_flops or (processor.bandwidth_bytes_per_s or 0.0) * typical_intensity(processor)
    rate, matrix_rate = _accelerator_rates(own, generation, processor)
    cores = _cores(fitted.cpu, processor, threads)
    p = GPU_SHARPNESS

    def times(kind: str) -> tuple[float, float]:
        if _is_left_to_cpu(own, kind):
            decode, prompt = _cpu_times(fitted.cpu, cores, kind)
            return decode * own.fallback, prompt
        reading = 1 / (rate * own.type_efficiency.get(kind, 1.0))
        computing = _weights_per_byte(kind) * own.flops_per_weight.get(kind, 0.0) / flops
        return (reading**p + computing**p) ** (1 / p), 2.0 / (matrix_rate * own.prompt_type.get(kind, 1.0))

    return times


def _is_left_to_cpu(own: AcceleratorCoefficients, kind: str) -> bool:
    return own.native is not None and kind not in own.native


def _weights_per_byte(kind: str) -> float:
    return TENSOR_TYPES[kind].block_size / TENSOR_TYPES[kind].type_size


def ceiling(fitted: Coefficients, processor: Processor) -> Ceiling:
    """The terms of `make_plan` that grow with the weights; all others only add time."""
    threads = processor.threads
    times: Callable[[str], tuple[float, float]] = (
        partial(_cpu_times, fitted.cpu, _cores(fitted.cpu, processor, threads))
        if processor.backend == "cpu"
        else _accelerator_times(fitted, processor, threads)
    )
    found = {kind: times(kind) for kind in fitted.cpu.decode[processor.kernels or USUAL_KERNELS]}
    return Ceiling(
        {kind: decode for kind, (decode, _) in found.items()},
        {kind: prompt for kind, (_, prompt) in found.items()},
        _interval(fitted, processor, "tg")[0],
        _interval(fitted, processor, "pp")[0],
    )


def _accelerator_rates(
    own: AcceleratorCoefficients, generation: GenerationCoefficients, processor: Processor
) -> tuple[float, float]:
    """Bytes a second read in decoding and operations a second in prompts, before a type's own factor."""
    bandwidth = processor.bandwidth_bytes_per_s or 0.0
    flops = processor.shader_flops or bandwidth * typical_intensity(processor)
    return bandwidth * own.efficiency * generation.decode, flops * own.prompt_rate * generation.prompt


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
