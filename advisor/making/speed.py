"""Fits advisor/speed.json: solves the four fits and turns parameters into what the run time reads.

`python -m advisor.making.accuracy --write` runs it, judges it and writes the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from advisor.making.fitting import Vector, fit
from advisor.making.measurements import Measurement
from advisor.making.speed_fits import CpuDecodeFit, CpuPromptFit, DecodeFit, PromptFit
from advisor.making.speed_priors import (
    ACCELERATORS,
    CPU_CLASSES,
    KERNELS,
    KIND_OF_TYPE,
    KINDS,
    LAYER_COSTS,
    NATIVE_KINDS,
    decode_kernels,
    vendor_of,
)
from advisor.processor_tables import GENERATIONS
from advisor.speed_coefficients import (
    AcceleratorCoefficients,
    Coefficients,
    CpuCoefficients,
    GenerationCoefficients,
)

WIDENING = 1.25  # of an interval, for each number that stands in for an unknown one; not fitted
Named = dict[str, float]


@dataclass(frozen=True)
class Fitted:
    """Parameters by name, all logarithms."""

    decode: Named
    prompt: Named
    cpu_decode: Named
    cpu_prompt: Named


def fit_all(rows: Sequence[Measurement], start: Fitted | None = None) -> Fitted:
    """All four fits; `start` gives parameters to begin from, which only saves time."""

    def chosen(test: str, cpu: bool) -> list[Measurement]:
        return [row for row in rows if row.test == test and (row.processor.backend == "cpu") is cpu]

    cpu_decode = CpuDecodeFit(chosen("tg", True))
    cpu_theta = _solve(cpu_decode, start.cpu_decode if start else None)
    cpu_prompt = CpuPromptFit(chosen("pp", True), cpu_theta)
    cpu_prompt_theta = _solve(cpu_prompt, start.cpu_prompt if start else None)
    decode = DecodeFit(chosen("tg", False), cpu_theta)
    theta = _solve(decode, start.decode if start else None)
    prompt = PromptFit(chosen("pp", False), theta, cpu_prompt_theta, cpu_theta)
    return Fitted(
        decode=_named(decode, theta),
        prompt=_named(prompt, _solve(prompt, start.prompt if start else None)),
        cpu_decode=_named(cpu_decode, cpu_theta),
        cpu_prompt=_named(cpu_prompt, cpu_prompt_theta),
    )


AnyFit = DecodeFit | PromptFit | CpuDecodeFit | CpuPromptFit


def _solve(model: AnyFit, start: Named | None) -> Vector:
    begin = None if start is None else np.array([start[name] for name in model.parameters.index])
    return fit(model.parameters, model.log_time, model.table.log_time, model.table.weight, begin)


def _named(model: AnyFit, theta: Vector) -> Named:
    return {name: float(theta[place]) for name, place in model.parameters.index.items()}


def coefficients_of(
    fitted: Fitted, intervals: dict[str, tuple[float, float]], provenance: dict[str, object]
) -> Coefficients:
    """What the run time reads, from parameters by name."""
    decode, cpu = fitted.decode, fitted.cpu_decode
    return Coefficients(
        provenance=provenance,
        accelerators={name: _accelerator(name, decode, fitted.prompt) for name in ACCELERATORS},
        generations={name: _of_generation(name, decode, fitted.prompt) for name in GENERATIONS},
        cpu=_cpu(cpu, fitted.cpu_prompt),
        nodes={kind: _exp(decode["layer/" + kind]) for kind in LAYER_COSTS},
        cpu_nodes={kind: _exp(cpu["layer/" + kind]) for kind in LAYER_COSTS},
        intervals=intervals,
        widening=WIDENING,
    )


def _accelerator(name: str, decode: Named, prompt: Named) -> AcceleratorCoefficients:
    computes = name not in NATIVE_KINDS
    return AcceleratorCoefficients(
        token_s=_exp(decode["token"] + decode["token/" + name]),
        node_s=_exp(decode["node"] + decode["node/" + name]),
        efficiency=_exp(decode["efficiency/" + name]),
        cache_efficiency=_exp(decode["cache/" + name]),
        state_efficiency=_exp(decode["state"]),
        flops_per_weight=_by_type(
            lambda kind: _exp(decode["ops"] + decode["ops/" + kind]) if computes else 0.0
        ),
        type_efficiency=_by_type(lambda kind: _exp(decode["type/" + kind] + decode[f"type/{name}/{kind}"])),
        native=_native(name),
        fallback=_exp(decode["fallback"]),
        node_factor={"deltanet": _exp(decode["deltanet/" + name])},
        flash_decode=_exp(decode["flash/" + name]),
        prompt_s=_exp(prompt["start"]),
        prompt_rate=_exp(prompt["rate/" + name]),
        prompt_type=_by_type(lambda kind: _exp(prompt["type/" + kind] + prompt[f"type/{name}/{kind}"])),
        prompt_experts=_exp(prompt["experts"]),
        attention_rate=_exp(prompt["attention"]),
        flash_prompt=_exp(prompt["flash/" + name]),
    )


def _native(name: str) -> tuple[str, ...] | None:
    kinds = NATIVE_KINDS.get(name)
    return None if kinds is None else tuple(t for t, kind in KIND_OF_TYPE.items() if kind in kinds)


def _of_generation(name: str, decode: Named, prompt: Named) -> GenerationCoefficients:
    return GenerationCoefficients(
        decode=_exp(decode["generation/" + name] + decode["vendor/" + vendor_of(name)]),
        prompt=_exp(prompt["generation/" + name]),
        slow_host=_exp(decode["host/" + vendor_of(name)]),
    )


def _cpu(decode: Named, prompt: Named) -> CpuCoefficients:
    classes = (*CPU_CLASSES, "other")

    def ops(fitted: Named, kernels: str) -> dict[str, float]:
        common = fitted["kernels/" + kernels]
        return _by_type(lambda kind: _exp(common + fitted["type/" + kind] + fitted[f"type/{kernels}/{kind}"]))

    return CpuCoefficients(
        token_s=_exp(decode["token"]),
        node_s=_exp(decode["node"]),
        efficiency={name: _exp(decode["efficiency"] + decode["efficiency/" + name]) for name in classes},
        cache_efficiency=_exp(decode["cache"]),
        decode={name: ops(decode, decode_kernels(name)) for name in KERNELS},
        prompt={name: ops(prompt, name) for name in KERNELS},
        prompt_s=_exp(prompt["start"]),
        prompt_experts=_exp(prompt["experts"]),
        attention_ops=_exp(prompt["attention"]),
        grab=_exp(decode["grab"]),
        pace={name: _exp(decode["pace/" + name]) for name in classes},
        prompt_pace={name: _exp(prompt["pace/" + name]) for name in classes},
        slow_core=_exp(decode["slow"]),
        crowding=_exp(decode["crowding"]),
    )


def _exp(value: float) -> float:
    """Four digits: more would say more than the fit knows."""
    return float(f"{math.exp(value):.4g}")


def _by_type(value: Callable[[str], float]) -> dict[str, float]:
    by_kind = {kind: value(kind) for kind in KINDS}
    return {name: by_kind[kind] for name, kind in KIND_OF_TYPE.items()}
