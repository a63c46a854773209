"""The ways llama.cpp can run on a device, each with the numbers that bound its speed.

A `Device` says what was read or looked up; a `Processor` is one backend on it: its bandwidth, its arithmetic rate
and, for a CPU, its cores. Names decide what data sheets leave out or write in different units: the generation of
a GPU, the width and clock of a core.

Arithmetic of a GPU is its FP32 shader rate, since sheets agree on that and on nothing else: the FP16 rate they
print is the shader's for one card and the tensor cores' for the next, 1/64 to 16 times as much. How much faster
than that a generation multiplies matrices is fitted (advisor/speed.json).
"""

from __future__ import annotations

import re

import msgspec

from advisor.processor_tables import (
    CORES,
    CPU_SHARES,
    GENERATION_PATTERNS,
    GENERATIONS,
    LANES_BY_FEATURES,
    SHADER_TFLOPS,
)
from profiles.calibration import BackendCalibration
from profiles.device import Accelerator, Backend, Cpu, Device, DeviceClass


class Processor(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """One backend on a device. Bandwidth in bytes/s, rates in operations/s; None where nothing is known."""

    backend: Backend
    class_: DeviceClass | None = None
    name: str | None = None
    accelerator: int | None = None  # index in `Device.accelerators`; None: the CPU
    bandwidth_bytes_per_s: float | None = None
    shared_memory: bool = True
    slow_host: bool = False  # a card whose host is a small board: launching work takes longer
    generation: str | None = None  # of a GPU or NPU, a key of GENERATIONS
    shader_flops: float | None = None  # FP32, of a GPU
    # Of the CPU, or of the CPU beside an accelerator:
    threads: int = 1  # that the engine would be given
    performance_cores: int = 1
    cores: int = 1
    core_rate: float = 0.0  # of one performance core: 128-bit SIMD operations per second
    kernels: str | None = None  # by instruction set: "x86", "sse", "i8mm", "dotprod", "neon", "scalar"
    guessed: tuple[str, ...] = ()  # numbers that stand in for unknown ones; they widen the interval
    threads_batch: int | None = None  # for prompts, where measured to be best; None: `threads`
    calibration: BackendCalibration | None = None


STREAM_SHARE = 0.8  # of the data sheet's bandwidth that reading reaches (Raspberry Pi 5: 13.98 of 17.1 GB/s)
_TYPICAL_GHZ: dict[str | None, float] = {
    "phone": 2.6,
    "tablet": 2.6,
    "sbc": 2.0,
    "laptop": 3.3,
    "server-cpu": 3.2,
}
_SLOW_HOST = 6e9  # SIMD operations per second of a core
_DEFAULT_BACKEND: dict[str | None, Backend] = {
    "nvidia": "cuda",
    "jetson": "cuda",
    "amd": "rocm",
    "intel-gpu": "sycl",
    "apple": "metal",
}


def generation_of(name: str | None) -> str | None:
    """The generation of a GPU by its name; None for a name that no pattern knows."""
    if not name:
        return None
    low = name.lower()
    return next((generation for pattern, generation in GENERATION_PATTERNS if re.search(pattern, low)), None)


def shader_flops_of(
    name: str | None, generation: str | None, fp16_flops: float | None, bandwidth: float | None
) -> float | None:
    """FP32 rate of a GPU from the FP16 rate its sheet gives.

    The rate may be the shaders' or the matrix units'; what is nearer to the generation's usual operations per byte
    is taken. Without any rate it is the generation's usual one for this bandwidth; None when that too is unknown.
    """
    low = (name or "").lower()
    for pattern, tflops in SHADER_TFLOPS:
        if re.search(pattern, low):
            return tflops * 1e12
    facts = GENERATIONS.get(generation or "")
    if facts is None:
        return fp16_flops
    typical = facts.flops_per_byte * bandwidth if bandwidth else None
    if not fp16_flops:
        return typical
    readings = [fp16_flops / facts.shader]
    if facts.matrix:
        readings += [fp16_flops / facts.matrix, fp16_flops / (2 * facts.matrix)]
    if facts.shader < 1:  # 1/64 rate: some sheets give the FP32 rate instead
        readings += [fp16_flops]
    if typical is None:
        return readings[0]
    return min(readings, key=lambda rate: max(rate / typical, typical / rate))


def processors(device: Device) -> tuple[Processor, ...]:
    """The ways to run on `device`, accelerators first, then the CPU.

    A card from the library comes without a host: its CPU is not listed, rather than listed and unknown.
    """
    found = [
        processor
        for index, accelerator in enumerate(device.accelerators)
        for processor in [_of_accelerator(device, accelerator, index)]
        if processor is not None
    ]
    if not found or device.cpu != Cpu():
        found.append(_of_cpu(device))
    return tuple(found)


def with_backend(processor: Processor, backend: Backend) -> Processor:
    """The same accelerator driven through another backend; a phone's NPU is another processor than its GPU."""
    if backend != "hexagon" or processor.generation == "hexagon":
        return msgspec.structs.replace(processor, backend=backend, calibration=None)
    flops = shader_flops_of("Hexagon NPU", "hexagon", None, processor.bandwidth_bytes_per_s)
    return msgspec.structs.replace(
        processor, backend=backend, generation="hexagon", shader_flops=flops, calibration=None
    )


def _of_accelerator(device: Device, accelerator: Accelerator, index: int) -> Processor | None:
    backend = accelerator.backend or _DEFAULT_BACKEND.get(device.class_)
    if backend is None or backend == "cpu":
        return None
    name = accelerator.name or device.name
    generation = (
        generation_of(accelerator.name) or generation_of(device.name) or generation_of(device.cpu.name)
    )
    shared = accelerator.shared_memory
    if shared is None:
        shared = device.class_ not in ("nvidia", "amd", "intel-gpu")
    bandwidth = accelerator.memory_bandwidth_bytes_per_s or (
        device.memory.bandwidth_bytes_per_s if shared else None
    )
    guessed = () if generation else ("generation",)
    host = _of_cpu(device)
    flops = shader_flops_of(name, generation, accelerator.fp16_flops, bandwidth)
    return Processor(
        backend=backend,
        class_=device.class_,
        name=name,
        accelerator=index,
        bandwidth_bytes_per_s=bandwidth,
        shared_memory=shared,
        slow_host=bool(device.cpu.name) and not shared and host.core_rate < _SLOW_HOST,
        generation=generation,
        shader_flops=flops,
        threads=host.threads,
        performance_cores=host.performance_cores,
        cores=host.cores,
        core_rate=host.core_rate,
        kernels=host.kernels,
        guessed=guessed,
        calibration=device.calibration.of(backend, index) if device.calibration else None,
    )


def _of_cpu(device: Device) -> Processor:
    cpu = device.cpu
    text = " ".join(filter(None, (cpu.name, device.name))).lower()
    isa = frozenset(cpu.isa or ())
    guessed: list[str] = []
    lanes, ghz = next(((w, g) for pattern, w, g in CORES if re.search(pattern, text)), (0.0, 0.0))
    if not lanes:
        guessed.append("core")
        lanes = next((width for features, width in LANES_BY_FEATURES if features <= isa), 2.0 if isa else 3.0)
        ghz = (cpu.boost_hz or 0) / 1e9 * 0.85 or _TYPICAL_GHZ.get(device.class_, 3.0)
    cores = cpu.cores or cpu.threads or _cores_of(cpu.performance_cores, cpu.efficiency_cores)
    if cores is None:
        guessed.append("cores")
        cores = 4
    fast = cpu.performance_cores or cores
    usable = cpu.usable_threads or cpu.threads or cores
    share = next((s for pattern, s in CPU_SHARES if re.search(pattern, text)), 1.0)
    bandwidth = device.memory.bandwidth_bytes_per_s
    source = device.sources.get("memory.bandwidth_bytes_per_s", "library")
    if device.memory.measured_bandwidth_bytes_per_s is not None and source.startswith("library"):
        # What was measured here, unless the bandwidth was read from this machine's own tables. Efficiencies are
        # fitted against data sheets; reading reaches about four fifths of those.
        bandwidth = device.memory.measured_bandwidth_bytes_per_s / STREAM_SHARE
        share = 1.0
    own = device.calibration.of("cpu", None) if device.calibration else None
    measured = (
        max((rate.bandwidth_bytes_per_s or 0.0 for rate in own.by_threads), default=0.0) if own else 0.0
    )
    if measured:
        bandwidth, share = measured / STREAM_SHARE, 1.0
    return Processor(
        backend="cpu",
        class_=device.class_,
        name=cpu.name or device.name,
        bandwidth_bytes_per_s=bandwidth * share if bandwidth else None,
        threads=own.threads if own else max(1, min(fast, usable)),
        threads_batch=own.threads_batch if own else None,
        calibration=own,
        performance_cores=fast,
        cores=max(cores, fast),
        core_rate=lanes * ghz * 1e9,
        kernels=_kernels(isa, cpu.architecture, text),
        guessed=tuple(guessed),
    )


def _cores_of(fast: int | None, slow: int | None) -> int | None:
    return None if fast is None else fast + (slow or 0)


def _kernels(isa: frozenset[str], architecture: str | None, text: str) -> str:
    """Which of ggml's CPU kernels run: by instruction set, or by the chip's name where that is all there is."""
    if isa & {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"}:
        return "x86"
    for feature in ("i8mm", "dotprod", "neon"):
        if feature in isa:
            return feature
    if architecture == "riscv64" or "risc-v" in text:
        return "scalar"
    if architecture == "x86_64" or re.search(r"ryzen|intel|xeon|epyc|core [2i]|core2", text):
        return "sse" if isa or "core 2" in text else "x86"
    return "dotprod"
