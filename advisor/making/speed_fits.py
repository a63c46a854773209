"""The four fits behind advisor/speed.json: token generation and prompt processing, on accelerators and on CPUs.

Each mirrors a formula of advisor/speed.py on arrays, with parameters in logarithms; tests hold the two together. A
row counts with 1/sqrt(rows of its chip), so that a chip with a hundred rows does not speak for its class.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from advisor.making.fitting import Index, Parameters, Vector
from advisor.making.measurements import Measurement
from advisor.making.speed_priors import (
    ACCELERATORS,
    CPU_CLASSES,
    CPU_DECODE,
    CPU_PROMPT,
    GENERATION_EFFICIENCY,
    KERNEL_COSTS,
    KERNELS,
    KIND_OF_TYPE,
    KINDS,
    LAYER_COSTS,
    NATIVE_KINDS,
    PROMPT_GENERATIONS,
    PROMPT_RATES,
    SLOW_HOST,
    VENDOR_EFFICIENCY,
    decode_kernels,
    vendor_of,
)
from advisor.processor_tables import GENERATIONS
from advisor.speed import TYPICAL_PROMPT
from advisor.speed_spec import (
    CORE_BEND,
    CPU_SHARPNESS,
    GPU_SHARPNESS,
    MIDDLING_CORE,
    typical_intensity,
)

Mask = Vector | slice
ALL: Mask = slice(None)
log = math.log


class Table:
    """Measurements of one test as arrays, one row each."""

    def __init__(self, rows: Sequence[Measurement]) -> None:
        self.rows = rows
        chips = Counter(row.chip for row in rows)
        weights = self.column(lambda row: row.weight / math.sqrt(chips[row.chip]))
        self.weight: Vector = weights * (0.5 * len(rows) / weights.sum())
        self.log_time: Vector = -np.log(self.column(lambda row: row.rate))
        self.bandwidth = self.column(lambda row: row.processor.bandwidth_bytes_per_s or 0.0)
        self.flops = self.column(
            lambda row: (
                row.processor.shader_flops
                or (row.processor.bandwidth_bytes_per_s or 0.0) * typical_intensity(row.processor)
            )
        )
        self.bytes_ = np.zeros((len(rows), len(KINDS)))
        self.weights = np.zeros((len(rows), len(KINDS)))
        self.body = np.zeros((len(rows), len(KINDS)))  # weights without the output head
        self.layers = np.zeros((len(rows), 1 + len(LAYER_COSTS)))  # plain attention first
        costly = list(LAYER_COSTS)
        for i, row in enumerate(rows):
            for group in row.load.weights:
                kind = KINDS.index(KIND_OF_TYPE[group.type])
                self.bytes_[i, kind] += group.bytes_
                self.weights[i, kind] += group.weights
                self.body[i, kind] += group.weights - group.head_weights
            for name, count in row.load.nodes:
                self.layers[i, 1 + costly.index(name) if name in LAYER_COSTS else 0] += count
        self.state = self.column(lambda row: row.load.state_bytes)
        self.prompt_bytes = self.column(lambda row: row.load.prompt_bytes)
        self.expert_share = self.column(lambda row: row.load.expert_share)
        self.tokens = self.column(lambda row: float(row.n_prompt or TYPICAL_PROMPT))
        self.batches = np.ceil(self.tokens / 512)
        self.flash = self.column(
            lambda row: 0.0 if row.flash_attention is None else row.flash_attention - 0.5
        )
        reads = [_cache_at(row) for row in rows]
        self.cache_bytes = np.array([read[0] for read in reads])
        self.cache_flops = np.array([read[1] for read in reads])

    def leave_to_cpu(self, kind_times: Callable[[list[Measurement]], Vector]) -> Vector:
        """Seconds of the types that a row's backend has no kernels for; they are taken out of the table."""
        left = np.zeros(len(self.rows))
        places = [i for i, row in enumerate(self.rows) if row.processor.backend in NATIVE_KINDS]
        if places:
            times = kind_times([self.rows[i] for i in places])
            for place, time in zip(places, times, strict=True):
                native = NATIVE_KINDS[self.rows[place].processor.backend]
                foreign = np.array([kind not in native for kind in KINDS])
                left[place] = time[foreign].sum()
                for part in (self.bytes_, self.weights, self.body):
                    part[place, foreign] = 0.0
        return left

    def column(self, value: Callable[[Measurement], float]) -> Vector:
        return np.array([float(value(row)) for row in self.rows])

    def places(self, parameters: Parameters, name: Callable[[Measurement], str]) -> Index:
        """For each row the place of the parameter that `name` gives."""
        return np.array([parameters.index[name(row)] for row in self.rows])

    def by_kind(self, parameters: Parameters, name: Callable[[Measurement, str], str]) -> Index:
        return np.array([[parameters.index[name(row, kind)] for kind in KINDS] for row in self.rows])


def _cache_at(row: Measurement) -> tuple[float, float]:
    """Cache bytes and operations of a token at the middle of the test."""
    middle = row.depth + (row.n_prompt + row.n_gen / 2 if row.test == "tg" else row.n_prompt / 2)
    bytes_ = flops = 0.0
    for read in row.load.cache:
        seen = middle if read.window is None else min(middle, read.window)
        bytes_ += read.bytes_per_position * seen
        flops += read.flops_per_position * seen
    return bytes_, flops


def _rounded_maximum(one: Vector, other: Vector, sharpness: float) -> Vector:
    return np.asarray((one**sharpness + other**sharpness) ** (1 / sharpness))


def _backend(prefix: str) -> Callable[[Measurement], str]:
    return lambda row: f"{prefix}/{row.processor.backend}"


def _type_of_backend(row: Measurement, kind: str) -> str:
    return f"type/{row.processor.backend}/{kind}"


def _generation(row: Measurement) -> str:
    return f"generation/{row.processor.generation}"


def _add_types(p: Parameters) -> None:
    """Efficiency by type, common and by backend; phones are free to differ."""
    for kind in KINDS:
        p.add("type/" + kind, 0.0, 0.1)
        for name in ACCELERATORS:
            p.add(f"type/{name}/{kind}", 0.0, 0.5 if name in NATIVE_KINDS else 0.1)


class DecodeFit:
    """Token generation on accelerators: `_plan_accelerator` of advisor/speed.py."""

    def __init__(self, rows: Sequence[Measurement], cpu_theta: Vector) -> None:
        self.table = table = Table(rows)
        self.parameters = p = Parameters()
        self._add(p)
        self.fallback = table.leave_to_cpu(lambda phones: CpuDecodeFit(phones).kind_times(cpu_theta))
        self.token, self.node = table.places(p, _backend("token")), table.places(p, _backend("node"))
        self.efficiency, self.cache = (
            table.places(p, _backend("efficiency")),
            table.places(p, _backend("cache")),
        )
        self.generation = table.places(p, _generation)
        self.vendor = table.places(p, lambda row: "vendor/" + vendor_of(row.processor.generation))
        self.host = table.places(p, lambda row: "host/" + vendor_of(row.processor.generation))
        self.slow_host = table.column(lambda row: row.processor.slow_host)
        self.kind = [p.index["type/" + kind] for kind in KINDS]
        self.own = table.by_kind(p, _type_of_backend)
        self.ops = [p.index["ops/" + kind] for kind in KINDS]
        self.layer = [p.index["layer/" + kind] for kind in LAYER_COSTS]
        self.delta = table.places(p, _backend("deltanet"))
        self.flash = table.places(p, _backend("flash"))
        self.computes = table.column(lambda row: row.processor.backend not in NATIVE_KINDS)

    @staticmethod
    def _add(p: Parameters) -> None:
        """Every parameter exists, measured or not, so that the table that ships has no holes."""
        p.add("token", log(0.6e-3), 1.0)
        p.add("node", log(40e-6), 1.0)
        for name in ACCELERATORS:
            phone = name in NATIVE_KINDS
            p.add("token/" + name, 0.0, 0.7)
            p.add("node/" + name, log(2.0) if phone else 0.0, 0.5)
            p.add("efficiency/" + name, log(0.4 if phone else 0.8), 0.2)
            p.add("cache/" + name, log(0.5), 0.5)
            p.add("flash/" + name, 0.0, 0.1)
            p.add("deltanet/" + name, log(2.0) if phone else 0.0, 1.0 if phone else 1e-6)
        for name in (*GENERATIONS, "None"):
            p.add("generation/" + name, log(GENERATION_EFFICIENCY.get(name, 1.0)), 0.12)
        for name, efficiency in VENDOR_EFFICIENCY.items():
            p.add("vendor/" + name, log(efficiency), 0.15)
            p.add("host/" + name, log(SLOW_HOST[name]), 0.4)
        _add_types(p)
        p.add("fallback", log(1.3), 0.3)
        p.add("ops", log(3.0), 0.5)
        for kind in KINDS:
            p.add("ops/" + kind, 0.0, 0.4)
        p.add("state", log(0.4), 0.5)
        for kind, cost in LAYER_COSTS.items():
            p.add("layer/" + kind, log(cost), 0.4)

    def nodes(self, theta: Vector, mask: Mask) -> Vector:
        """Seconds of the layers' small operations."""
        t, at = self.table, self.parameters.index
        costs = np.exp(theta[self.layer])
        count = t.layers[mask] @ np.concatenate([[1.0], costs])
        count = count + t.layers[mask, 1] * costs[0] * (np.exp(theta[self.delta[mask]]) - 1)
        each = np.exp(theta[at["node"]] + theta[self.node[mask]])
        return np.asarray(count * each * self.host_factor(theta, mask))

    def host_factor(self, theta: Vector, mask: Mask) -> Vector:
        return np.asarray(np.exp(theta[self.host[mask]] * self.slow_host[mask]))

    def rate(self, theta: Vector, mask: Mask) -> Vector:
        """Bytes per second of a generation before the backend's efficiency."""
        return np.asarray(
            self.table.bandwidth[mask] * np.exp(theta[self.generation[mask]] + theta[self.vendor[mask]])
        )

    def log_time(self, theta: Vector, mask: Mask = ALL) -> Vector:
        t, at = self.table, self.parameters.index
        token = np.exp(theta[at["token"]] + theta[self.token[mask]]) * self.host_factor(theta, mask)
        rate = self.rate(theta, mask)
        read = rate * np.exp(theta[self.efficiency[mask]])
        reading = t.bytes_[mask] * np.exp(-theta[self.kind] - theta[self.own[mask]]) / read[:, None]
        ops = np.exp(theta[at["ops"]] + theta[self.ops])
        computing = t.weights[mask] * ops * (self.computes / t.flops)[mask, None]
        time = (
            token
            + self.nodes(theta, mask)
            + _rounded_maximum(reading, computing, GPU_SHARPNESS).sum(1)
            + t.cache_bytes[mask] / (rate * np.exp(theta[self.cache[mask]]))
            + t.state[mask] / (t.bandwidth[mask] * np.exp(theta[at["state"]]))
            + self.fallback[mask] * np.exp(theta[at["fallback"]])
        )
        return np.asarray(np.log(time) - theta[self.flash[mask]] * t.flash[mask])


class PromptFit:
    """Prompt processing on accelerators, per token. How long reading the weights takes is the decode fit's."""

    def __init__(
        self, rows: Sequence[Measurement], decode_theta: Vector, cpu_theta: Vector, cpu_decode_theta: Vector
    ) -> None:
        self.table = table = Table(rows)
        self.parameters = p = Parameters()
        for name in ACCELERATORS:
            p.add("rate/" + name, log(PROMPT_RATES[name]), 0.4)
            p.add("flash/" + name, 0.0, 0.1)
        for name in (*GENERATIONS, "None"):
            p.add("generation/" + name, log(PROMPT_GENERATIONS.get(name, 1.0)), 0.3)
        _add_types(p)
        p.add("start", log(2e-3), 0.7)
        p.add("experts", log(0.8), 0.5)
        p.add("attention", log(0.4), 0.5)
        self.rate, self.flash = table.places(p, _backend("rate")), table.places(p, _backend("flash"))
        self.generation = table.places(p, _generation)
        self.kind = [p.index["type/" + kind] for kind in KINDS]
        self.own = table.by_kind(p, _type_of_backend)
        self.fallback = table.leave_to_cpu(
            lambda phones: CpuPromptFit(phones, cpu_decode_theta).kind_times(cpu_theta)
        )
        decode = DecodeFit(rows, cpu_decode_theta)
        read = decode.rate(decode_theta, ALL) * np.exp(decode_theta[decode.efficiency])
        self.batch = table.batches * (table.prompt_bytes / read + decode.nodes(decode_theta, ALL))

    def log_time(self, theta: Vector, mask: Mask = ALL) -> Vector:
        t, at = self.table, self.parameters.index
        work = 2 * (t.body[mask] * np.exp(-theta[self.kind] - theta[self.own[mask]])).sum(1)
        work = work * (1 + t.expert_share[mask] * np.exp(theta[at["experts"]]))
        rate = t.flops[mask] * np.exp(theta[self.rate[mask]] + theta[self.generation[mask]])
        time = (
            work / rate
            + t.cache_flops[mask] / (rate * np.exp(theta[at["attention"]]))
            + (np.exp(theta[at["start"]]) + self.batch[mask]) / t.tokens[mask]
            + self.fallback[mask]
        )
        return np.asarray(np.log(time) - theta[self.flash[mask]] * t.flash[mask])


class Cores:
    """How many SIMD operations per second the threads of a row have, and how crowded they are."""

    def __init__(self, table: Table, p: Parameters) -> None:
        for name in (*CPU_CLASSES, "other"):
            p.add("pace/" + name, 0.0, 0.2)
        self.pace = table.places(p, lambda row: "pace/" + cpu_class(row))
        threads = table.column(lambda row: row.threads or row.processor.threads)
        fast = table.column(lambda row: row.processor.performance_cores)
        cores = table.column(lambda row: row.processor.cores)
        core = table.column(lambda row: row.processor.core_rate)
        self.core = MIDDLING_CORE * (core / MIDDLING_CORE) ** CORE_BEND
        self.fast = np.minimum(threads, fast)
        self.slow = np.maximum(0, np.minimum(threads, cores) - fast)
        self.extra = np.maximum(0, threads - fast)

    def rate(self, theta: Vector, slow_core: float, mask: Mask) -> Vector:
        at_work = self.fast[mask] + slow_core * self.slow[mask]
        return np.asarray(self.core[mask] * np.exp(theta[self.pace[mask]]) * at_work)


def cpu_class(row: Measurement) -> str:
    """The class that the run time will see, or "other"."""
    return row.processor.class_ if row.processor.class_ in CPU_CLASSES else "other"


def _add_cpu_types(p: Parameters, ops: dict[str, float], deviation: float) -> None:
    for kind in KINDS:
        p.add("type/" + kind, log(ops[kind]), deviation)
        for name in KERNELS:
            p.add(f"type/{name}/{kind}", 0.0, 0.3)
    for name in KERNELS:
        p.add("kernels/" + name, log(KERNEL_COSTS[name]), 0.3)


class CpuDecodeFit:
    """Token generation on CPUs: `_plan_cpu` of advisor/speed.py."""

    def __init__(self, rows: Sequence[Measurement]) -> None:
        self.table = table = Table(rows)
        self.parameters = p = Parameters()
        p.add("token", log(0.3e-3), 0.7)
        p.add("node", log(40e-6), 0.7)
        p.add("efficiency", log(0.72), 0.15)
        for name in (*CPU_CLASSES, "other"):
            p.add("efficiency/" + name, 0.0, 0.12)
        p.add("grab", log(1.6), 0.3)
        p.add("cache", log(0.5), 0.4)
        p.add("slow", log(0.4), 0.4)
        p.add("crowding", log(0.1), 0.7)
        for kind, cost in LAYER_COSTS.items():
            p.add("layer/" + kind, log(cost), 0.4)
        _add_cpu_types(p, CPU_DECODE, 0.4)
        self.cores = Cores(table, p)
        self.efficiency = table.places(p, lambda row: "efficiency/" + cpu_class(row))
        self.layer = [p.index["layer/" + kind] for kind in LAYER_COSTS]
        self.kind = [p.index["type/" + kind] for kind in KINDS]
        self.kernels = table.places(p, lambda row: "kernels/" + decode_kernels(row.processor.kernels))
        self.own = table.by_kind(p, lambda row, kind: f"type/{decode_kernels(row.processor.kernels)}/{kind}")

    def bandwidth(self, theta: Vector, mask: Mask) -> Vector:
        """Bytes per second: of the memory, or what the threads can fetch."""
        at = self.parameters.index
        memory = self.table.bandwidth[mask] * np.exp(theta[at["efficiency"]] + theta[self.efficiency[mask]])
        fetch = self.cores.rate(theta, math.exp(theta[at["slow"]]), mask) * math.exp(theta[at["grab"]])
        return 1 / _rounded_maximum(1 / memory, 1 / fetch, CPU_SHARPNESS)

    def kind_times(self, theta: Vector, mask: Mask = ALL) -> Vector:
        """Seconds by kind of weights: whichever of reading and computing is slower, rounded."""
        t, at = self.table, self.parameters.index
        rate = self.cores.rate(theta, math.exp(theta[at["slow"]]), mask)
        ops = np.exp(theta[self.kind] + theta[self.own[mask]] + theta[self.kernels[mask]][:, None])
        reading = t.bytes_[mask] / self.bandwidth(theta, mask)[:, None]
        return _rounded_maximum(reading, t.weights[mask] * ops / rate[:, None], CPU_SHARPNESS)

    def log_time(self, theta: Vector, mask: Mask = ALL) -> Vector:
        t, at = self.table, self.parameters.index
        bandwidth = self.bandwidth(theta, mask)
        nodes = t.layers[mask] @ np.concatenate([[1.0], np.exp(theta[self.layer])])
        overhead = math.exp(theta[at["token"]]) + nodes * math.exp(theta[at["node"]])
        time = (
            overhead * (1 + math.exp(theta[at["crowding"]]) * self.cores.extra[mask])
            + self.kind_times(theta, mask).sum(1)
            + t.cache_bytes[mask] / (bandwidth * math.exp(theta[at["cache"]]))
            + t.state[mask] / bandwidth
        )
        return np.asarray(np.log(time))


class CpuPromptFit:
    """Prompt processing on CPUs, per token, with the decode fit's bandwidth and slow cores."""

    def __init__(self, rows: Sequence[Measurement], decode_theta: Vector) -> None:
        self.table = table = Table(rows)
        self.parameters = p = Parameters()
        p.add("start", log(2e-3), 0.5)
        p.add("attention", log(0.2), 0.5)
        p.add("experts", log(0.3), 0.5)
        _add_cpu_types(p, CPU_PROMPT, 0.5)
        self.cores = Cores(table, p)
        self.kind = [p.index["type/" + kind] for kind in KINDS]
        self.kernels = table.places(p, lambda row: f"kernels/{row.processor.kernels or 'dotprod'}")
        self.own = table.by_kind(p, lambda row, kind: f"type/{row.processor.kernels or 'dotprod'}/{kind}")
        decode = CpuDecodeFit(rows)
        self.slow = math.exp(decode_theta[decode.parameters.index["slow"]])
        self.batch = table.batches * table.prompt_bytes / decode.bandwidth(decode_theta, ALL)

    def kind_times(self, theta: Vector, mask: Mask = ALL) -> Vector:
        """Seconds of a token's matrix products by kind of weights."""
        ops = np.exp(theta[self.kind] + theta[self.own[mask]] + theta[self.kernels[mask]][:, None])
        return np.asarray(self.table.body[mask] * ops / self.cores.rate(theta, self.slow, mask)[:, None])

    def log_time(self, theta: Vector, mask: Mask = ALL) -> Vector:
        t, at = self.table, self.parameters.index
        time = self.kind_times(theta, mask).sum(1)
        time = time * (1 + t.expert_share[mask] * math.exp(theta[at["experts"]]))
        attention = t.cache_flops[mask] * math.exp(theta[at["attention"]])
        time = time + attention / self.cores.rate(theta, self.slow, mask)
        time = time + (math.exp(theta[at["start"]]) + self.batch[mask]) / t.tokens[mask]
        return np.asarray(np.log(time))
