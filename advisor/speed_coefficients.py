"""speed.json: the fitted numbers of advisor/speed.py, written by advisor/making/accuracy.py."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec

COEFFICIENTS_FILE = Path(__file__).with_name("speed.json")


class Coefficients(msgspec.Struct, frozen=True):
    """speed.json: what was fitted. Times in seconds; efficiencies are shares of the data sheet's rate."""

    provenance: dict[str, object]
    accelerators: dict[str, AcceleratorCoefficients]
    generations: dict[str, GenerationCoefficients]
    cpu: CpuCoefficients
    nodes: dict[str, float]  # cost of a layer kind in units of an attention layer
    cpu_nodes: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    widening: float


class AcceleratorCoefficients(msgspec.Struct, frozen=True):
    """One backend. `prompt_rate` is in operations per FP32 shader operation, before type and generation."""

    token_s: float
    node_s: float
    efficiency: float
    cache_efficiency: float
    state_efficiency: float
    flops_per_weight: dict[str, float]  # arithmetic of a token, by type
    type_efficiency: dict[str, float]
    native: tuple[str, ...] | None  # types with kernels; the CPU does the others. None: all have
    fallback: float  # time of a type that is left to the CPU, in units of the CPU's
    node_factor: dict[str, float]
    flash_decode: float  # rate with flash attention over rate without
    prompt_s: float
    prompt_rate: float
    prompt_type: dict[str, float]
    prompt_experts: float
    attention_rate: float
    flash_prompt: float


class GenerationCoefficients(msgspec.Struct, frozen=True):
    """A GPU generation, in units of its backend's typical one."""

    decode: float = 1.0
    prompt: float = 1.0
    slow_host: float = 1.0  # overhead of a card on a small board, in units of one in a PC


class CpuCoefficients(msgspec.Struct, frozen=True):
    """Kernels by instruction set: SIMD operations per weight to generate (`decode`) and per prompt token."""

    token_s: float
    node_s: float
    efficiency: dict[str, float]  # by device class, "other" for the rest
    cache_efficiency: float
    decode: dict[str, dict[str, float]]
    prompt: dict[str, dict[str, float]]
    prompt_s: float
    prompt_experts: float
    attention_ops: float
    grab: float  # bytes that a core can fetch in the time of one SIMD operation
    pace: dict[str, float]  # by device class: how far clocks stay up while generating
    prompt_pace: dict[str, float]
    slow_core: float  # worth of an efficiency core, in performance cores
    crowding: float  # growth of the overhead per thread beyond the performance cores


@lru_cache(maxsize=1)
def coefficients() -> Coefficients:
    """The fitted numbers that ship."""
    return msgspec.json.decode(COEFFICIENTS_FILE.read_bytes(), type=Coefficients)
