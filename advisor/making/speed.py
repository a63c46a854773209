"""Fits advisor/speed.json on published measurements. `make accuracy` judges it (advisor/making/accuracy.py).

Four fits, each of a formula in advisor/speed.py with its time in logarithms: token generation and prompt processing,
on accelerators and on CPUs. A row counts with 1/sqrt(rows of its chip), so that a chip with a hundred rows does not
speak for its class; the loss is linear in the tails, since a published number may be of a misconfigured machine.
Shrinkage (see fitting.py) is what lets one formula serve a backend with fifty chips and one with a single phone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from advisor.making.fitting import Index, Parameters, Vector, fit
from advisor.making.measurements import Measurement
from advisor.processors import GENERATIONS
from advisor.speed import (
    CORE_BEND,
    CPU_SHARPNESS,
    GPU_SHARPNESS,
    MIDDLING_CORE,
    AcceleratorCoefficients,
    Coefficients,
    CpuCoefficients,
    GenerationCoefficients,
)
from quantize.types import TENSOR_TYPES

# Tensor types whose kernels are alike share what one of them was measured at.
GROUPS = {
    "F16": "float", "BF16": "float", "F32": "float", "F64": "float", "Q8_0": "Q8", "Q8_1": "Q8", "Q8_K": "Q8",
    "Q4_0": "Q4_0", "Q4_1": "Q4_0", "IQ4_NL": "IQ4", "IQ4_XS": "IQ4", "MXFP4": "MXFP4", "NVFP4": "MXFP4",
    "Q5_0": "Q5_0", "Q5_1": "Q5_0", "Q4_K": "Q4_K", "Q5_K": "Q5_K", "Q6_K": "Q6_K", "Q3_K": "Q3_K", "Q2_K": "Q2_K",
    "IQ3_S": "IQ3", "IQ3_XXS": "IQ3", "IQ2_S": "IQ2", "IQ2_XS": "IQ2", "IQ2_XXS": "IQ2", "IQ1_S": "IQ1", "IQ1_M": "IQ1",
}  # fmt: skip
KINDS = sorted(set(GROUPS.values()))
ACCELERATORS = ("cuda", "rocm", "vulkan", "metal", "sycl", "opencl", "hexagon")
PHONE_BACKENDS = ("opencl", "hexagon")  # their kernels differ by type as those of a CPU do
NODE_KINDS = ("deltanet", "mamba2", "shortconv", "parallel", "ffn", "experts")
KERNELS = ("x86", "sse", "i8mm", "dotprod", "neon", "scalar")
CPU_CLASSES = ("phone", "sbc", "laptop", "desktop-cpu", "server-cpu", "apple", "tablet", "jetson")
# No kernels of their own in the OpenCL and Hexagon backends (llama.cpp docs/backend): the CPU or a slow path runs them.
_SLOW_ON_PHONES = frozenset({"Q2_K", "Q3_K", "Q5_0", "IQ1", "IQ2", "IQ3"})

# SIMD operations per weight: a prior from counting the instructions of ggml's kernels, coarse
_CPU_DECODE = {
    "float": 0.4, "Q8": 0.35, "Q4_0": 0.3, "IQ4": 0.4, "MXFP4": 0.5, "Q5_0": 0.5, "Q4_K": 0.35, "Q5_K": 0.45, "Q6_K": 0.5,
    "Q3_K": 0.6, "Q2_K": 0.5, "IQ3": 1.0, "IQ2": 1.0, "IQ1": 1.0,
}  # fmt: skip
_NODE_PRIOR = {"deltanet": 2.0, "mamba2": 2.0, "shortconv": 0.7, "parallel": 2.5, "ffn": 0.5, "experts": 0.7}


class Table:
    """Measurements of one test as arrays; `mask` picks rows without building it again."""

    def __init__(self, rows: Sequence[Measurement]) -> None:
        self.rows = rows
        number = len(rows)
        chips = Counter(row.chip for row in rows)
        weights = np.array([row.weight / math.sqrt(chips[row.chip]) for row in rows])
        self.weight: Vector = weights * (0.5 * number / weights.sum())
        self.log_time: Vector = -np.log([row.rate for row in rows])
        self.bandwidth = self._of(lambda row: row.processor.bandwidth_bytes_per_s or 0.0)
        self.flops = self._of(lambda row: row.processor.shader_flops or typical_flops(row))
        self.bytes_ = np.zeros((number, len(KINDS)))
        self.weights = np.zeros((number, len(KINDS)))
        self.body = np.zeros((number, len(KINDS)))  # without the output head
        self.nodes = np.zeros((number, 1 + len(NODE_KINDS)))
        for i, row in enumerate(rows):
            for group in row.load.weights:
                kind = KINDS.index(GROUPS[group.type])
                self.bytes_[i, kind] += group.bytes_
                self.weights[i, kind] += group.weights
                self.body[i, kind] += group.weights - group.head_weights
            for name, count in row.load.nodes:
                self.nodes[i, 1 + NODE_KINDS.index(name) if name in NODE_KINDS else 0] += count
        self.state = self._of(lambda row: row.load.state_bytes)
        self.prompt_bytes = self._of(lambda row: row.load.prompt_bytes)
        self.expert_share = self._of(lambda row: row.load.expert_share)
        self.tokens = self._of(lambda row: float(row.n_prompt or 512))
        self.flash = self._of(lambda row: {True: 0.5, False: -0.5}.get(row.flash_attention, 0.0))  # type: ignore[call-overload]
        reads = [cache_at(row) for row in rows]
        self.cache_bytes = np.array([read[0] for read in reads])
        self.cache_flops = np.array([read[1] for read in reads])

    def _of(self, value: object) -> Vector:
        return np.array([value(row) for row in self.rows], float)  # type: ignore[operator]

    def places(self, parameters: Parameters, name: object, mean: float, deviation: float) -> Index:
        """For each row the parameter whose name `name(row)` gives."""
        return np.array([parameters.add(name(row), mean, deviation) for row in self.rows])  # type: ignore[operator]


def typical_flops(row: Measurement) -> float:
    facts = GENERATIONS.get(row.processor.generation or "")
    return (facts.flops_per_byte if facts else 30.0) * (row.processor.bandwidth_bytes_per_s or 0.0)


def cache_at(row: Measurement) -> tuple[float, float]:
    """Cache bytes and operations of a token at the middle of the test."""
    middle = row.depth + (row.n_prompt + row.n_gen / 2 if row.test == "tg" else row.n_prompt / 2)
    bytes_ = flops = 0.0
    for read in row.load.cache:
        seen = middle if read.window is None else min(middle, read.window)
        bytes_ += read.bytes_per_position * seen
        flops += read.flops_per_position * seen
    return bytes_, flops


def _exp(values: Vector) -> Vector:
    return np.exp(values)


def vendor_of(generation: str | None) -> str:
    """Cards of one maker share a driver stack: a generation that nobody measured is like its maker's others."""
    if generation in ("xe-igpu", "alchemist", "battlemage"):
        return "intel"
    if generation is not None and generation.startswith(("rdna", "gcn", "vega", "cdna")):
        return "amd"
    return "other"


class DecodeFit:
    """Token generation on accelerators: `_plan_accelerator` of advisor/speed.py."""

    def __init__(self, rows: Sequence[Measurement], options: dict[str, float] | None = None) -> None:
        self.table = table = Table(rows)
        self.parameters = p = Parameters()
        o = options or {}
        backend = lambda prefix: lambda row: prefix + row.processor.backend  # noqa: E731
        self.token0, self.node0 = p.add("token", math.log(0.6e-3), 1.0), p.add("node", math.log(40e-6), 1.0)
        for name in ACCELERATORS:
            self._backend(p, name)
        for name in GENERATIONS:
            p.add("generation/" + name, 0, o.get("generation", 0.12))
            p.add("vendor/" + vendor_of(name), math.log(0.8) if vendor_of(name) == "intel" else 0, 0.15)
            p.add("slow host/" + vendor_of(name), math.log(1.2 if vendor_of(name) == "other" else 2.5), 0.4)
        self.token = table.places(p, backend("token/"), 0, 0.7)
        self.node = table.places(p, backend("node/"), 0, 0.5)
        self.efficiency = table.places(p, backend("efficiency/"), math.log(0.8), 0.2)
        self.cache = table.places(p, backend("cache/"), math.log(0.5), 0.5)
        self.generation = table.places(
            p, lambda row: f"generation/{row.processor.generation}", 0, o.get("generation", 0.12)
        )
        self.kind = [p.add("type/" + kind, 0, 0.1) for kind in KINDS]
        self.own = np.array(
            [[p.index[f"type/{row.processor.backend}/{kind}"] for kind in KINDS] for row in rows]
        )
        self.common_ops = p.add("ops", math.log(3.0), 0.5)
        self.ops = [p.add("ops/" + kind, 0, 0.4) for kind in KINDS]
        self.state = p.add("state", math.log(0.4), 0.5)
        self.node_kind = [p.add("kind/" + kind, math.log(_NODE_PRIOR[kind]), 0.4) for kind in NODE_KINDS]
        self.own_delta = np.array([p.index[f"kind/{row.processor.backend}/deltanet"] for row in rows])
        self.vendor = table.places(p, lambda row: "vendor/" + vendor_of(row.processor.generation), 0, 0.15)
        self.host = np.array([p.index["slow host/" + vendor_of(row.processor.generation)] for row in rows])
        self.slow_host = np.array([row.processor.slow_host for row in rows], float)
        self.flash = table.places(p, backend("flash/"), 0, 0.1)
        self.compute = np.array([row.processor.backend not in PHONE_BACKENDS for row in rows], float)

    @staticmethod
    def _backend(p: Parameters, name: str) -> None:
        """All parameters of a backend exist, measured or not, so that the table that ships has no holes."""
        phone = name in PHONE_BACKENDS
        p.add("token/" + name, 0, 0.7)
        p.add("node/" + name, math.log(2.0) if phone else 0, 0.5)
        p.add("efficiency/" + name, math.log(0.4 if phone else 0.8), 0.2)
        p.add("cache/" + name, math.log(0.5), 0.5)
        p.add("flash/" + name, 0, 0.1)
        p.add(
            f"kind/{name}/deltanet",
            math.log(2) if name in PHONE_BACKENDS else 0,
            1.0 if name in PHONE_BACKENDS else 1e-6,
        )
        for kind in KINDS:
            p.add(
                f"type/{name}/{kind}",
                math.log(0.5) if phone and kind in _SLOW_ON_PHONES else 0,
                0.7 if phone else 0.1,
            )

    def log_time(self, theta: Vector, mask: Vector | slice = slice(None)) -> Vector:
        t = self.table
        kinds = _exp(theta[self.node_kind])
        nodes = t.nodes[mask] @ np.concatenate([[1.0], kinds])
        delta = t.nodes[mask, 1] * kinds[0]
        nodes = nodes + delta * (_exp(theta[self.own_delta[mask]]) - 1)
        overhead = _exp(theta[self.token0] + theta[self.token[mask]])
        overhead = overhead + nodes * _exp(theta[self.node0] + theta[self.node[mask]])
        overhead = overhead * _exp(theta[self.host[mask]] * self.slow_host[mask])
        speed = t.bandwidth[mask] * _exp(theta[self.generation[mask]] + theta[self.vendor[mask]])
        rate = speed * _exp(theta[self.efficiency[mask]])
        reading = t.bytes_[mask] * _exp(-theta[self.kind] - theta[self.own[mask]]) / rate[:, None]
        computing = (
            t.weights[mask]
            * _exp(theta[self.common_ops] + theta[self.ops])
            * (self.compute / t.flops)[mask, None]
        )
        time = overhead + ((reading**GPU_SHARPNESS + computing**GPU_SHARPNESS) ** (1 / GPU_SHARPNESS)).sum(1)
        time = time + t.cache_bytes[mask] / (speed * _exp(theta[self.cache[mask]]))
        time = time + t.state[mask] / (t.bandwidth[mask] * _exp(theta[self.state]))
        return np.log(time) - theta[self.flash[mask]] * t.flash[mask]


class PromptFit:
    """Prompt processing on accelerators, given the decode fit (its efficiency says how long reading takes)."""

    def __init__(
        self,
        rows: Sequence[Measurement],
        decode: DecodeFit,
        theta: Vector,
        options: dict[str, float] | None = None,
    ) -> None:
        self.table = table = Table(rows)
        self.parameters = p = Parameters()
        o = options or {}
        backend = lambda prefix: lambda row: prefix + row.processor.backend  # noqa: E731
        for name in ACCELERATORS:
            p.add("rate/" + name, _PROMPT_PRIOR[name], 0.4)
            p.add("flash/" + name, 0, 0.1)
            for kind in KINDS:
                phone = name in PHONE_BACKENDS
                p.add(
                    f"type/{name}/{kind}",
                    math.log(0.5) if phone and kind in _SLOW_ON_PHONES else 0,
                    0.7 if phone else 0.1,
                )
        self.rate = table.places(p, backend("rate/"), 0, 0.4)
        self.flash = table.places(p, backend("flash/"), 0, 0.1)
        self.start = p.add("start", math.log(2e-3), 0.7)
        for name, facts in GENERATIONS.items():
            p.add("generation/" + name, math.log(_GENERATION_PROMPT.get(name, 1.0)), o.get("generation", 0.3))
        p.add("generation/None", 0, 0.3)
        self.generation = table.places(p, lambda row: f"generation/{row.processor.generation}", 0, 0.3)
        self.kind = [p.add("type/" + kind, 0, 0.15) for kind in KINDS]
        self.own = np.array(
            [[p.index[f"type/{row.processor.backend}/{kind}"] for kind in KINDS] for row in rows]
        )
        self.experts = p.add("experts", math.log(0.8), 0.5)
        self.attention = p.add("attention", math.log(0.4), 0.5)
        d = decode.parameters.index
        efficiency = np.array(
            [
                theta[d["efficiency/" + row.processor.backend]]
                + theta[d["vendor/" + vendor_of(row.processor.generation)]]
                + (theta[d[f"generation/{row.processor.generation}"]] if row.processor.generation else 0.0)
                for row in rows
            ]
        )
        kinds = np.array([math.exp(theta[d["kind/" + kind]]) for kind in NODE_KINDS])
        nodes = table.nodes @ np.concatenate([[1.0], kinds])
        nodes += (
            table.nodes[:, 1]
            * kinds[0]
            * np.array([math.exp(theta[d[f"kind/{r.processor.backend}/deltanet"]]) - 1 for r in rows])
        )
        hosts = [theta[d["slow host/" + vendor_of(row.processor.generation)]] * row.processor.slow_host for row in rows]
        nodes *= _exp(np.array(hosts))
        nodes *= np.array(
            [math.exp(theta[d["node"]] + theta[d["node/" + r.processor.backend]]) for r in rows]
        )
        self.batch = np.ceil(table.tokens / 512) * (
            table.prompt_bytes / (table.bandwidth * _exp(efficiency)) + nodes
        )

    def log_time(self, theta: Vector, mask: Vector | slice = slice(None)) -> Vector:
        """Of one token."""
        t = self.table
        work = (t.body[mask] * _exp(-theta[self.kind] - theta[self.own[mask]])).sum(1) * 2
        work = work * (1 + t.expert_share[mask] * _exp(theta[self.experts]))
        rate = t.flops[mask] * _exp(theta[self.rate[mask]] + theta[self.generation[mask]])
        time = work / rate + t.cache_flops[mask] / (rate * _exp(theta[self.attention]))
        time = time + (_exp(theta[self.start]) + self.batch[mask]) / t.tokens[mask]
        return np.log(time) - theta[self.flash[mask]] * t.flash[mask]


class CpuDecodeFit:
    """Token generation on CPUs: `_plan_cpu` of advisor/speed.py."""

    def __init__(self, rows: Sequence[Measurement], options: dict[str, float] | None = None) -> None:
        self.table = table = Table(rows)
        self.parameters = p = Parameters()
        self.token, self.node = p.add("token", math.log(0.3e-3), 0.7), p.add("node", math.log(40e-6), 0.7)
        self.common = p.add("efficiency", math.log(0.72), 0.15)
        for name in CPU_CLASSES:
            p.add("efficiency/" + name, 0, 0.12)
        self.efficiency = table.places(p, lambda row: "efficiency/" + row.class_, 0, 0.12)
        self.cache = p.add("cache", math.log(0.5), 0.4)
        _cpu_types(p, _CPU_DECODE)
        self.type = _cpu_places(p, rows, _decode_kernels)
        self.kernels = np.array(
            [p.index["kernels/" + _decode_kernels(row.processor.kernels)] for row in rows]
        )
        self.grab = p.add("grab", math.log(1.6), 0.3)
        self.slow, self.crowding = p.add("slow", math.log(0.4), 0.4), p.add("crowding", math.log(0.1), 0.7)
        self.node_kind = [p.add("kind/" + kind, math.log(_NODE_PRIOR[kind]), 0.4) for kind in NODE_KINDS]
        self.shape = Threads(rows, p)

    def log_time(self, theta: Vector, mask: Vector | slice = slice(None)) -> Vector:
        t = self.table
        rate = self.shape.rate(theta, math.exp(theta[self.slow]), mask)
        crowd = 1 + math.exp(theta[self.crowding]) * self.shape.extra[mask]
        bandwidth = t.bandwidth[mask] * _exp(theta[self.common] + theta[self.efficiency[mask]])
        grab = rate * math.exp(theta[self.grab])
        bandwidth = (bandwidth**-CPU_SHARPNESS + grab**-CPU_SHARPNESS) ** (-1 / CPU_SHARPNESS)
        reading = t.bytes_[mask] / bandwidth[:, None]
        ops = _exp(theta[self.type[mask]] + theta[self.kernels[mask]][:, None] + self.prior(theta))
        computing = t.weights[mask] * ops / rate[:, None]
        weights = ((reading**CPU_SHARPNESS + computing**CPU_SHARPNESS) ** (1 / CPU_SHARPNESS)).sum(1)
        nodes = t.nodes[mask] @ np.concatenate([[1.0], _exp(theta[self.node_kind])])
        overhead = (math.exp(theta[self.token]) + nodes * math.exp(theta[self.node])) * crowd
        cache = t.cache_bytes[mask] / (bandwidth * math.exp(theta[self.cache])) + t.state[mask] / bandwidth
        return np.asarray(np.log(overhead + weights + cache))

    def prior(self, theta: Vector) -> Vector:
        return np.array([theta[self.parameters.index["type/" + kind]] for kind in KINDS])


class CpuPromptFit:
    """Prompt processing on CPUs, given the decode fit's bandwidth."""

    def __init__(
        self,
        rows: Sequence[Measurement],
        decode: CpuDecodeFit,
        theta: Vector,
        options: dict[str, float] | None = None,
    ) -> None:
        self.table = table = Table(rows)
        self.parameters = p = Parameters()
        self.start = p.add("start", math.log(2e-3), 0.5)
        _cpu_types(p, _CPU_PROMPT, 0.5)
        self.type = _cpu_places(p, rows, str)
        self.kernels = np.array([p.index[f"kernels/{row.processor.kernels}"] for row in rows])
        self.slow = math.exp(theta[decode.slow])
        self.attention = p.add("attention", math.log(0.2), 0.5)
        self.experts = p.add("experts", math.log(0.3), 0.5)
        self.shape = Threads(rows, p)
        d = decode.parameters.index
        efficiency = np.array(
            [
                theta[d["efficiency"]]
                + theta[d.get("efficiency/" + r.class_, d["efficiency"])] * ("efficiency/" + r.class_ in d)
                for r in rows
            ]
        )
        self.batch = np.ceil(table.tokens / 512) * table.prompt_bytes / (table.bandwidth * _exp(efficiency))

    def log_time(self, theta: Vector, mask: Vector | slice = slice(None)) -> Vector:
        t = self.table
        rate = self.shape.rate(theta, self.slow, mask)
        prior = np.array([theta[self.parameters.index["type/" + kind]] for kind in KINDS])
        ops = _exp(theta[self.type[mask]] + theta[self.kernels[mask]][:, None] + prior)
        work = (t.body[mask] * ops).sum(1) * (1 + t.expert_share[mask] * math.exp(theta[self.experts]))
        time = (work + t.cache_flops[mask] * math.exp(theta[self.attention])) / rate
        time = time + (math.exp(theta[self.start]) + self.batch[mask]) / t.tokens[mask]
        return np.asarray(np.log(time))


class Threads:
    """What threads do on a CPU: fast cores first, slow ones for what is left."""

    def __init__(self, rows: Sequence[Measurement], p: Parameters) -> None:
        for name in CPU_CLASSES:
            p.add("pace/" + name, 0, 0.2)
        self.pace = np.array([p.add("pace/" + row.class_, 0, 0.2) for row in rows])
        threads = [row.threads or row.processor.threads for row in rows]
        fast = [min(n, row.processor.performance_cores) for n, row in zip(threads, rows, strict=True)]
        slow = [
            max(0, min(n, row.processor.cores) - row.processor.performance_cores)
            for n, row in zip(threads, rows, strict=True)
        ]
        self.core = np.array([row.processor.core_rate for row in rows])
        self.fast, self.slow = np.array(fast, float), np.array(slow, float)
        self.extra = np.array(
            [max(0, n - row.processor.performance_cores) for n, row in zip(threads, rows, strict=True)], float
        )

    def rate(self, theta: Vector, slow: float, mask: Vector | slice) -> Vector:
        """SIMD operations per second of the threads, for a class that keeps its clocks up as `pace` says."""
        core = MIDDLING_CORE * (self.core[mask] / MIDDLING_CORE) ** CORE_BEND * _exp(theta[self.pace[mask]])
        return np.asarray(core * (self.fast[mask] + slow * self.slow[mask]))


def _cpu_types(p: Parameters, prior: dict[str, float], deviation: float = 0.4) -> None:
    for kind in KINDS:
        p.add("type/" + kind, math.log(prior[kind]), deviation)
    for name in KERNELS:
        p.add("kernels/" + name, _KERNEL_PRIOR[name], 0.3)
        for kind in KINDS:
            p.add(f"type/{name}/{kind}", 0, 0.3)


def _cpu_places(p: Parameters, rows: Iterable[Measurement], kernels: Callable[[str], str]) -> Index:
    names = [kernels(row.processor.kernels or "dotprod") for row in rows]
    return np.array([[p.index[f"type/{name}/{kind}"] for kind in KINDS] for name in names])


def _decode_kernels(kernels: str | None) -> str:
    """i8mm multiplies matrices with matrices; a single token runs the kernels for the dot product."""
    return "dotprod" if kernels in ("i8mm", None) else kernels


_KERNEL_PRIOR = {"x86": 0.0, "sse": 1.6, "i8mm": 0.0, "dotprod": 0.0, "neon": 0.7, "scalar": 1.0}
_CPU_PROMPT = {
    "float": 0.3, "Q8": 0.15, "Q4_0": 0.12, "IQ4": 0.25, "MXFP4": 0.3, "Q5_0": 0.3, "Q4_K": 0.2, "Q5_K": 0.25, "Q6_K": 0.25,
    "Q3_K": 0.3, "Q2_K": 0.25, "IQ3": 0.7, "IQ2": 0.7, "IQ1": 0.7,
}  # fmt: skip
_PROMPT_PRIOR = {
    "cuda": math.log(1.2),
    "rocm": math.log(1.0),
    "vulkan": math.log(0.9),
    "metal": math.log(0.65),
    "sycl": math.log(1.5),
    "opencl": math.log(0.4),
    "hexagon": math.log(0.05),
}
_GENERATION_PROMPT = {
    "volta": 1.8,
    "turing": 2.4,
    "ampere-hbm": 3.0,
    "ampere": 1.4,
    "ada": 1.3,
    "hopper": 2.2,
    "blackwell": 1.5,
    "pascal": 1.0,
    "maxwell": 0.5,
    "kepler": 0.4,
    "tegra": 0.6,
    "gcn": 0.6,
    "rdna4": 1.2,
    "turing-gtx": 0.5,
}


def fit_all(rows: Sequence[Measurement], start: Fitted | None = None) -> Fitted:
    """All four fits; `start` gives parameters to begin from, which only saves time."""
    chosen = [
        [row for row in rows if (row.processor.backend == "cpu") is cpu and row.test == test]
        for cpu in (False, True)
        for test in ("tg", "pp")
    ]
    decode = DecodeFit(chosen[0])
    theta = _solve(decode, start and start.decode)
    prompt = PromptFit(chosen[1], decode, theta)
    prompt_theta = _solve(prompt, start and start.prompt)
    cpu_decode = CpuDecodeFit(chosen[2])
    cpu_theta = _solve(cpu_decode, start and start.cpu_decode)
    cpu_prompt = CpuPromptFit(chosen[3], cpu_decode, cpu_theta)
    cpu_prompt_theta = _solve(cpu_prompt, start and start.cpu_prompt)
    return Fitted(
        _named(decode.parameters, theta),
        _named(prompt.parameters, prompt_theta),
        _named(cpu_decode.parameters, cpu_theta),
        _named(cpu_prompt.parameters, cpu_prompt_theta),
    )


@dataclass(frozen=True)
class Fitted:
    """Parameters by name, in logarithms where they are times, rates or efficiencies."""

    decode: dict[str, float]
    prompt: dict[str, float]
    cpu_decode: dict[str, float]
    cpu_prompt: dict[str, float]


def _solve(
    model: DecodeFit | PromptFit | CpuDecodeFit | CpuPromptFit, start: dict[str, float] | None
) -> Vector:
    p = model.parameters
    begin = (
        None
        if start is None
        else np.array([start.get(name, p.means[place]) for name, place in p.index.items()])
    )
    return fit(p, model.log_time, model.table.log_time, model.table.weight, begin)


def _named(parameters: Parameters, theta: Vector) -> dict[str, float]:
    return {name: float(theta[place]) for name, place in parameters.index.items()}


def coefficients_of(
    fitted: Fitted, intervals: dict[str, tuple[float, float]], provenance: dict[str, object]
) -> Coefficients:
    """What the run time reads, from parameters by name."""
    d, q = _Exponential(fitted.decode), _Exponential(fitted.prompt)
    accelerators = {
        name: AcceleratorCoefficients(
            token_s=d["token"] * d["token/" + name],
            node_s=d["node"] * d["node/" + name],
            efficiency=d["efficiency/" + name],
            cache_efficiency=d["cache/" + name],
            state_efficiency=d["state"],
            flops_per_weight=_by_type(
                lambda kind: 0.0 if name in PHONE_BACKENDS else d["ops"] * d["ops/" + kind]
            ),  # noqa: B023
            type_efficiency=_by_type(lambda kind: d["type/" + kind] * d[f"type/{name}/{kind}"]),  # noqa: B023
            node_factor={"deltanet": _round(d[f"kind/{name}/deltanet"])},
            flash_decode=d["flash/" + name],
            prompt_s=q["start"],
            prompt_rate=q["rate/" + name],
            prompt_type=_by_type(lambda kind: q["type/" + kind] * q[f"type/{name}/{kind}"]),  # noqa: B023
            prompt_experts=q["experts"],
            attention_rate=q["attention"],
            flash_prompt=q["flash/" + name],
        )
        for name in ACCELERATORS
    }
    generations = {
        name: GenerationCoefficients(
            decode=_round(d.get("generation/" + name) * d["vendor/" + vendor_of(name)]),
            prompt=_round(q.get("generation/" + name)),
            slow_host=_round(d["slow host/" + vendor_of(name)]),
        )
        for name in GENERATIONS
    }
    c, cq = _Exponential(fitted.cpu_decode), _Exponential(fitted.cpu_prompt)
    efficiency = {name: _round(c["efficiency"] * c["efficiency/" + name]) for name in CPU_CLASSES}
    cpu = CpuCoefficients(
        token_s=c["token"],
        node_s=c["node"],
        efficiency={"": c["efficiency"], **efficiency},
        cache_efficiency=c["cache"],
        decode={
            name: _by_type(
                lambda kind: (
                    c["type/" + kind]
                    * c["kernels/" + _decode_kernels(name)]
                    * c[f"type/{_decode_kernels(name)}/{kind}"]
                )
            )
            for name in KERNELS
        },  # noqa: B023
        prompt={
            name: _by_type(
                lambda kind: cq["type/" + kind] * cq["kernels/" + name] * cq[f"type/{name}/{kind}"]
            )
            for name in KERNELS
        },  # noqa: B023
        prompt_s=cq["start"],
        prompt_experts=cq["experts"],
        attention_ops=cq["attention"],
        grab=c["grab"],
        pace={name: _round(c["pace/" + name]) for name in CPU_CLASSES},
        prompt_pace={name: _round(cq["pace/" + name]) for name in CPU_CLASSES},
        slow_core=c["slow"],
        crowding=c["crowding"],
    )
    return Coefficients(
        provenance=provenance,
        accelerators=accelerators,
        generations=generations,
        cpu=cpu,
        nodes={kind: _round(d["kind/" + kind]) for kind in NODE_KINDS},
        cpu_nodes={kind: _round(c["kind/" + kind]) for kind in NODE_KINDS},
        intervals=intervals,
        widening=1.25,
    )


class _Exponential:
    def __init__(self, values: dict[str, float]) -> None:
        self.values = values

    def __getitem__(self, name: str) -> float:
        return math.exp(self.values[name])

    def get(self, name: str) -> float:
        return math.exp(self.values.get(name, 0.0))


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _by_type(value: Callable[[str], float]) -> dict[str, float]:
    by_kind = {kind: _round(value(kind)) for kind in KINDS}
    return {
        name: by_kind[GROUPS.get(name, "IQ4")]
        for name in TENSOR_TYPES
        if not name.startswith("I") or name.startswith("IQ")
    }
